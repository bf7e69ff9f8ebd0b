"""Dask workers on this machine: they live as long as the process that started them, and no longer.

`distributed.LocalCluster` re-imports the user's script in every worker, which fails without a main guard.
`SubprocessCluster` does not, but its processes stay for ever when their parent is killed, and Ctrl-C reaches all of
them at once: the cluster then falls apart while it is being closed. So here

1. the scheduler runs in a thread of this process, as with `LocalCluster`, and listens on loopback only;
2. each worker is a process in a session of its own, out of reach of the terminal's Ctrl-C;
3. each watches a pipe to this process and ends when that closes, however this process ended;
4. there is no nanny, which would take as long to start as the worker behind it: one that dies is replaced from here;
5. workers' logs go nowhere, unless spikestore's own log is at level DEBUG.

Also the module that such a process runs: ``python -m spikestore.pipeline.local_cluster SCHEDULER --spec JSON``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"

_REPLACEMENTS = 20

_FOR_LONG_TASKS = {
    # Tasks are few and long: nobody needs a look at their stacks a hundred times a second.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    # Dask makes glibc give memory back at once, so that every array begins with page faults. These are the values
    # that glibc itself arrives at in a process that uses arrays of this size.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}


def local_cluster(workers: int, environment: Mapping[str, str]) -> Any:
    """Start workers of one thread each; a `distributed.SpecCluster`, to be closed by the caller.

    Parameters
    ----------
    workers : int
        How many.
    environment : mapping of str to str
        Variables that are set in workers only.

    Raises
    ------
    OSError, RuntimeError
        They could not be started.
    """
    import dask
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.subprocess import SubprocessWorker
    from distributed.worker_memory import parse_memory_limit

    class Worker(SubprocessWorker):
        """A worker that ends with this process, and is replaced when it dies."""

        _watch: asyncio.Task[None] | None = None

        async def _start(self) -> None:
            await self._launch()
            self._watch = asyncio.create_task(self._replace())

        async def _launch(self) -> None:
            spec = json.dumps({"cls": self.worker_class, "opts": self.worker_kwargs})
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "spikestore.pipeline.local_cluster",
                self.scheduler,
                "--spec",
                spec,
                stdin=asyncio.subprocess.PIPE,  # the pipe that it watches; nothing is ever written to it
                stdout=asyncio.subprocess.DEVNULL,
                stderr=None if logger.isEnabledFor(logging.DEBUG) else asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **environment, **_FOR_LONG_TASKS},
            )

        async def _replace(self) -> None:
            # Dask gives up on a fragment whose workers died four times: this is for those that can't even start.
            for _ in range(_REPLACEMENTS):
                if self.process is None:
                    return
                await self.process.wait()
                await self._launch()

        async def close(self) -> None:
            if self._watch is not None:
                self._watch.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._watch
            await super().close()

    options = {
        "host": _HOST,
        "nthreads": 1,
        "memory_limit": parse_memory_limit("auto", 1, workers, logger=logger),
        "dashboard": False,
        "dashboard_address": f"{_HOST}:0",
    }
    worker = {"cls": Worker, "options": {"worker_class": "distributed.Worker", "worker_kwargs": options}}
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


def _main() -> None:
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()
    from distributed.cli.dask_spec import main

    main()


if __name__ == "__main__":
    _main()
