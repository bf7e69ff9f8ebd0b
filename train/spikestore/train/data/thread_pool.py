"""A thread pool that can be left while its threads still wait for a server.

The standard one is waited for at its end and at the interpreter's exit, for as long as a silent server likes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from typing import Any, ParamSpec, TypeVar

PATIENCE_S = 1.0
"""How long threads are waited for that are in the middle of something: many times what a read takes."""

_Result = TypeVar("_Result")
_Parameters = ParamSpec("_Parameters")
_Work = tuple[Future[Any], Callable[[], Any]]


class Threads(Executor):
    """Daemon threads that take calls in turn.

    Parameters
    ----------
    count : int
        Threads at most; each starts when there is work for it.
    name : str
        What their names begin with.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._unfinished: set[Future[Any]] = set()
        self._closed = False

    def submit(
        self, fn: Callable[_Parameters, _Result], /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> Future[_Result]:
        """Have a thread call ``fn(*args, **kwargs)``.

        Raises
        ------
        RuntimeError
            The pool is closed.
        """
        future: Future[_Result] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._unfinished.add(future)
            if len(self._threads) < min(self._count, len(self._unfinished)):
                number = len(self._threads)
                thread = threading.Thread(
                    target=_serve, args=(self._work,), name=f"{self._name}_{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        future.add_done_callback(self._finished)
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _finished(self, future: Future[Any]) -> None:
        with self._lock:
            self._unfinished.discard(future)

    def abandon(self) -> None:
        """End all waiting for results: what has not begun never does, what runs is cancelled for whoever waits for it."""
        with self._lock:
            self._closed = True
            left = [*self._unfinished]
        for future in left:
            if not future.cancel():
                with contextlib.suppress(InvalidStateError):  # it has just finished
                    future.set_exception(CancelledError())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; with `wait` give the threads a moment to end, and leave those that do not.

        What has not begun is cancelled in any case.
        """
        del cancel_futures
        self.abandon()
        for _ in self._threads:
            self._work.put(None)
        until = time.monotonic() + PATIENCE_S
        for thread in self._threads if wait else ():
            thread.join(max(until - time.monotonic(), 0))


def _serve(work: queue.SimpleQueue[_Work | None]) -> None:
    while (item := work.get()) is not None:
        future, call = item
        del item
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:  # raised where it is waited for
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, result)
                del result
        del future, call  # an idle thread holds nothing


def _settle(settle: Callable[[Any], None], outcome: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # nobody waits any more
        settle(outcome)
