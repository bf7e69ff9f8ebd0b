"""Calls that an interrupt can leave: compiled code that waits for a server does not look for signals.

obstore waits up to half a minute for a server that is silent, and again at each retry; Python hears of Ctrl-C afterwards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def interruptible(call: Callable[[], Result]) -> Result:
    """Return ``call()``; in the main thread, which alone gets interrupts, in such a way that one ends the wait at once.

    The call itself goes on in a daemon thread until the server or its own time limit ends it, and nobody waits for that.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # raised in the thread that asked
            done.set_exception(error)

    threading.Thread(target=run, name="spikestore-storage", daemon=True).start()
    return done.result()
