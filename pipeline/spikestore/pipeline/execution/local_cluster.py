"""Dask workers on this machine: they live as long as the process that started them, and no longer.

`distributed.LocalCluster` re-imports the user's script in every worker, which fails without a main guard.
`SubprocessCluster` does not, but its processes stay for ever when their parent is killed, and Ctrl-C reaches all of
them at once: the cluster then falls apart while it is being closed. So here

1. the scheduler runs in a thread of this process, as with `LocalCluster`, and listens on loopback only;
2. each worker is a process in a session of its own, out of reach of the terminal's Ctrl-C;
3. each reads from a pipe what it shall be, and ends when that closes, however this process ended;
4. there is no nanny, which would take as long to start as the worker behind it: one that dies is replaced from here;
5. workers begin to load what they need before this process imports Dask itself;
6. their logs go nowhere, unless spikestore's own log is at level DEBUG.

Also the module that such a process runs: ``python -m spikestore.pipeline.execution.local_cluster``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import logging
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
"""None on Windows, where a process ends with a status and never by a signal."""

_REPLACEMENTS = 20
"""Dask gives up on a fragment whose workers died four times: this is for workers that can't even start."""

_TOLD = 3
"""Ends of one worker that are warned of: workers that can't even start end 20 times in a few seconds."""

_FOR_LONG_TASKS = {
    # Tasks are few and long: nobody needs a look at their stacks a hundred times a second.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


class WorkerProcesses:
    """Worker processes: some wait to be told which worker to be, the others are.

    Parameters
    ----------
    environment : mapping of str to str
        Variables that are set in them only.

    Attributes
    ----------
    ends : list of str
        How processes ended that nobody asked to end, in order.
    given_up : int
        Workers that ended too often to be replaced again.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment, **_FOR_LONG_TASKS}
        self._waiting: list[subprocess.Popen[bytes]] = []
        self.ends: list[str] = []
        self.given_up = 0

    def prepare(self, count: int) -> None:
        """Start processes that load what a worker needs."""
        for _ in range(count):
            self._waiting.append(self._launch())

    def worker(self, scheduler: str, spec: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Return a process that becomes a worker."""
        process = self._waiting.pop() if self._waiting else self._launch()
        pipe = cast("IO[bytes]", process.stdin)
        with contextlib.suppress(BrokenPipeError):  # it died already: whoever waits for it will see
            pipe.write(json.dumps([scheduler, spec]).encode() + b"\n")
            pipe.flush()
        return process

    def close(self) -> None:
        """End those that wait."""
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
    """Kill a process and wait for its end."""
    process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def how_it_ended(returncode: int) -> str:
    """Say in words how a process ended; the kernel kills with signal 9 whoever takes the last memory."""
    if returncode >= 0:
        return f"status {returncode}"
    return f"signal {-returncode}{': out of memory?' if -returncode == _SIGKILL else ''}"


@contextlib.contextmanager
def worker_processes(count: int, environment: Mapping[str, str]) -> Iterator[WorkerProcesses]:
    """Start processes that load what a worker needs; they end, at the latest, with the block.

    Raises
    ------
    OSError
        They could not be started.
    """
    processes = WorkerProcesses(environment)
    try:
        processes.prepare(count)
        yield processes
    finally:
        processes.close()


def local_cluster(workers: int, processes: WorkerProcesses) -> Any:
    """Make workers of one thread each; a `distributed.SpecCluster`, to be closed by the caller.

    Parameters
    ----------
    workers : int
        How many. They come when they are ready, which may be later.
    processes : WorkerProcesses
        From `worker_processes`.

    Raises
    ------
    OSError, RuntimeError
        They could not be started.
    """
    import dask
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.spec import ProcessInterface
    from distributed.worker_memory import parse_memory_limit

    class Worker(ProcessInterface):
        """A process that is replaced when it dies."""

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
                    level = logging.WARNING if before < _TOLD else logging.DEBUG
                    why = how_it_ended(self.process.returncode)
                    processes.ends.append(why)
                    end(self.process)  # its pipe is still open
                    if before == _REPLACEMENTS:
                        processes.given_up += 1
                        return
                    logger.log(level, "a worker ended unexpectedly (%s) and is replaced", why)
                self._launch()

    options = {
        "host": _HOST,
        "nthreads": 1,
        "memory_limit": parse_memory_limit("auto", 1, workers, logger=logger),
        "dashboard": False,
        "dashboard_address": f"{_HOST}:0",
    }
    worker = {"cls": Worker, "options": options}
    # All tasks are handed out at once; by default a worker gets the next one when it has told of the last.
    with dask.config.set({"distributed.scheduler.worker-saturation": float("inf")}):
        return SpecCluster(
            workers=dict.fromkeys(range(workers), worker),
            # Any free port: by default its HTTP server takes 8787, and Dask warns where that is taken.
            scheduler={
                "cls": Scheduler,
                "options": {"host": _HOST, "port": 0, "dashboard": False, "dashboard_address": f"{_HOST}:0"},
            },
            worker=worker,
            name="spikestore",
            silence_logs=False,
        )


def _end_with_parent() -> None:
    """End this process as soon as standard input closes: that is when its parent is gone."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _numba_without_blas() -> None:
    """Keep numba from importing half of SciPy, to see whether it has BLAS: none of our kernels multiply matrices."""
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # which is how one says that it can't be imported
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy.linalg"]


def _main() -> None:
    from distributed.cli.dask_spec import main

    _numba_without_blas()
    line = b""
    while not line.endswith(b"\n"):  # unbuffered: the thread below reads on where this stops
        byte = os.read(0, 1)
        if not byte:
            return
        line += byte
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    scheduler, spec = json.loads(line)
    main([scheduler, "--spec", json.dumps(spec)])


if __name__ == "__main__":
    _main()
