"""The memory of spans is used again when nothing refers to it, and not before."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from spikestore.store import FeatureSet
from spikestore.store.trust.narrow_rows import Empty, NarrowRows
from spikestore.train import FeatureLoader
from spikestore.train.data.streaming.span_buffers import SpanBuffers

UINT16 = np.dtype(np.uint16)


def test_memory_is_used_again_after_the_last_view() -> None:
    """An array, a slice of it, or a slice of a slice keeps it; an array of another dtype may have it later."""
    buffers = SpanBuffers(10_000)
    array = buffers.empty(1000, UINT16)
    array[:] = 7
    assert (array.shape, array.dtype) == ((1000,), UINT16)
    address, view = array.ctypes.data, array[10:20][::2]
    del array
    gc.collect()
    assert buffers.empty(1000, UINT16).ctypes.data != address
    assert view.tolist() == [7] * 5
    del view
    assert address in {one.ctypes.data for one in _arrays(buffers, 2, 500)}


def test_the_smallest_memory_that_suffices_is_taken() -> None:
    """So a pass whose arrays have the sizes of the pass before needs no further memory, in any order."""
    buffers = SpanBuffers(10**6)
    sizes = [100, 900, 300, 700, 500]
    first = {array.ctypes.data for array in [buffers.empty(size, UINT16) for size in sizes]}
    for order in (sizes[::-1], sorted(sizes), sizes):
        assert {array.ctypes.data for array in [buffers.empty(size, UINT16) for size in order]} == first
    assert buffers.empty(0, UINT16).shape == (0,)


def test_unused_memory_is_limited() -> None:
    """What is in use counts: above the limit, memory that comes back is given to the system."""
    buffers = SpanBuffers(5000)
    held = [buffers.empty(1000, UINT16) for _ in range(4)]  # 8,000 bytes
    assert buffers._bytes == 8000
    del held[:2]
    held.append(buffers.empty(1000, UINT16))
    assert (buffers._bytes, buffers._free) == (6000, [])
    held.clear()
    held.append(buffers.empty(2000, UINT16))
    assert (buffers._bytes, len(buffers._free)) == (4000, 0)


def _arrays(buffers: SpanBuffers, number: int, count: int) -> list[np.ndarray]:
    return [buffers.empty(count, np.dtype(np.float32)) for _ in range(number)]


@pytest.mark.parametrize("window", [None, 64])
def test_epochs_of_a_stream_share_their_memory(features: FeatureSet, window: int | None) -> None:
    """Its loader also keeps it between epochs, and the batches are those of ``host``."""
    places: list[int] = []

    class Watched(FeatureSet):
        def read_narrow(
            self, start: int, stop: int, dtypes: tuple[Any, Any], empty: Empty | None = None
        ) -> NarrowRows:
            rows = super().read_narrow(start, stop, dtypes, empty)
            places.extend((rows.index.ctypes.data, rows.value.ctypes.data))
            return rows

    watched = Watched(features.storage, features.address, features.manifest)
    loader = FeatureLoader(watched, 16, "stream", shuffle=True, window=window, threads=2)
    epochs = [[*_frames(loader)] for _ in range(3)]
    count = len(places) // 3
    assert set(places[count:]) <= set(places[:count])
    truth = {row: frames for batch in FeatureLoader(features, 16, "host", pad_to=50) for row, frames in
             zip(batch.samples.tolist(), batch.frames.numpy().copy(), strict=True)}  # fmt: skip
    for epoch in epochs:
        assert sorted(row for row, _ in epoch) == sorted(truth)
        for row, frames in epoch:
            assert np.array_equal(frames, truth[row][: len(frames)])
            assert not truth[row][len(frames) :].any()


def _frames(loader: FeatureLoader) -> Iterator[tuple[int, np.ndarray]]:
    for batch in loader:
        yield from zip(batch.samples.tolist(), batch.frames.numpy().copy(), strict=True)
