"""Schedulers: run tasks in this process, in its threads, on local workers, or on an existing Dask cluster.

Only task descriptions and short reports pass through the scheduler. Local workers have one thread each, thread pools of
BLAS and codecs have size 1, and no dashboard listens.
"""

from __future__ import annotations

import contextlib
import logging
import math
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from spikestore.pipeline.execution.cluster_address import check_address
from spikestore.pipeline.execution.worker_memory import keep_memory
from spikestore.store.machine import available_cores
from spikestore.store_schemas.errors import SpikestoreError, UsageError
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    from spikestore.pipeline.execution.local_cluster import WorkerProcesses

logger = logging.getLogger(__name__)

_PINNED = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS"),
    "1",
)
CLUSTER_START = 1.2
"""Seconds until local workers have started and loaded their imports: row ``from_start`` of `benchmarks.preprocess`."""

THREADS_WORTH = 1.75
"""Speed-up of threads over one core, for any number of threads: row ``threads_against_one`` of `benchmarks.preprocess`.

Measured with two threads. More threads wait longer for the GIL, so a larger speed-up is not assumed.
"""

_SCHEDULER_TIMEOUT = 20
_LOCAL_TIMEOUT = 120
_MOST_EARLY_ENDS = 4
"""If this many local workers end before the first worker is ready, the start is given up."""
_POLL_SECONDS = 0.05
"""Seconds between checks of the workers; tasks take seconds."""
_WITHOUT_WORKERS = 600.0
"""Seconds that a cluster may have no worker during a build: a batch system may be starting new workers."""
_CLUSTER_POLL_SECONDS = 1.0
"""Seconds between requests to the scheduler of a cluster."""

_NOISY = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")


class WorkerError(SpikestoreError):
    """Workers died, or the cluster cannot be reached."""

    kind = "worker"


Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Job(Protocol[Result_co]):
    """Inputs of numbered tasks, such as one for each fragment of a build."""

    def only(self, number: int, /) -> Self:
        """Return a copy that contains what one task needs, to send to a worker."""

    def run(self, number: int, /) -> Result_co:
        """Do a task and return its result."""


class Scheduler(Protocol):
    """Runs the tasks of a job, in any order."""

    @property
    def workers(self) -> int:
        """Number of tasks that run at the same time."""

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Yield the result of each task when it finishes; the first error ends the run."""


class InProcess:
    """Scheduler that runs one task after another in this process."""

    workers = 1

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Do the tasks in order, and yield the result of each."""
        for number in numbers:
            yield job.run(number)


class Threads:
    """Scheduler that runs tasks in threads of this process.

    Compiled passes, codecs, hashes and file access release the GIL. Threads start immediately, so a small set is finished
    before worker processes would be ready.

    Parameters
    ----------
    workers : int
        Number of threads.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Yield the result of each task when it finishes. After an error or Ctrl-C, no further task starts."""
        ended = threading.Event()

        def run(number: int) -> Result | None:
            if ended.is_set():
                return None
            try:
                return job.run(number)
            except BaseException:
                ended.set()  # set here, because the loop below may be late
                raise

        with ThreadPoolExecutor(self.workers, thread_name_prefix="fragment") as pool:
            try:
                for future in as_completed([pool.submit(run, number) for number in numbers]):
                    result = future.result()
                    if result is not None:
                        yield result
            finally:
                ended.set()


class DaskScheduler:
    """Scheduler that runs tasks with a Dask client.

    Parameters
    ----------
    client : distributed.Client
        A connected client.
    coming : int
        Number of local workers that were started; they may connect later.
    processes : WorkerProcesses, optional
        Processes of the local workers, to detect that all have ended.
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
            Several workers died in the same task, or the cluster cannot be reached.
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
                        "workers, or, in a build, with a smaller fragment_samples under [build]"
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
                time.sleep(_POLL_SECONDS)
            yield next(finished)


class _Absence:
    """Detects that a cluster has had no worker for too long.

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
            No worker connected in time.
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
def open_scheduler(
    workers: int | None = None,
    scheduler: str | None = None,
    *,
    seconds: float = math.inf,
    not_sendable: Callable[[], str | None] = lambda: None,
) -> Iterator[Scheduler]:
    """Start a scheduler, or connect to one; the end of the ``with`` block ends the processes that it started.

    Parameters
    ----------
    workers : int, optional
        Number of local worker processes; if it is 0, all tasks run in this process. The default is one worker process per core,
        or one thread per core if threads are expected to finish sooner (`threads_suffice`).
    scheduler : str, optional
        Address of a running Dask scheduler, to use instead of local workers.
    seconds : float
        Approximate time of the work on one core.
    not_sendable : callable
        Returns why the recordings cannot be sent to worker processes, or None; called only before processes are used. If it
        returns a reason, a warning is logged, and threads of this process do the work.

    Raises
    ------
    UsageError
        `workers` and `scheduler` are both given, or `workers` is negative; or a scheduler is given and the recordings cannot be sent.
    WorkerError
        The scheduler cannot be reached, or no worker starts.
    """
    if workers is not None and workers < 0:
        raise UsageError(f"workers must be at least 0, got {workers}")
    if workers is not None and scheduler is not None:
        raise UsageError(
            f"workers = {workers} and scheduler = {scheduler!r} cannot be combined: pass one of them"
        )
    if workers is None and scheduler is None and threads_suffice(seconds, available_cores()):
        yield Threads(available_cores())
    elif workers == 0:
        yield InProcess()
    elif (why := not_sendable()) is not None:
        if scheduler is not None:
            raise UsageError(f"{why}: omit the scheduler")
        logger.warning("%s: its items are read in threads of this process", why)
        yield Threads(workers or available_cores())
    elif scheduler is not None:
        with _quiet(), _client(scheduler) as client:
            _wait_for_a_worker(client)
            yield DaskScheduler(client)
    else:
        count = workers or available_cores()
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


def threads_suffice(seconds: float, cores: int) -> bool:
    """Return whether threads probably finish sooner than worker processes, which need time to start; `seconds` is the time on one core."""
    return seconds / min(cores, THREADS_WORTH) < CLUSTER_START + seconds / cores


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
            raise WorkerError(f"the Dask scheduler has no worker after {timeout} s: start workers and rerun")
        time.sleep(_POLL_SECONDS)


def _workers_end(processes: WorkerProcesses) -> WorkerError:
    return WorkerError(
        f"local workers end repeatedly ({processes.ends[-1]}): check the limits of memory, processes and open files "
        "(ulimit -a), and pass --workers 0 or fewer workers; --verbose shows their logs"
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
