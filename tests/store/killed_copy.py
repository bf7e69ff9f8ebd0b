"""Copies a set and is killed after some puts: ``python -m tests.store.killed_copy SOURCE DESTINATION NAME PUTS``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from tests.store.watched_storage import WatchedStorage

from spikestore.store import Store

Result = TypeVar("Result")


class Killed:
    """A watch that ends the process when this number of puts have begun."""

    def __init__(self, puts: int) -> None:
        self._left = puts
        self._lock = threading.Lock()

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Perform the operation, or end the process."""
        if verb == "put":
            with self._lock:
                self._left -= 1
                if self._left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        return effect()


def main(source: str, destination: str, name: str, puts: int) -> None:
    """Copy the set."""
    there = Store(WatchedStorage(Store(destination).storage, Killed(puts)))
    Store(source).push(name, there)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
