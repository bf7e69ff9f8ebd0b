"""Work on a batch is done by whoever has time: threads of the pool, or those that wait for it."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from spikestore.store import FeatureSet
from spikestore.store.concurrency import DaemonThreads, Prefetcher
from spikestore.train import FeatureLoader
from spikestore.train.data.frames import frame_kernels, sample_pointers
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.frames.sample_pointers import SamplePointers


@pytest.mark.parametrize(("threads", "parts"), [(0, 1), (0, 3), (1, 2), (3, 3), (2, 8)])
def test_each_sample_is_in_one_part(threads: int, parts: int) -> None:
    """Whatever the number of threads; the result may be asked for again."""
    counts = np.zeros(7, np.int64)

    def part(first: int, last: int) -> int:
        counts[first:last] += 1
        return last

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        work = ParallelFor(pool if threads else None, parts).begin(part, len(counts))
        assert [work.largest(), work.largest()] == [7, 7]
        assert ParallelFor(pool, parts).begin(part, 0).largest() == -1
    assert counts.tolist() == [1] * 7


def test_nobody_waits_for_a_busy_pool() -> None:
    """Its threads may read for long: whoever needs the result does all parts."""
    begun, go_on = threading.Event(), threading.Event()
    done_by = set()

    def part(_first: int, _last: int) -> int:
        done_by.add(threading.current_thread())
        return 0

    def busy() -> None:
        begun.set()
        go_on.wait()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(busy)
        begun.wait()
        work = ParallelFor(pool, 2).begin(part, 10)
        assert work.largest() == 0
        assert done_by == {threading.current_thread()}
        go_on.set()


@pytest.mark.parametrize(("parts", "samples"), [(1, 5), (4, 1)])
def test_one_part_is_done_in_the_background_too(parts: int, samples: int) -> None:
    """With one thread, or a batch of one sample, the work does not wait until somebody takes the batch."""
    done = threading.Event()

    def part(_first: int, last: int) -> int:
        done.set()
        return last

    with ThreadPoolExecutor(1) as pool:
        work = ParallelFor(pool, parts).begin(part, samples)
        assert done.wait(30)
        assert work.largest() == samples


def test_an_error_of_any_part_is_raised() -> None:
    """The other parts are done nevertheless: they may be in memory that the caller reuses."""
    done = []

    def part(first: int, last: int) -> int:
        if first == 0:
            raise ZeroDivisionError
        done.append((first, last))
        return 1

    with ThreadPoolExecutor(2) as pool:
        work = ParallelFor(pool, 3).begin(part, 3)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                work.largest()
    assert sorted(done) == [(1, 2), (2, 3)]


def test_an_interrupt_takes_precedence_over_an_error_of_a_part() -> None:
    """Whoever handles the error, for example by taking another batch, must not lose Ctrl-C."""
    here, begun = threading.current_thread(), threading.Event()

    def part(_first: int, _last: int) -> int:
        if threading.current_thread() is not here:
            begun.wait()
            raise ZeroDivisionError
        begun.set()
        after_the_error.result(30)
        signal.raise_signal(signal.SIGINT)
        return 0

    with ThreadPoolExecutor(1) as pool:
        work = ParallelFor(pool, 2).begin(part, 2)
        after_the_error = pool.submit(int)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                work.largest()


def test_an_interrupt_while_a_part_is_taken_is_raised_at_the_end() -> None:
    """Otherwise a second call would return the number of the other parts, though the samples of this part are not filled."""

    class Ranges(deque[tuple[int, int]]):
        def popleft(self) -> tuple[int, int]:
            taken = super().popleft()
            if taken == (0, 1):
                raise KeyboardInterrupt
            return taken

    done: list[int] = []

    def part(first: int, _last: int) -> int:
        done.append(first)
        return first

    work = ParallelFor(None, 3).begin(part, 3)
    work._ranges = Ranges(work._ranges)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            work.largest()
    assert done == [1, 2]


def test_finished_work_holds_no_memory() -> None:
    """A thread that comes late to help finds nothing, also no reference to the batch."""

    class Frames:
        pass

    frames = Frames()
    gone = weakref.ref(frames)

    def part(_first: int, _last: int, frames: Frames = frames) -> int:
        return int(frames is None)

    work = ParallelFor(None, 2).begin(part, 4)
    work.largest()
    del part, frames
    gc.collect()
    assert gone() is None
    assert work.largest() == 0


def test_work_keeps_the_memory_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a batch is dropped while a helper fills it, its columns stay until the helper is done."""
    begun, go_on = threading.Event(), threading.Event()
    index, value = np.arange(4, dtype=np.uint16), np.ones(4, np.uint8)
    zeros, owner = np.zeros(2, np.int64), np.zeros(1)
    gone = weakref.ref(owner)
    samples = SamplePointers(
        index_at=index.ctypes.data + zeros,
        value_at=value.ctypes.data + zeros,
        counts=zeros + 4,
        lengths=zeros + 4,
        labels=zeros,
        samples=zeros,
        room=zeros + 4,
        like=(index[:0].copy(), value[:0].copy()),
        sites=(1,),
        owners=(owner,),
    )

    def slow(*_arguments: Any) -> int:
        begun.set()
        go_on.wait()
        return -1

    monkeypatch.setattr(sample_pointers, "fill_frames", slow)
    with ThreadPoolExecutor(1) as pool:
        filled = samples.begin_fill(np.empty((2, 4), np.float32), ParallelFor(pool, 2))
        assert begun.wait(30)
        del filled, samples, owner
        gc.collect()
        kept = gone() is not None
        go_on.set()
    assert kept
    gc.collect()
    assert gone() is None


def test_the_end_of_a_pool_ends_the_wait() -> None:
    """As when an iterator is garbage-collected in a thread of the pool, which then waits for the thread that waits for it."""
    begun, go_on = threading.Event(), threading.Event()

    here = threading.current_thread()

    def part(_first: int, _last: int) -> int:
        if threading.current_thread() is here:
            begun.wait()
            pool.abandon()
        else:
            begun.set()
            go_on.wait()
        return 0

    pool = DaemonThreads(1, "abandoned")
    work = ParallelFor(pool, 2).begin(part, 2)
    with pytest.raises(CancelledError):
        work.largest()
    go_on.set()
    pool.shutdown()


def test_whoever_takes_a_batch_helps(features: FeatureSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """While all threads of the pool are busy, the next batches only begin, and taking one does its work."""
    loader = FeatureLoader(features, 16, "host", threads=2)
    truth = [(batch.samples.tolist(), batch.frames.numpy().copy()) for batch in loader]
    done_by, fill_frames = set(), frame_kernels.fill_frames

    def watched(*arguments: Any) -> int:
        done_by.add(threading.current_thread())
        return int(fill_frames(*arguments))

    monkeypatch.setattr(sample_pointers, "fill_frames", watched)
    go_on = threading.Event()
    pool = DaemonThreads(2, "busy")
    for _ in range(2):
        pool.submit(go_on.wait)
    batches = Prefetcher(loader._make(loader._order, 0, 0, pool), 2, pool.abandon)
    with pool, closing(batches):
        for number, (rows, frames) in enumerate(truth):
            batch = next(batches).taken()
            assert batch.samples.tolist() == rows
            assert np.array_equal(batch.frames.numpy(), frames)
            if number == len(truth) // 2:
                assert done_by == {threading.current_thread()}
                go_on.set()
        assert next(batches, None) is None
