"""Background work: results in order, limited memory, errors at the right place, and no remaining threads."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, Literal

import pytest

from spikestore.store.concurrency import ByteBudget, DaemonThreads, Prefetcher, in_order


def test_results_come_in_order() -> None:
    """Results have the order of the items, whichever is done first."""
    turn = threading.Barrier(4)

    def work(number: int) -> int:
        turn.wait(60)  # four at the same time, or the test hangs
        return number * number

    assert [*in_order(work, range(8), threads=4)] == [number * number for number in range(8)]
    assert [*in_order(str, ())] == []


def test_items_are_asked_for_as_they_are_needed() -> None:
    """The number of items is unlimited; a consumer that stops early leaves the rest."""
    asked = itertools.count()
    results = in_order(lambda number: number, asked, threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert next(asked) < 20


def test_an_error_ends_it() -> None:
    """The error is raised before work in progress ends, and no new work begins."""
    begun: list[int] = []
    over = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        assert over.wait(60)

    with pytest.raises(ValueError, match="one"):
        # The second item fails while the first one waits for `stop`, which is set only if the caller does not wait for the first.
        for _ in in_order(work, [1, 2, 3, 4, 5, 6], threads=2, stop=over.set):
            pass
    assert len(begun) <= 3


def test_the_budget_is_shared() -> None:
    """Small items run together, one that is larger than the budget runs alone, and the budget is returned after an error."""
    budget = ByteBudget(10)
    with budget.held(4), budget.held(6):
        waiting = threading.Thread(target=lambda: _hold(budget, 1), daemon=True)
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
    waiting.join(60)
    assert not waiting.is_alive()
    with pytest.raises(ValueError, match="held"), budget.held(1000):
        raise ValueError("held")
    with budget.held(10):
        pass


def _hold(budget: ByteBudget, size: int) -> None:
    with budget.held(size):
        pass


def test_threads_are_left_in_the_middle_of_something() -> None:
    """A caller that waits for a hanging call gets an error, calls that have not begun never begin, and no wait is long."""
    silence, begun = threading.Event(), threading.Event()
    called: list[int] = []

    def hang() -> None:
        begun.set()
        silence.wait()

    pool = DaemonThreads(1, "spikestore-test")
    hanging, next_one = pool.submit(hang), pool.submit(called.append, 1)
    told: Future[bool] = Future()
    waiter = threading.Thread(target=lambda: told.set_result(isinstance(hanging.exception(), CancelledError)))
    waiter.start()
    assert begun.wait(60)
    pool.abandon()
    assert told.result(60)
    assert next_one.cancelled()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(hang)
    (thread,) = [one for one in threading.enumerate() if one.name.startswith("spikestore-test")]
    assert thread.daemon
    silence.set()
    thread.join(60)
    assert not thread.is_alive()
    assert called == []
    waiter.join(60)


def test_a_pool_can_be_abandoned_while_it_gets_work() -> None:
    """A garbage collection may end a pass in any allocation, also within `submit`, which holds the pool's lock."""
    pool, ended = DaemonThreads(1, "spikestore-test"), threading.Event()

    def abandon_in_submit() -> None:
        with pool._lock:
            pool.abandon()
        ended.set()

    threading.Thread(target=abandon_in_submit, daemon=True).start()
    assert ended.wait(10)


def test_a_pool_that_ends_while_it_gets_work_rejects_it() -> None:
    """Nobody waits for ever for work that came while a garbage collection within `submit` ended the pool."""
    pool = DaemonThreads(1, "spikestore-test")

    class Ending(set[Future[Any]]):
        def add(self, future: Future[Any]) -> None:
            pool.shutdown()
            super().add(future)

    assert pool.submit(pow, 2, 3).result(60) == 8  # its thread ends at the shutdown
    pool._unfinished = Ending()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(pow, 2, 3)
    assert pool._unfinished == set()


def test_a_pool_that_ends_while_it_starts_a_thread_cancels_the_work() -> None:
    """A garbage collection may end the pool after the thread was added and before it has started."""
    pool = DaemonThreads(1, "spikestore-test")

    class Ending(list[threading.Thread]):
        def append(self, thread: threading.Thread) -> None:
            super().append(thread)
            pool.shutdown()

    pool._threads = Ending()
    assert pool.submit(pow, 2, 3).cancelled()
    pool._threads[0].join(60)  # it ends at the shutdown
    assert not pool._threads[0].is_alive()


def test_a_pool_can_end_in_one_of_its_threads() -> None:
    """A garbage collection in a thread of a pool may end the pass of this pool, and no thread can wait for itself."""
    pool, ended = DaemonThreads(2, "spikestore-test"), Future[None]()

    def end() -> None:
        try:
            pool.shutdown()
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    pool.submit(end)
    ended.result(60)


def test_a_pool_that_ends_while_it_gets_work_waits_for_no_lock() -> None:
    """Threads that finish need no lock, which the thread that ends the pool within `submit` holds."""
    pool, go_on = DaemonThreads(1, "spikestore-test"), threading.Event()
    future = pool.submit(go_on.wait)
    (thread,) = pool._threads
    with pool._lock:
        go_on.set()
        assert future.result(60)
        pool.shutdown()
        assert not thread.is_alive()


def test_threads_do_their_work() -> None:
    """Calls run in turn, in at most the requested number of threads, and no more than there are calls; errors are raised to the caller."""
    with DaemonThreads(3, "spikestore-test") as pool:
        assert [future.result() for future in [pool.submit(pow, 2, k) for k in range(50)]] == [
            2**k for k in range(50)
        ]
        assert 1 <= sum(one.name.startswith("spikestore-test") for one in threading.enumerate()) <= 3
        with pytest.raises(ZeroDivisionError):
            pool.submit(divmod, 1, 0).result()
    assert not [one for one in threading.enumerate() if one.name.startswith("spikestore-test")]


def prefetching() -> list[str]:
    """Return the names of threads that prepare items."""
    return [one.name for one in threading.enumerate() if one.name == "spikestore-prefetch"]


@pytest.mark.parametrize("depth", [1, 2, 9])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_items_come_in_order_and_end(count: int, depth: int) -> None:
    """All items come once, in order, from one other thread; then the iterator has ended for good."""
    makers: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(count):
            makers.add(threading.get_ident())
            yield number

    ahead = Prefetcher(items(), depth)
    assert list(ahead) == list(range(count))
    assert list(ahead) == []
    ahead.close()
    assert prefetching() == []
    assert threading.get_ident() not in makers
    assert len(makers) <= 1


class Gate:
    """An iterator whose items wait for permission."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self._allowed = threading.Semaphore(0)
        self._changed = threading.Condition()

    def items(self) -> Iterator[int]:
        """Yield 0, 1, 2 …, each when it is allowed."""
        for number in itertools.count():
            with self._changed:
                self.begun.append(number)
                self._changed.notify_all()
            self._allowed.acquire()
            yield number

    def allow(self, count: int = 1) -> None:
        """Give permission for a number of items."""
        self._allowed.release(count)

    def has_begun(self, count: int) -> bool:
        """Wait until this many items are ready or in progress."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.begun) >= count, 60)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_more_than_depth_are_made_ahead(depth: int) -> None:
    """Counted are items that are ready or in progress: the thread waits for its consumer."""
    gate = Gate()
    ahead = Prefetcher(gate.items(), depth)
    gate.allow(100)
    for taken in range(5):
        assert gate.has_begun(depth + taken)
        ahead._thread.join(0.05)
        assert len(gate.begun) == depth + taken
        assert next(ahead) == taken
    ahead.close()


def fails_at_two() -> Iterator[int]:
    yield 0
    yield 1
    try:
        raise OSError("the disk is gone")
    except OSError as error:
        raise ValueError("can't read") from error


@pytest.mark.parametrize(("errors", "before"), [("in order", [0, 1]), ("first", [])])
def test_an_error_comes_where_it_was_asked_for(
    errors: Literal["in order", "first"], before: list[int]
) -> None:
    """The error comes after the items before it, or after those that are ready, with its cause; then the iterator has ended."""
    ahead = Prefetcher(fails_at_two(), 5, errors=errors)
    ahead._thread.join(60)
    assert [next(ahead) for _ in before] == before
    with pytest.raises(ValueError, match="can't read") as caught:
        next(ahead)
    assert isinstance(caught.value.__cause__, OSError)
    assert "fails_at_two" in [entry.name for entry in caught.traceback]
    assert list(ahead) == []
    ahead.close()


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), SystemExit()])
def test_errors_of_every_kind_reach_the_consumer(error: BaseException) -> None:
    """No error ends the thread silently."""

    def fail() -> int:
        raise error

    with pytest.raises(type(error)) as caught:
        next(Prefetcher((fail() for _ in range(1)), 1))
    assert caught.value is error


def test_a_closed_one_gives_no_more() -> None:
    """Closing waits for the item in progress, drops it, and ends no loop silently."""
    gate = Gate()
    ahead = Prefetcher(gate.items(), 2)
    assert gate.has_begun(1)
    closing = threading.Thread(target=ahead.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    gate.allow()
    closing.join(60)
    assert gate.begun == [0]
    with pytest.raises(ValueError, match="was closed"):
        next(ahead)
    assert prefetching() == []


def test_one_that_nobody_holds_ends() -> None:
    """It also ends if the loop over it ends early."""
    for _ in Prefetcher(itertools.count(), 2):
        break
    gc.collect()
    assert prefetching() == []


@pytest.mark.parametrize("wait", ["pass", "threading.Event().wait()"])
def test_a_process_ends_with_iterators_alive(wait: str) -> None:
    """An iterator in a global variable, even one that waits for a silent disk, does not prevent the interpreter's exit."""
    script = f"""
import threading
from spikestore.store.concurrency import Prefetcher
def items():
    yield 0
    {wait}
    yield 1
ahead = Prefetcher(items(), 2)
print(next(ahead))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
