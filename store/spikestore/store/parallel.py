"""Threads for work that waits: for storage, or for code that frees the GIL."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


_AHEAD = 4
"""Items per thread that are handed out before their results are taken: any number of items may come."""


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int = 8,
    stop: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """Yield the result of `work` for each item, in order, some of them worked on at once.

    After an error, Ctrl-C, or when the caller stops taking results, nothing new begins; what is under way is told by
    `stop`, and waited for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="spikestore")
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:
        stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def wait_for(tasks: Iterable[Future[None]]) -> None:
    """Wait for tasks that are under way together; raise what the first of them raised that failed."""
    for task in [*tasks]:
        task.result()


class ByteBudget:
    """Lets threads hold so many bytes together. Who asks for more than all of them gets them alone.

    Parameters
    ----------
    size : int
        Bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Wait until there is room for `size` bytes, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + size <= self._size)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()
