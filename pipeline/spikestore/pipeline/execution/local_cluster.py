"""Dask workers on this machine that end together with the process that started them.

`distributed.LocalCluster` re-imports the user's script in every worker, which fails without a main guard. The processes of
`SubprocessCluster` survive if their parent is killed, and Ctrl-C reaches all of them while the cluster closes. Therefore

1. the scheduler runs in a thread of this process, as with `LocalCluster`, and listens on loopback only;
2. each worker is a process in its own session, which the terminal's Ctrl-C does not reach;
3. each worker reads its specification from a pipe, and ends when the pipe closes, no matter how this process ended;
4. no nannies run, because a nanny takes as long to start as a worker; this process itself replaces a worker that dies;
5. worker processes start before this process imports Dask, so that all processes import at the same time;
6. worker logs are discarded unless the log level of spikestore is DEBUG.

Workers run this module: ``python -m spikestore.pipeline.execution.local_cluster``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"

_SIGKILL = getattr(signal, "SIGKILL", None)
"""None on Windows, which has no signal 9."""

_REPLACEMENTS = 20
"""Maximum number of replacements of one worker: Dask limits how often it retries a fragment, but not failed starts of workers."""

_WARNED_ENDS = 3
"""Number of unexpected ends of one worker that are logged as warnings; later ends are logged at level DEBUG, because they may follow each other quickly."""

_TICK = "1s"
"""Interval of the checks of Dask's event loops. By default there are 50 checks a second, which cost 1 to 2 % of a build."""

_FOR_LONG_TASKS = {
    # Tasks are few and long: no profile with a hundred stacks a second.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": _TICK,
}


class WorkerProcesses:
    """Starts the processes of local workers; `prepare` starts some in advance.

    Parameters
    ----------
    environment : mapping of str to str
        Environment variables for the workers only.

    Attributes
    ----------
    ends : list of str
        Texts that say how workers ended unexpectedly or why they could not be replaced, the oldest first.
    given_up : int
        Number of workers that are no longer replaced, because they and their replacements ended too often, or because no new
        process can be started.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment, **_FOR_LONG_TASKS}
        self._waiting: list[subprocess.Popen[bytes]] = []
        self.ends: list[str] = []
        self.given_up = 0

    def prepare(self, count: int) -> None:
        """Start `count` processes; each imports the modules that a worker needs, then waits until it is used."""
        for _ in range(count):
            self._waiting.append(self._launch())

    def worker(self, scheduler: str, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Turn a prepared or a new process into a worker, and return it."""
        process = self._waiting.pop() if self._waiting else self._launch()
        pipe = cast("IO[bytes]", process.stdin)
        with contextlib.suppress(BrokenPipeError):  # it died already, which its watcher reports
            pipe.write(json.dumps([scheduler, spec]).encode() + b"\n")
            pipe.flush()
        return process

    def close(self) -> None:
        """Kill the processes that `prepare` started and that no worker uses yet."""
        while self._waiting:
            end(self._waiting.pop())

    def _launch(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "spikestore.pipeline.execution.local_cluster"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=None if logger.isEnabledFor(logging.DEBUG) else subprocess.DEVNULL,
            start_new_session=True,
            env=self._environment,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and wait until it has ended."""
    process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def how_it_ended(returncode: int) -> str:
    """Return a text that describes how a process ended. For signal 9, it suggests lack of memory, because Linux sends this signal when memory runs out."""
    if returncode >= 0:
        return f"status {returncode}"
    return f"signal {-returncode}{': out of memory?' if -returncode == _SIGKILL else ''}"


@contextlib.contextmanager
def worker_processes(count: int, environment: Mapping[str, str]) -> Iterator[WorkerProcesses]:
    """Start `count` processes, which become workers later.

    The end of the ``with`` block kills the processes that have not become workers.

    Raises
    ------
    OSError
        A process could not be started.
    """
    processes = WorkerProcesses(environment)
    try:
        processes.prepare(count)
        yield processes
    finally:
        processes.close()


def local_cluster(workers: int, processes: WorkerProcesses) -> Any:
    """Return a `distributed.SpecCluster` of single-threaded workers, which the caller closes.

    Parameters
    ----------
    workers : int
        Number of workers. They connect when they are ready, possibly after this function returns.
    processes : WorkerProcesses
        Processes for the workers, from `worker_processes`.

    Raises
    ------
    OSError, RuntimeError
        The scheduler or a worker could not be started.
    """
    import dask
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.spec import ProcessInterface
    from distributed.worker_memory import parse_memory_limit

    class Worker(ProcessInterface):
        """A worker process that is replaced when it dies."""

        process: subprocess.Popen[bytes] | None = None
        watch: asyncio.Task[None] | None = None

        def __init__(self, scheduler: str, name: object = None, **options: Any) -> None:
            super().__init__(scheduler, name)  # type: ignore[no-untyped-call]
            self.scheduler, self.options = scheduler, options

        async def start(self) -> None:
            self._launch()
            self.watch = asyncio.create_task(self._replace())
            await super().start()  # type: ignore[no-untyped-call]

        async def close(self) -> None:
            if self.watch is not None:
                self.watch.cancel()
            if self.process is not None:
                end(self.process)
            await super().close()  # type: ignore[no-untyped-call]

        def _launch(self) -> None:
            spec = {"cls": "distributed.Worker", "opts": self.options}
            self.process = processes.worker(self.scheduler, spec)

        async def _replace(self) -> None:
            for before in itertools.count():
                while self.process is not None and self.process.poll() is None:
                    await asyncio.sleep(0.2)
                if self.process is not None:
                    level = logging.WARNING if before < _WARNED_ENDS else logging.DEBUG
                    reason = how_it_ended(self.process.returncode)
                    processes.ends.append(reason)
                    end(self.process)  # its pipe is still open
                    if before == _REPLACEMENTS:
                        processes.given_up += 1
                        return
                    logger.log(level, "a worker ended unexpectedly (%s) and is replaced", reason)
                try:
                    self._launch()
                except OSError as error:
                    processes.ends.append(f"a new one cannot be started: {error}")
                    processes.given_up += 1
                    return

    options = {
        "host": _HOST,
        "nthreads": 1,
        "memory_limit": parse_memory_limit("auto", 1, workers, logger=logger),
        "dashboard": False,
        "dashboard_address": f"{_HOST}:0",
    }
    worker = {"cls": Worker, "options": options}
    # Workers queue all tasks at once; by default a worker gets the next task only after it reported the last.
    settings = {"distributed.scheduler.worker-saturation": math.inf, "distributed.admin.tick.interval": _TICK}
    with dask.config.set(settings):
        return SpecCluster(
            workers=dict.fromkeys(range(workers), worker),
            # Any free port: the default of the HTTP server is 8787, and Dask warns if it is in use.
            scheduler={
                "cls": Scheduler,
                "options": {"host": _HOST, "port": 0, "dashboard": False, "dashboard_address": f"{_HOST}:0"},
            },
            worker=worker,
            name="spikestore",
            silence_logs=False,
        )


def _end_with_parent() -> None:
    """End this process when standard input closes, which happens when the parent ends."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _numba_without_blas() -> None:
    """Import numba but not SciPy: numba would import SciPy only to find BLAS, which no kernel uses."""
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # makes its import fail
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy.linalg"]


def _main() -> None:
    from distributed.cli.dask_spec import main

    _numba_without_blas()
    line = b""
    while not line.endswith(b"\n"):  # unbuffered: the thread below continues to read here
        byte = os.read(0, 1)
        if not byte:
            return
        line += byte
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    scheduler, spec = json.loads(line)
    main([scheduler, "--spec", json.dumps(spec)])


if __name__ == "__main__":
    _main()
