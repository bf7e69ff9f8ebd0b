"""Background work: parallel calls in order, prefetching, interruptible waits.

The threads of `interruptible`, `Prefetcher` and `DaemonThreads` are daemons: if one waits for a slow disk or an unresponsive server, it
does not keep the process alive. The threads of `in_order` keep the process alive.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError, ThreadPoolExecutor
from typing import Any, Generic, Literal, ParamSpec, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Parameters = ParamSpec("_Parameters")
_Work = tuple[Future[Any], Callable[[], Any]]

PATIENCE_S = 1.0
"""Seconds that `DaemonThreads` waits for busy threads when it ends; a read takes far less."""

_AHEAD = 4
"""Number of items per thread that are submitted before the first result is taken; a limit is needed, because there may be any number of items."""


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int = 8,
    stop: Callable[[], object] = lambda: None,
) -> Iterator[Result]:
    """Yield the result of `work` for each item, in order; several threads work in parallel.

    The function ends early if a call fails, if the user presses Ctrl-C, or if the caller stops taking results. Then no further
    call begins, `stop` is called, and the function waits for the running calls.
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
    """Wait for each task, in the order of `tasks`. If a task failed, raise its error, and do not wait for the tasks after it."""
    for task in [*tasks]:
        task.result()


def interruptible(call: Callable[[], Result]) -> Result:
    """Return ``call()``; in the main thread, an interrupt (Ctrl-C) ends the wait at once.

    obstore waits half a minute for an unresponsive server, and retries. It does not check for signals while it waits, because
    it is compiled. So if the main thread calls this function, `call` runs in a daemon thread. After an interrupt, `call`
    continues in that thread until it ends by itself.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # raised in the calling thread
            done.set_exception(error)

    threading.Thread(target=run, name="spikestore-storage", daemon=True).start()
    return done.result()


class ByteBudget:
    """Limit of the bytes that several threads hold together.

    A request for more bytes than the limit waits until no thread holds any bytes, and then succeeds.

    Parameters
    ----------
    size : int
        The limit, in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are available or no bytes are held; then hold `size` bytes until the ``with`` block ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + size <= self._size)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


class Prefetcher(Generic[Item]):
    """Iterator that computes up to `depth` items ahead in a thread.

    The thread ends when the items end, at `close`, when the iterator is garbage-collected, and at the interpreter's exit. After
    `close`, ``next`` raises `ValueError`, so that no loop ends early in silence. In a forked process, `close` does nothing,
    because the thread exists only in the original process.

    Parameters
    ----------
    items : generator
        Runs in the thread and is closed in this thread.
    depth : int
        Number of items that are ready or in progress; at least 1.
    abandon : callable, optional
        Called when the thread must end early. This function must end any wait of the generator, for example for a disk. Without
        this argument, the interpreter's exit does not wait for the thread.
    errors : {"in order", "first"}
        With ``in order``, an error of the generator is raised after all items that precede it. With ``first``, the error is
        raised at the next call of ``next``.
    """

    def __init__(
        self,
        items: Iterator[Item],
        depth: int,
        abandon: Callable[[], object] | None = None,
        *,
        errors: Literal["in order", "first"] = "in order",
    ) -> None:
        self._channel: _Channel[Item] = _Channel(depth, errors_first=errors == "first")
        # The thread refers to the channel, not to this object, so that this object can be garbage-collected.
        self._thread = threading.Thread(
            target=_make, args=(items, self._channel), name="spikestore-prefetch", daemon=True
        )
        self._end = weakref.finalize(self, _stop, self._channel, self._thread, abandon, os.getpid())
        self._end.atexit = abandon is not None  # otherwise a slow disk would delay the exit of the process
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        return self._channel.take()

    def close(self) -> None:
        """End the thread and wait for it."""
        self._end()


class _Channel(Generic[Item]):
    def __init__(self, depth: int, *, errors_first: bool) -> None:
        self._depth = depth
        self._errors_first = errors_first
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False
        self._stopped = False

    def put(self, item: Item) -> bool:
        """Add an item at once; then wait until this channel has fewer than `depth` items. Return False if the iterator was closed, else True."""
        with self._changed:
            self._items.append(item)
            del item  # its memory may be reused during the wait
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._depth)
            return not self._stopped

    def take(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._error or self._ended or self._stopped)
            if self._stopped:
                raise ValueError("this iterator was closed")
            if self._error is not None and (self._errors_first or not self._items):
                error, self._error, self._ended = self._error, None, True
                self._items.clear()
                raise error
            if not self._items:
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
            # No variable refers to the item, so that its memory can be reused.
            if not channel.put(next(items)):
                break
    except StopIteration:
        pass
    except BaseException as caught:  # raised by `take`
        error = caught
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
        channel.end(error)


def _stop(
    channel: _Channel[Item], thread: threading.Thread, abandon: Callable[[], object] | None, process: int
) -> None:
    if os.getpid() != process:  # after a fork, the thread is not here, and its locks may be held for ever
        return
    channel.stop()
    if abandon is not None:
        abandon()
    if thread is not threading.current_thread():
        thread.join()


class DaemonThreads(Executor):
    """Thread pool that can be shut down while its threads still wait for an unresponsive server.

    Python's own pool waits for its threads at its shutdown and at the interpreter's exit, however long a server takes.

    Parameters
    ----------
    count : int
        Maximum number of threads; each starts when there is work for it.
    name : str
        Beginning of the threads' names.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        # Reentrant: a garbage collection in `submit` may end the pass of this pool, and calls `abandon`.
        self._lock = threading.RLock()
        self._unfinished: set[Future[Any]] = set()
        self._closed = False
        self._process = os.getpid()

    def submit(
        self, fn: Callable[_Parameters, Result], /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> Future[Result]:
        """Call ``fn(*args, **kwargs)`` in a thread and return the future.

        Raises
        ------
        RuntimeError
            The pool is closed.
        """
        future: Future[Result] = Future()
        with self._lock:
            # First, so that `abandon` cancels it even if it is called in the middle of this block.
            self._unfinished.add(future)
            if self._closed:
                self._unfinished.discard(future)
                raise RuntimeError("the pool is closed")
            if len(self._threads) < min(self._count, len(self._unfinished)):
                number = len(self._threads)
                thread = threading.Thread(
                    target=_serve, args=(self._work,), name=f"{self._name}_{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        # Without the lock, which a thread may hold while it ends the pool and waits for the others; `discard` is atomic.
        future.add_done_callback(self._unfinished.discard)
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def abandon(self) -> None:
        """Accept no more calls, and cancel all unfinished futures; calls that have not begun never run."""
        with self._lock:
            self._closed = True
            left = [*self._unfinished]
        for future in left:
            if not future.cancel():
                with contextlib.suppress(InvalidStateError):  # finished meanwhile
                    future.set_exception(CancelledError())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and cancel all unfinished futures, as `abandon` does; `cancel_futures` has no effect.

        If `wait` is true, wait up to `PATIENCE_S` for the threads of this executor, except for the thread that calls
        `shutdown`. In a forked process, this method does nothing, because the threads exist only in the original process.
        """
        del cancel_futures
        if os.getpid() != self._process:  # the lock may be held for ever
            return
        self.abandon()
        for _ in self._threads:
            self._work.put(None)
        until = time.monotonic() + PATIENCE_S
        for thread in self._threads if wait else ():
            # A garbage collection may call this in one of the threads, or in `submit` before its thread has started.
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(until - time.monotonic(), 0))


def _serve(work: queue.SimpleQueue[_Work | None]) -> None:
    while (item := work.get()) is not None:
        future, call = item
        del item
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:  # raised by the future's `result`
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, result)
                del result
        del future, call  # an idle thread keeps no references


def _settle(settle: Callable[[Any], None], outcome: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # the future was cancelled
        settle(outcome)
