"""The memory of spans is used again when nothing refers to it, and not before."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tests.train.conftest import learnable

from spikestore.store import FeatureSet
from spikestore.store.storage import FolderStorage
from spikestore.store.trust.narrow_rows import Empty, NarrowRows
from spikestore.train import FeatureLoader
from spikestore.train.data.streaming.span_buffers import SpanBuffers
from spikestore.train.data.streaming.streaming import Stream

UINT16 = np.dtype(np.uint16)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    """Return a set of 1500 rows in 8 fragments."""
    return learnable("train", 1500, 1).build(FolderStorage(tmp_path_factory.mktemp("many")), 192)


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


def test_the_smallest_part_that_suffices_is_taken() -> None:
    """So a large free part is still there when a large array needs it."""
    buffers = SpanBuffers(64 * 1024)
    large, wall, small, _wall = (buffers.empty(count, UINT16) for count in (960, 320, 640, 320))
    place_of_large, place_of_small = large.ctypes.data, small.ctypes.data
    del large, small
    taken = buffers.empty(480, UINT16)
    assert taken.ctypes.data == place_of_small
    assert buffers.empty(960, UINT16).ctypes.data == place_of_large
    assert wall.ctypes.data == place_of_large + 2 * 960
    assert buffers.empty(0, UINT16).shape == (0,)


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))])
def test_neighbouring_parts_become_one(order: tuple[int, ...]) -> None:
    """In whatever order arrays end, their memory then has space for one array of its whole size."""
    buffers = SpanBuffers(4096)
    arrays: list[np.ndarray | None] = [buffers.empty(512, UINT16) for _ in range(4)]
    first = min(array.ctypes.data for array in arrays if array is not None)
    for number in order:
        arrays[number] = None
    whole = buffers.empty(2048, UINT16)
    assert whole.ctypes.data == first
    assert first % 64 == 0


def test_what_does_not_fit_has_memory_of_its_own() -> None:
    """Such memory returns to the system, so no more than the limit is kept."""
    buffers = SpanBuffers(5000)
    held = [buffers.empty(1000, UINT16) for _ in range(2)]  # 2,048 bytes each, so 896 are left
    more = buffers.empty(1000, UINT16)
    more[:] = 3
    addresses = [array.ctypes.data for array in held]
    assert not min(addresses) <= more.ctypes.data < max(addresses) + 2048
    assert more.base is None
    del held
    assert buffers.empty(2000, UINT16).ctypes.data == min(addresses)
    assert more.tolist() == [3] * 1000


@pytest.mark.parametrize("most_bytes", [0, 63, 2**60])
def test_memory_that_cannot_be_reserved_is_done_without(most_bytes: int) -> None:
    """No memory, or more than the system can give: each array has its own."""
    buffers = SpanBuffers(most_bytes)
    arrays = [buffers.empty(1000, UINT16) for _ in range(3)]
    assert all(array.base is None and array.shape == (1000,) for array in arrays)


def test_arrays_never_overlap() -> None:
    """Arrays of many sizes come and go, and each one keeps what was written into it."""
    rng = np.random.default_rng(5)
    buffers = SpanBuffers(100_000)
    held: list[tuple[np.ndarray, int]] = []
    for number in range(2000):
        if held and rng.random() < 0.5:
            array, written = held.pop(int(rng.integers(len(held))))
            assert (array == written).all()
        array = buffers.empty(int(rng.integers(1, 5000)), UINT16)
        array[:] = number
        held.append((array, number))
    assert all((array == written).all() for array, written in held)


def _arrays(buffers: SpanBuffers, number: int, count: int) -> list[np.ndarray]:
    return [buffers.empty(count, np.dtype(np.float32)) for _ in range(number)]


@pytest.mark.parametrize("window", [64, 256])
def test_no_span_outlives_its_last_batch(many: FeatureSet, window: int) -> None:
    """A span ends when its last batch has been taken, also if it was in memory together with spans that later batches need."""
    spans: list[tuple[int, int, weakref.ref[np.ndarray]]] = []

    class Watched(FeatureSet):
        def read_narrow(
            self, start: int, stop: int, dtypes: tuple[Any, Any], empty: Empty | None = None
        ) -> NarrowRows:
            rows = super().read_narrow(start, stop, dtypes, empty)
            spans.append((start, stop, weakref.ref(rows.index)))
            return rows

    watched = Watched(many.storage, many.address, many.manifest)
    loader = FeatureLoader(watched, 16, "stream", shuffle=True, window=window, threads=1)
    batches = [batch.samples.numpy().copy() for batch in loader]
    last = {int(row): number for number, rows in enumerate(batches) for row in rows}
    spans.clear()
    loader.set_epoch(0)
    for number, _ in enumerate(loader):
        alive = [(start, stop) for start, stop, index in [*spans] if index() is not None]
        assert alive or number == len(batches) - 1
        for start, stop in alive:
            assert max(last.get(row, -1) for row in range(start, stop)) >= number
    assert not [start for start, _, index in spans if index() is not None]


def test_places_of_dropped_spans_are_used_again(many: FeatureSet) -> None:
    """So the table of addresses, like the memory, does not grow with the set."""
    loader = FeatureLoader(many, 16, "stream", shuffle=True, window=64)
    with ThreadPoolExecutor(1) as pool:
        batches: Any = loader._source.batches(loader._order, 0, 0, 16, pool)
        assert sum(len(batch) for batch in batches) == loader.samples
        batches = loader._source.batches(loader._order, 0, 0, 16, pool)
        for _ in itertools.islice(batches, len(loader) - 1):
            pass
        assert batches.gi_frame.f_locals["held"]._where.shape == (6, 8 * 64)


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
    source = loader._source
    assert isinstance(source, Stream)
    memory = source._buffers._memory
    assert memory is not None
    assert len(memory) <= source.nbytes
    inside = [memory.ctypes.data <= place < memory.ctypes.data + len(memory) for place in places]
    assert all(inside) if window is None else any(inside)
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
