"""Schedulers: run tasks in this process, in its threads, on local workers, or on an existing Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from spikestore.pipeline.execution.dask_scheduler import on_cluster, on_local_workers
from spikestore.pipeline.execution.jobs import Job, Result, Scheduler, TwoStepJob
from spikestore.store.concurrency import DaemonThreads
from spikestore.store.machine import available_cores
from spikestore.store_schemas.errors import UsageError

logger = logging.getLogger(__name__)

CLUSTER_START = 1.2
"""Seconds until local workers have started and loaded their imports: row ``from_start`` of `benchmarks.preprocess`."""

THREADS_WORTH = 1.75
"""Speed-up of threads over one core, for any number of threads: row ``threads_against_one`` of `benchmarks.preprocess`.

Measured with two threads. More threads wait longer for the GIL, so a larger speed-up is not assumed.
"""


class InProcess:
    """Scheduler that runs one task after another in this process; a thread stores a computed task while the next task is computed."""

    workers = 1

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Do the tasks in order, and yield the result of each task.

        While a task is computed, the result of the task before it is stored. If the computation
        fails, the storing is finished before the error is raised. If the storing fails too, the error of the storing is raised.
        """
        if not isinstance(job, TwoStepJob):
            for number in numbers:
                yield job.run(number)
            return
        stored: Future[Result] | None = None
        pool = DaemonThreads(1, "fragment")  # Ctrl-C does not wait for a server that does not respond
        try:
            for number in numbers:
                store = job.compute(number)
                # At most one computed task waits, because its result is in memory.
                if stored is not None:
                    yield stored.result()
                stored = pool.submit(store)
                del store
            if stored is not None:
                yield stored.result()
        except Exception:
            if stored is not None:
                stored.result()  # waits, and raises the error of the earlier task, which the user must mend first
            raise
        finally:
            pool.shutdown()


class Threads:
    """Scheduler that runs tasks in threads of this process.

    Compiled passes, codecs, hashes and file access release the GIL. Threads start immediately, so a small set is finished
    before worker processes are ready.

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


@contextlib.contextmanager
def open_scheduler(
    workers: int | None = None,
    scheduler: str | None = None,
    *,
    seconds: float = math.inf,
    not_sendable: Callable[[], str | None] = lambda: None,
) -> Iterator[Scheduler]:
    """Start a scheduler, or connect to one.

    At the end of the ``with`` block, the processes that this function started are ended.

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
        Returns why the recordings cannot be sent to worker processes, or None; called only if processes should do the
        work. If it returns a reason and `scheduler` is None, a warning is logged, and threads of this process do the work.

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
            raise UsageError(f"{why}: omit scheduler= (--scheduler)")
        logger.warning("%s: threads of this process do all tasks instead", why)
        yield Threads(workers or available_cores())
    elif scheduler is not None:
        with on_cluster(scheduler) as cluster:
            yield cluster
    else:
        with on_local_workers(workers or available_cores()) as local:
            yield local


def threads_suffice(seconds: float, cores: int) -> bool:
    """Return whether threads probably finish sooner than worker processes, which need time to start; `seconds` is the time on one core."""
    return seconds / min(cores, THREADS_WORTH) < CLUSTER_START + seconds / cores
