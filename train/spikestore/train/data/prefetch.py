"""The next items are made in a thread while the last one is used."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetcher(Generic[Item]):
    """An iterator whose items are made ahead in a thread of its own, `depth` of them at most.

    An error while making an item is raised at the next one that is asked for, before items that are ready. The
    thread ends when the items end, at `close`, when nobody holds the iterator, and at the interpreter's exit.

    Parameters
    ----------
    items : generator
        Runs in the thread; closed there.
    depth : int
        Items that may be ready.
    abandon : callable, optional
        Ends whatever the generator waits for; called when the thread is to end early.
    """

    def __init__(
        self, items: Iterator[Item], depth: int, abandon: Callable[[], object] = lambda: None
    ) -> None:
        self._channel: _Channel[Item] = _Channel(depth)
        # The thread knows the channel and not this object, whose end can so be noticed.
        self._thread = threading.Thread(
            target=_make, args=(items, self._channel), name="spikestore-ahead", daemon=True
        )
        self._end = weakref.finalize(self, _stop, self._channel, self._thread, abandon)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        return self._channel.take()

    def close(self) -> None:
        """End the thread and wait for it."""
        self._end()


class _Channel(Generic[Item]):
    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False

    def put(self, item: Item) -> bool:
        """Hand an item over when there is room; tell whether more are wanted."""
        with self._changed:
            self._items.append(item)
            del item  # its memory may be wanted again while this waits
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._depth)
            return not self._stopped

    def take(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._error or self._ended or self._stopped)
            if self._error is not None:
                error, self._error, self._ended = self._error, None, True
                self._items.clear()
                raise error
            if not self._items or self._stopped:
                raise StopIteration
            self._changed.notify_all()
            return self._items.popleft()

    def end(self, error: BaseException | None = None) -> None:
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()


def _make(items: Iterator[Item], channel: _Channel[Item]) -> None:
    error = None
    try:
        while True:
            # No name holds an item that was handed over: its memory may be wanted again.
            if not channel.put(next(items)):
                break
    except StopIteration:
        pass
    except BaseException as caught:  # raised where it can be handled
        error = caught
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
        channel.end(error)


def _stop(channel: _Channel[Item], thread: threading.Thread, abandon: Callable[[], object]) -> None:
    channel.stop()
    abandon()
    if thread is not threading.current_thread():
        thread.join()
