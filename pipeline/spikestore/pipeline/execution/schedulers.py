"""Where tasks run: in this process, in its threads, on local workers, or on a Dask cluster that is already there.

Nothing but task descriptions and short reports passes through the scheduler. Workers have one thread each, with
the thread pools of BLAS and codecs pinned, and no dashboard listens.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, Protocol

from spikestore.pipeline.execution.fragment_task import FragmentJob, FragmentReport, build_fragment
from spikestore.pipeline.execution.worker_memory import keep_memory
from spikestore.store.machine import available_cores
from spikestore.store_schemas.errors import SpikestoreError, UsageError

if TYPE_CHECKING:
    from spikestore.pipeline.execution.local_cluster import WorkerProcesses

logger = logging.getLogger(__name__)

_PINNED = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"),
    "1",
)
CLUSTER_START = 1.2
"""Seconds until local workers have started and loaded what they need: row ``from_start`` of `benchmarks.preprocess`."""

THREADS_WORTH = 1.75
"""Cores that threads are worth, however many there are: row ``threads_against_one`` of `benchmarks.preprocess`.

Measured with two; with more they wait longer for each other where Python itself runs, so no more is counted on.
"""

_SCHEDULER_TIMEOUT = 20
_LOCAL_TIMEOUT = 120
_MOST_EARLY_ENDS = 4
"""Ends of local workers before the first one is ready."""
_LOOK_EVERY = 0.05
"""Seconds between looks at workers; tasks take seconds."""
_WITHOUT_WORKERS = 600.0
"""Seconds that a cluster may have no worker in the middle of a build: a batch system may be about to start others."""
_LOOK_AT_CLUSTER_EVERY = 1.0
"""Seconds between questions to the scheduler of a cluster."""

_NOISY = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")


class WorkerError(SpikestoreError):
    """Workers died, or the cluster can't be reached."""

    kind = "worker"


class Scheduler(Protocol):
    """Runs the fragments of a build, in any order."""

    @property
    def workers(self) -> int:
        """How many tasks run at once."""

    def run(self, job: FragmentJob, fragments: Sequence[int]) -> Iterator[FragmentReport]:
        """Build fragments; yield a report for each, as they finish. The first error ends it."""


class InProcess:
    """Runs one fragment after another in this process."""

    workers = 1

    def run(self, job: FragmentJob, fragments: Sequence[int]) -> Iterator[FragmentReport]:
        """Build fragments, in order."""
        for fragment in fragments:
            yield build_fragment(job, fragment)


class Threads:
    """Runs fragments in threads of this process: compiled passes, codecs, hashes and files free the GIL.

    Nothing has to be started, so a small set is done before workers would have begun.

    Parameters
    ----------
    workers : int
        Threads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, job: FragmentJob, fragments: Sequence[int]) -> Iterator[FragmentReport]:
        """Build fragments; after an error, or Ctrl-C, no other is begun."""
        ended = threading.Event()

        def build(fragment: int) -> FragmentReport | None:
            if ended.is_set():
                return None
            try:
                return build_fragment(job, fragment)
            except BaseException:
                ended.set()  # here and not in the loop below, which may be late
                raise

        with ThreadPoolExecutor(self.workers, thread_name_prefix="fragment") as pool:
            try:
                for future in as_completed([pool.submit(build, fragment) for fragment in fragments]):
                    report = future.result()
                    if report is not None:
                        yield report
            finally:
                ended.set()


class DaskScheduler:
    """Runs fragments as tasks of a Dask client.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    coming : int
        Workers that have been started; they need not be there yet.
    processes : WorkerProcesses, optional
        Those of local workers, to see when none of them is left.
    """

    def __init__(self, client: Any, coming: int = 0, processes: WorkerProcesses | None = None) -> None:
        self._client, self._coming, self._processes = client, coming, processes

    @property
    def workers(self) -> int:
        """Threads of all workers, those to come included."""
        return self._coming or max(1, int(sum(self._client.nthreads().values())))

    def run(self, job: FragmentJob, fragments: Sequence[int]) -> Iterator[FragmentReport]:
        """Build fragments; a fragment whose worker dies is built again elsewhere."""
        import distributed
        from distributed.client import FutureCancelledError
        from distributed.comm import CommClosedError

        if self._coming:
            _wait_for_a_worker(self._client, self._processes)
        # pure=False: Dask must not take two builds of one fragment for one.
        futures = [
            self._client.submit(_build_in_worker, job.only(fragment), fragment, pure=False)
            for fragment in fragments
        ]
        try:
            for future in self._finished(futures):
                try:
                    yield future.result()
                except distributed.KilledWorker as error:
                    raise WorkerError(
                        f"workers died {error.allowed_failures + 1} times on one fragment, most likely for want of "
                        "memory: run again with fewer workers, or a smaller fragment_samples in [build]"
                    ) from error
                except (OSError, CommClosedError, FutureCancelledError) as error:
                    if isinstance(error, SpikestoreError):
                        raise
                    why = " ".join(str(error).split())
                    raise WorkerError(f"the cluster failed ({why}): run again to resume") from error
        finally:
            # Without this an error would leave the other tasks running.
            with contextlib.suppress(Exception):
                self._client.cancel(futures)

    def _finished(self, futures: list[Any]) -> Iterator[Any]:
        """Yield futures as they finish, as long as there are workers: without any, Dask itself waits for ever."""
        import distributed

        finished = distributed.as_completed(futures, loop=self._client.loop)
        absence = _Absence(self._client)
        while not finished.is_empty():
            while not finished.has_ready():
                if self._processes is None:  # others may start workers at any time
                    absence.look()
                elif self._processes.given_up >= self._coming:
                    raise _workers_end(self._processes)
                time.sleep(_LOOK_EVERY)
            yield next(finished)


class _Absence:
    """Notices when a cluster has had no worker for too long.

    Parameters
    ----------
    client : distributed.Client
        Of a cluster that others started.
    """

    def __init__(self, client: Any) -> None:
        self._client, self._since = client, math.inf
        self._next_look = time.monotonic() + _LOOK_AT_CLUSTER_EVERY

    def look(self) -> None:
        """Ask the scheduler now and then; say when the last worker is lost.

        Raises
        ------
        WorkerError
            None came back in time.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_AT_CLUSTER_EVERY
        try:
            workers = self._client.nthreads()
        except OSError:  # the scheduler is lost: Dask's client cancels the tasks when it gives up
            return
        if workers:
            self._since = math.inf
        elif self._since == math.inf:
            self._since = now
            logger.warning(
                "the Dask cluster has no worker left: waiting %g s for others; finished fragments are stored",
                _WITHOUT_WORKERS,
            )
        elif now - self._since > _WITHOUT_WORKERS:
            raise WorkerError(
                f"the Dask cluster lost all its workers, and none came back within {_WITHOUT_WORKERS:g} s: start workers, and "
                "run the same command again: it builds only what is missing"
            )


@contextlib.contextmanager
def open_scheduler(
    workers: int | None = None, scheduler: str | None = None, *, seconds: float = math.inf
) -> Iterator[Scheduler]:
    """Start, or connect to, what runs the tasks; end what was started.

    Parameters
    ----------
    workers : int, optional
        Local worker processes. 0 runs everything in this process. By default one per core, or as many threads of
        this process where workers would cost more than they save.
    scheduler : str, optional
        Address of a running Dask scheduler; nothing is started then.
    seconds : float
        About what the work would take one core, to decide by (`threads_suffice`).

    Raises
    ------
    UsageError
        Both were given, or `workers` is negative.
    WorkerError
        The scheduler can't be reached, or no worker starts.
    """
    if workers is not None and (workers < 0 or scheduler is not None):
        raise UsageError(
            "workers is a number from 0 on, and has no effect with a scheduler: give one of the two"
        )
    if workers is None and scheduler is None and threads_suffice(seconds, available_cores()):
        yield Threads(available_cores())
    elif workers == 0:
        yield InProcess()
    elif scheduler is not None:
        with _quiet(), _client(scheduler) as client:
            _wait_for_a_worker(client)
            yield DaskScheduler(client)
    else:
        count = workers or available_cores()
        # Processes first: they load while this one imports Dask.
        with (
            _processes(count) as processes,
            _quiet(),
            _local_cluster(count, processes) as cluster,
            _client(cluster) as client,
        ):
            yield DaskScheduler(client, count, processes)


def _build_in_worker(job: FragmentJob, fragment: int) -> FragmentReport:
    keep_memory()
    return build_fragment(job, fragment)


def threads_suffice(seconds: float, cores: int) -> bool:
    """Return whether threads do `seconds` of one core's work before workers of their own, once started, would."""
    return seconds / min(cores, THREADS_WORTH) < CLUSTER_START + seconds / cores


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[WorkerProcesses]:
    from spikestore.pipeline.execution.local_cluster import worker_processes

    with contextlib.ExitStack() as stack:
        try:
            processes = stack.enter_context(worker_processes(workers, _PINNED))
        except OSError as error:
            raise WorkerError(f"{workers} local workers could not be started: {error}") from error
        yield processes


@contextlib.contextmanager
def _local_cluster(workers: int, processes: WorkerProcesses) -> Iterator[Any]:
    from spikestore.pipeline.execution.local_cluster import local_cluster

    try:
        cluster = local_cluster(workers, processes)
    except (OSError, RuntimeError) as error:
        raise WorkerError(f"{workers} local workers could not be started: {error}") from error
    with cluster:
        yield cluster


@contextlib.contextmanager
def _client(address: Any) -> Iterator[Any]:
    import distributed
    from distributed.comm import resolve_address

    try:
        if isinstance(address, str):
            resolve_address(address)  # a client that fails on it would go on trying to close itself
        client = distributed.Client(address, timeout=_SCHEDULER_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def _wait_for_a_worker(client: Any, processes: WorkerProcesses | None = None) -> None:
    """Wait until there is a worker. Local ones may take long on a busy machine, but not end one after the other."""
    timeout = _SCHEDULER_TIMEOUT if processes is None else _LOCAL_TIMEOUT
    deadline = time.monotonic() + timeout
    while not client.nthreads():
        if processes is not None and len(processes.ends) >= _MOST_EARLY_ENDS:
            raise _workers_end(processes)
        if time.monotonic() > deadline:
            raise WorkerError(f"the Dask scheduler has no worker after {timeout} s")
        time.sleep(_LOOK_EVERY)


def _workers_end(processes: WorkerProcesses) -> WorkerError:
    return WorkerError(
        f"local workers end again and again ({processes.ends[-1]}): is too little memory, or are too few processes or "
        "open files allowed (ulimit -a)? Give --workers 0, or fewer workers; --verbose shows what they say"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log, and that of what it runs on, to itself: what matters is raised as an error."""
    import distributed  # noqa: F401 - it sets levels when it is imported

    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
