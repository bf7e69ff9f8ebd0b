"""Schedulers: the choice of one, errors for Dask's failures, and no remaining processes of local workers."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import distributed
import psutil
import pytest
from distributed.client import FutureCancelledError
from distributed.comm import CommClosedError

from spikestore.pipeline.execution import dask_scheduler, schedulers
from spikestore.pipeline.execution.dask_scheduler import DaskScheduler, WorkerError
from spikestore.pipeline.execution.fragment_task import FragmentJob, FragmentReport
from spikestore.pipeline.execution.schedulers import Threads, open_scheduler
from spikestore.store_schemas.errors import RecordingError, SpikestoreError, StorageFullError, UsageError


class OnlyWhatIsNeeded:
    """Stand-in for a job; its ``only`` returns a text."""

    def only(self, fragment: int) -> str:
        """Return what one fragment needs."""
        return f"job for {fragment}"


JOB = cast("FragmentJob", OnlyWhatIsNeeded())


class JobOf:
    """A job whose tasks are calls of a function."""

    def __init__(self, run: Callable[[int], FragmentReport]) -> None:
        self.run = run

    def only(self, fragment: int) -> JobOf:
        """Return itself."""
        return self


class Future:
    """A task that has ended with a result or an error."""

    def __init__(self, result: FragmentReport | BaseException) -> None:
        self._result = result

    def result(self) -> FragmentReport:
        """Return or raise."""
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def release(self) -> None:
        """Forget the result."""
        self._result = RuntimeError("a result is asked for again")


class Finished:
    """Tasks that have ended, in that order."""

    def __init__(self, futures: list[Future]) -> None:
        self._futures = list(futures)

    def is_empty(self) -> bool:
        """Return whether all were handed out."""
        return not self._futures

    def has_ready(self) -> bool:
        """Return whether a task has ended."""
        return True

    def __next__(self) -> Future:
        return self._futures.pop(0)


class Client:
    """The methods of a Dask client that are used, with given results."""

    loop = None

    def __init__(self, results: list[FragmentReport | BaseException]) -> None:
        self._results = results
        self.submitted: list[tuple[Any, ...]] = []
        self.cancelled: list[Future] = []

    def submit(self, function: Any, job: Any, fragment: int, *, pure: bool) -> Future:
        """Record a task."""
        self.submitted.append((function, job, fragment, pure))
        return Future(self._results[len(self.submitted) - 1])

    def cancel(self, futures: list[Future]) -> None:
        """Record a cancelled task."""
        self.cancelled = list(futures)

    def nthreads(self) -> dict[str, int]:
        """Return two workers, one of them with two threads."""
        return {"tcp://a": 1, "tcp://b": 2}


@pytest.fixture(autouse=True)
def _completed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "as_completed", lambda futures, loop: Finished(futures))


def report(fragment: int) -> FragmentReport:
    return FragmentReport(fragment, 64, 5, 0.1)


def killed() -> distributed.KilledWorker:
    return distributed.KilledWorker("task", cast("Any", None), 3)


def test_threads_build_side_by_side() -> None:
    """As many run at once as there are threads; each is reported once, in any order of ends."""
    together = threading.Barrier(2, timeout=60)

    def build(fragment: int) -> FragmentReport:
        together.wait()
        return report(fragment)

    assert {one.fragment for one in Threads(2).run(JobOf(build), [3, 5, 7, 8])} == {3, 5, 7, 8}


def test_after_an_error_no_thread_begins_anything() -> None:
    """The error is raised unchanged; tasks that have begun end, and others never begin."""
    begun: list[int] = []

    def build(fragment: int) -> FragmentReport:
        begun.append(fragment)
        raise RecordingError("bad")

    threads = threading.active_count()
    with pytest.raises(RecordingError, match="bad"):
        list(Threads(1).run(JobOf(build), range(1000)))
    assert begun == [0]
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("cores", "seconds", "suffice"),
    [(1, 1e6, True), (2, 0, True), (2, 16, True), (2, 18, False), (64, 2, True), (64, 3, False)],
)
def test_small_sets_start_no_workers(
    cores: int, seconds: float, suffice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are started only if they save more time than their start takes; with one core they save none."""
    assert schedulers.threads_suffice(seconds, cores) is suffice
    if suffice:
        monkeypatch.setattr(schedulers, "available_cores", lambda: cores)
        with open_scheduler(seconds=seconds) as runs:
            assert isinstance(runs, Threads)
            assert runs.workers == cores


def test_requested_workers_are_started() -> None:
    """Requested workers are started, even for a small set."""
    with open_scheduler(1, seconds=0) as runs:
        assert isinstance(runs, DaskScheduler)


def test_one_task_a_fragment() -> None:
    """Every fragment is submitted once, and is never taken for a task of another build."""
    client = Client([report(4), report(6)])
    runs = DaskScheduler(client)
    assert runs.workers == 3
    assert [one.fragment for one in runs.run(JOB, [4, 6])] == [4, 6]
    sent = [(task, pickle.loads(job), number, pure) for task, job, number, pure in client.submitted]  # noqa: S301
    assert sent == [
        (dask_scheduler._run_in_worker, "job for 4", 4, False),
        (dask_scheduler._run_in_worker, "job for 6", 6, False),
    ]


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (RecordingError("file: recording 3: bad"), RecordingError, "file: recording 3: bad"),
        (StorageFullError("no space left"), StorageFullError, "no space left"),
        (
            killed(),
            WorkerError,
            "4 workers died in the same task.*fewer workers.*a smaller fragment_samples under .* and rerun with --restart",
        ),
        (CommClosedError("gone"), WorkerError, r"the Dask cluster failed \(gone\): rerun to resume"),
        (
            FutureCancelledError("task", "lost\nfor ever"),
            WorkerError,
            "the Dask cluster failed .*lost for ever",
        ),
        (ConnectionResetError("reset"), WorkerError, "the Dask cluster failed"),
    ],
)
def test_errors_are_spikestore_errors_and_other_calls_are_cancelled(
    raised: BaseException, kind: type[SpikestoreError], words: str
) -> None:
    """Errors of spikestore in a task are raised unchanged; faults of the cluster become a `WorkerError`."""
    client = Client([raised, report(1)])
    with pytest.raises(kind, match=words) as caught:
        list(DaskScheduler(client).run(JOB, [0, 1]))
    assert type(caught.value) is kind
    assert len(client.cancelled) == 2
    assert caught.value.exit_code == 1


def test_an_error_in_spikestore_is_not_an_error_of_the_cluster() -> None:
    """Any other exception of a task is raised unchanged."""
    with pytest.raises(ZeroDivisionError):
        list(DaskScheduler(Client([ZeroDivisionError()])).run(JOB, [0]))


@pytest.mark.parametrize(
    ("workers", "scheduler", "message"),
    [
        (-1, None, "workers must be at least 0, got -1"),
        (2, "tcp://127.0.0.1:1", "workers = 2 and scheduler = 'tcp://127.0.0.1:1' cannot be combined"),
        (0, "tcp://127.0.0.1:1", "workers = 0 and scheduler = 'tcp://127.0.0.1:1' cannot be combined"),
    ],
)
def test_arguments_that_exclude_each_other(workers: int, scheduler: str | None, message: str) -> None:
    """Nothing is started."""
    with pytest.raises(UsageError, match=message), open_scheduler(workers, scheduler):
        pass


@pytest.mark.parametrize(
    "address",
    [
        "nonsense://x",
        "tcp://127.0.0.1:1",
        "127.0.0.1",
        "tcp://no-such-host.invalid:8786",
        "tls://127.0.0.1:1",
        "wss://127.0.0.1:1",
        "ws://127.0.0.1:1",
    ],
)
def test_no_scheduler_there(
    address: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a limited time, the error names the address, and Dask logs nothing."""
    monkeypatch.setattr(dask_scheduler, "_SCHEDULER_TIMEOUT", 0.5)
    with (
        pytest.raises(WorkerError, match=rf"{address} \(.*\): start a scheduler there"),
        open_scheduler(scheduler=address),
    ):
        pass
    assert capfd.readouterr() == ("", "")


def _environment() -> dict[str, str]:
    return dict(os.environ)


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def test_local_workers() -> None:
    """They have one thread each, one thread in each library's pool, and their own session; all listen on loopback only."""
    before, others = _environment(), _children()
    with open_scheduler(1) as runs:
        assert isinstance(runs, DaskScheduler)
        assert runs.workers == 1
        there = runs._client.submit(_environment, pure=False).result()
        assert _environment() == before
        assert all(there[name] == "1" for name in dask_scheduler._PINNED)
        processes = _children() - others
        assert len(processes) == 1
        assert all(os.getsid(process.pid) != os.getsid(0) for process in processes)
        listening = [
            one.laddr.ip
            for process in (psutil.Process(), *processes)
            for one in process.net_connections()
            if one.status == psutil.CONN_LISTEN
        ]
        assert set(listening) == {"127.0.0.1"}


def _scipy_after_kernels() -> tuple[bool, bool]:
    from numba.core.registry import cpu_target

    importlib.import_module("spikestore.pipeline.transforms.fused.kernels")
    cpu_target.target_context.refresh()  # as loading a kernel does
    before = "scipy.linalg" in sys.modules
    importlib.import_module("scipy.linalg")
    return before, "scipy.linalg" in sys.modules


@pytest.mark.slow
def test_local_workers_do_not_load_scipy() -> None:
    """Numba would load scipy for the first kernel, which takes a fifth of a second; other code can still import it."""
    with open_scheduler(1) as runs:
        assert isinstance(runs, DaskScheduler)
        assert runs._client.submit(_scipy_after_kernels, pure=False).result() == (False, True)


def test_nothing_is_left_of_local_workers(capfd: pytest.CaptureFixture[str]) -> None:
    """After an error inside the block, no process is left, log levels are as before, and nothing was logged."""
    levels = {name: logging.getLogger(name).level for name in dask_scheduler._NOISY}
    others = _children()
    processes: set[psutil.Process] = set()

    def fail() -> None:
        with open_scheduler(1):
            processes.update(_children() - others)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert processes
    deadline = time.monotonic() + 60
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert {name: logging.getLogger(name).level for name in dask_scheduler._NOISY} == levels
    assert capfd.readouterr() == ("", "")
