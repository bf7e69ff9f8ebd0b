"""The scheduler of Dask: runs tasks on local workers, or on an existing Dask cluster.

Workers read recordings and store fragments themselves; only task descriptions and short reports pass through Dask's
scheduler. Local workers have one thread each, thread pools of BLAS and codecs have size 1, and no dashboard listens.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spikestore.pipeline.execution.cluster_address import check_address
from spikestore.pipeline.execution.jobs import Job, Result
from spikestore.pipeline.execution.worker_memory import keep_memory
from spikestore.store_schemas.errors import SpikestoreError
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.pipeline.execution.local_cluster import WorkerProcesses

logger = logging.getLogger(__name__)

_PINNED = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"),
    "1",
)

_SCHEDULER_TIMEOUT = 20
_LOCAL_TIMEOUT = 120
_MOST_EARLY_ENDS = 4
"""If this many local workers end before the first worker is ready, the start is given up."""
_POLL_SECONDS = 0.01
"""Seconds between looks for the first worker."""
_LOOK_SECONDS = 0.1
"""Longest time in seconds between two checks that there are still workers; a finished task ends the wait at once."""
_WITHOUT_WORKERS = 600.0
"""Seconds that a cluster may have no worker during a build: a batch system may be starting new workers."""
_CLUSTER_POLL_SECONDS = 1.0
"""Seconds between requests to the scheduler of a cluster."""

_NOISY = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")


class WorkerError(SpikestoreError):
    """Workers died or cannot be started, or the cluster cannot be reached."""

    kind = "worker"


class DaskScheduler:
    """Scheduler that runs tasks with a Dask client.

    Parameters
    ----------
    client : distributed.Client
        A connected client.
    coming : int
        Number of local workers that were started. Some of them may not be connected yet.
    processes : WorkerProcesses, optional
        Processes of the local workers; `run` raises `WorkerError` when all of them have ended and are not started again.
    """

    def __init__(self, client: Any, coming: int = 0, processes: WorkerProcesses | None = None) -> None:
        self._client, self._coming, self._processes = client, coming, processes

    @property
    def workers(self) -> int:
        """Number of threads of all workers; local workers that were started are counted even before they connect."""
        return self._coming or max(1, int(sum(self._client.nthreads().values())))

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Yield the result of each task when it finishes; if a worker dies, another worker does its tasks.

        Raises
        ------
        WorkerError
            Several workers died in the same task; the local workers died repeatedly; the cluster cannot be reached; or the
            cluster had no worker for `_WITHOUT_WORKERS` seconds.
        """
        import distributed
        from distributed.client import FutureCancelledError
        from distributed.comm import CommClosedError
        from distributed.protocol.pickle import dumps

        if self._coming:
            _wait_for_a_worker(self._client, self._processes)
        # As bytes: Dask's scheduler would load an object, with thousands of files. Not pure: Dask must not merge two builds.
        futures = [
            self._client.submit(_run_in_worker, dumps(job.only(number)), number, pure=False)
            for number in numbers
        ]
        try:
            for future in self._finished(futures):
                try:
                    yield future.result()
                    future.release()  # otherwise the worker keeps the result
                except distributed.KilledWorker as error:
                    raise WorkerError(
                        f"{plural(error.allowed_failures + 1, 'worker')} died in the same task, probably out of memory: rerun with fewer "
                        "workers. For a build, you can also set a smaller fragment_samples under [build] and rerun with --restart"
                    ) from error
                except (OSError, CommClosedError, FutureCancelledError) as error:
                    if isinstance(error, SpikestoreError):
                        raise
                    reason = " ".join(str(error).split())
                    raise WorkerError(f"the Dask cluster failed ({reason}): rerun to resume") from error
        finally:
            # After an error, the other tasks would continue to run.
            with contextlib.suppress(Exception):
                self._client.cancel(futures)

    def _finished(self, futures: list[Any]) -> Iterator[Any]:
        """Yield futures as they finish; raise an error if all workers are lost, because Dask itself would wait for ever."""
        import distributed

        finished = distributed.as_completed(futures, loop=self._client.loop)
        absence = _Absence(self._client)
        while not finished.is_empty():
            while not finished.has_ready():
                if self._processes is None:  # others may start workers at any time
                    absence.look()
                elif self._processes.given_up >= self._coming:
                    raise _workers_end(self._processes)
                with finished.thread_condition:
                    if not finished.has_ready():
                        finished.thread_condition.wait(_LOOK_SECONDS)
            yield next(finished)


class _Absence:
    """Detects that a cluster has had no worker for `_WITHOUT_WORKERS` seconds.

    Parameters
    ----------
    client : distributed.Client
        Client of an existing cluster.
    """

    def __init__(self, client: Any) -> None:
        self._client, self._since = client, math.inf
        self._next_look = time.monotonic() + _CLUSTER_POLL_SECONDS

    def look(self) -> None:
        """Count the workers, at most once a second; log a warning when the last worker is lost.

        Raises
        ------
        WorkerError
            All workers were lost, and no worker connected within `_WITHOUT_WORKERS` seconds.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _CLUSTER_POLL_SECONDS
        try:
            workers = self._client.nthreads()
        except OSError:  # the scheduler is lost: Dask's client cancels the tasks when it gives up
            return
        if workers:
            self._since = math.inf
        elif self._since == math.inf:
            self._since = now
            logger.warning(
                "the Dask cluster has no worker left: waiting %g s for new workers; finished fragments are stored",
                _WITHOUT_WORKERS,
            )
        elif now - self._since > _WITHOUT_WORKERS:
            raise WorkerError(
                f"the Dask cluster lost all its workers, and no worker connected within {_WITHOUT_WORKERS:g} s: start "
                "workers and rerun the same command; it builds only the missing fragments"
            )


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[DaskScheduler]:
    """Connect to a running Dask scheduler, and wait for its first worker.

    Raises
    ------
    WorkerError
        The scheduler cannot be reached, or no worker connects.
    """
    with _quiet(), _client(address) as client:
        _wait_for_a_worker(client)
        yield DaskScheduler(client)


@contextlib.contextmanager
def on_local_workers(count: int) -> Iterator[DaskScheduler]:
    """Start local worker processes; at the end of the ``with`` block, these processes are ended.

    Raises
    ------
    WorkerError
        The processes cannot be started.
    """
    # Processes first: they load their imports while this process imports Dask.
    with (
        _processes(count) as processes,
        _quiet(),
        _local_cluster(count, processes) as cluster,
        _client(cluster) as client,
    ):
        yield DaskScheduler(client, count, processes)


def _run_in_worker(job: bytes, number: int) -> Any:
    keep_memory()
    return pickle.loads(job).run(number)  # noqa: S301 - from this build's own client


@contextlib.contextmanager
def _processes(workers: int) -> Iterator[WorkerProcesses]:
    from spikestore.pipeline.execution.local_cluster import worker_processes

    with contextlib.ExitStack() as stack:
        try:
            processes = stack.enter_context(worker_processes(workers, _PINNED))
        except OSError as error:
            raise WorkerError(f"cannot start {plural(workers, 'local worker')}: {error}") from error
        yield processes


@contextlib.contextmanager
def _local_cluster(workers: int, processes: WorkerProcesses) -> Iterator[Any]:
    from spikestore.pipeline.execution.local_cluster import local_cluster

    try:
        cluster = local_cluster(workers, processes)
    except (OSError, RuntimeError) as error:
        raise WorkerError(f"cannot start {plural(workers, 'local worker')}: {error}") from error
    with cluster:
        yield cluster


@contextlib.contextmanager
def _client(address: Any) -> Iterator[Any]:
    import distributed

    try:
        if isinstance(address, str):
            check_address(address)
        client = distributed.Client(address, timeout=_SCHEDULER_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(
            f"no Dask scheduler at {address} ({error}): start a scheduler there, or correct the address"
        ) from error
    with client:
        yield client


def _wait_for_a_worker(client: Any, processes: WorkerProcesses | None = None) -> None:
    """Wait for the first worker; raise `WorkerError` after a timeout, or if local workers end repeatedly."""
    timeout = _SCHEDULER_TIMEOUT if processes is None else _LOCAL_TIMEOUT
    deadline = time.monotonic() + timeout
    while not client.nthreads():
        if processes is not None and len(processes.ends) >= _MOST_EARLY_ENDS:
            raise _workers_end(processes)
        if time.monotonic() > deadline:
            raise WorkerError(
                f"the Dask scheduler has no worker after {timeout} s: start workers and rerun"
                if processes is None
                else f"no local worker is ready after {timeout} s: rerun with --workers 0, or with fewer workers; --verbose shows the logs of the workers"
            )
        time.sleep(_POLL_SECONDS)


def _workers_end(processes: WorkerProcesses) -> WorkerError:
    return WorkerError(
        f"local workers end repeatedly ({processes.ends[-1]}): check the limits of memory, processes and open files "
        "(ulimit -a), and use fewer workers, or none (--workers 0); --verbose shows the logs of the workers"
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the logs of Dask and its event loop; failures are raised as errors."""
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
