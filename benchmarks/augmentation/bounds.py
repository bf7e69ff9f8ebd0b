"""Upper bound of the throughput of augmentations that mix two samples: a compiled loop that only reads two samples and writes half of each."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray, njit  # type: ignore[attr-defined]

from benchmarks.augmentation.throughput import BATCH, SAMPLES, Bench, Shape
from benchmarks.form import Row, compare
from spikestore.train.data.frames.frame_kernels import pointer_to

_Int64s = npt.NDArray[np.int64]


@njit(nogil=True)
def _fill_halves(
    index_at: _Int64s,
    value_at: _Int64s,
    counts: _Int64s,
    index_like: npt.NDArray[Any],
    value_like: npt.NDArray[Any],
    frames: npt.NDArray[np.float32],
    first: int,
    last: int,
) -> int:
    """Write frames from every second non-zero of a sample and every second non-zero of the next sample.

    There are no random numbers and no checks, so the result is always -1: no fault.
    """
    for sample in range(first, last):
        row = frames[sample]
        for place in range(len(row)):
            row[place] = 0.0
        for start, source in enumerate((sample, (sample + 1) % len(counts))):
            index = carray(pointer_to(index_at[source], index_like), counts[source])
            value = carray(pointer_to(value_at[source], value_like), counts[source])
            for k in range(start, len(index), 2):
                row[np.uint64(index[k])] += np.float32(value[k])
    return -1


def mixture_bound(name: str, shape: Shape) -> Row:
    """Compare the throughput of `_fill_halves`, on columns in memory, with that of a loader without augmentation."""
    from spikestore.store.concurrency import DaemonThreads
    from spikestore.train.data.frames.frame_buffers import FrameBuffers
    from spikestore.train.data.frames.parallel_for import ParallelFor
    from spikestore.train.data.frames.sample_pointers import host_pointers

    bench, buffers = Bench(shape), FrameBuffers()
    order = np.random.default_rng(1).permutation(SAMPLES)

    def ours() -> float:
        with DaemonThreads(bench.threads, "benchmark") as pool:
            parallel = ParallelFor(pool, bench.threads)

            def make(first: int) -> None:
                pointers = host_pointers(bench.columns, order[first : first + BATCH])
                frames = buffers.take(BATCH * shape.bins * int(np.prod(shape.sites))).reshape(BATCH, -1)
                own = (pointers.index_at, pointers.value_at, pointers.counts, *pointers.like, frames)
                parallel.begin(lambda first, last: _fill_halves(*own, first, last), BATCH).largest()

            make(0)  # compiles
            began = time.perf_counter()
            for first in range(0, SAMPLES, BATCH):
                make(first)
            return SAMPLES / (time.perf_counter() - began)

    return compare(Row(name), ours, lambda: bench.throughput([]), unit="samples/s")
