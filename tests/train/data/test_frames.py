"""Dense batches on the CPU: compiled loops, and memory that is reused only after the last reference is gone."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import DamagedError
from spikestore.train import FeatureLoader, PackedColumns, pack
from spikestore.train.data.device_samples import TensorColumns
from spikestore.train.data.frames.frame_buffers import FrameBuffers
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.frames.sample_pointers import host_pointers

pytestmark = pytest.mark.bits

ALONE = ParallelFor(None, 1)


@pytest.fixture(scope="module")
def packed(features: FeatureSet) -> PackedColumns:
    """Return the train split in memory."""
    return pack(features)


@settings(max_examples=examples(50))
@given(
    positions=st.lists(st.integers(0, 148), min_size=1, max_size=20),
    parts=st.integers(1, 5),
    dtypes=st.sampled_from([(np.uint16, np.uint8), (np.uint32, np.uint32), (np.int64, np.float32)]),
)
def test_equals_torch_bit_for_bit(
    packed: PackedColumns, positions: list[int], parts: int, dtypes: tuple[type, type]
) -> None:
    """For any dtypes and number of threads, frames equal those of torch's own operations, whatever the memory contained before."""
    narrow: dict[str, np.ndarray] = {
        "index": packed.index.astype(dtypes[0]),
        "value": packed.value.astype(dtypes[1]),
    }
    wide = PackedColumns(**{**vars(packed), **narrow})
    truth = TensorColumns(wide).gather(torch.tensor(positions))
    pieces = host_pointers(wide, np.array(positions))
    frames = np.full((len(positions), truth.bins() * packed.site_count), np.nan, np.float32)
    with ThreadPoolExecutor(parts) as pool:
        parallel = ParallelFor(pool, parts)
        pieces.fill(frames, parallel)
        side_by_side = pieces.packed(parallel)
    assert np.array_equal(frames, truth.dense().numpy().reshape(frames.shape))
    assert torch.equal(side_by_side.dense(), truth.dense())
    for name in ("index", "value", "offsets", "lengths", "labels", "samples"):
        assert torch.equal(getattr(side_by_side, name), getattr(truth, name))
    assert side_by_side.longest == truth.longest == int(truth.lengths.max())


def test_large_counts_are_rounded_as_torch_does(packed: PackedColumns) -> None:
    """Counts beyond 2^24 become the nearest float32."""
    value = np.full(len(packed.value), 2**32 - 3, np.uint32)
    value[::2] = 2**24 + 3
    wide = PackedColumns(**{**vars(packed), "value": value})
    frames = np.empty((1, int(packed.n_bins[1]) * packed.site_count), np.float32)
    host_pointers(wide, np.array([1])).fill(frames, ALONE)
    truth = TensorColumns(wide).gather(torch.tensor([1])).dense().numpy().ravel()
    assert truth.any()
    assert np.array_equal(frames[0], truth)


def test_an_index_outside_of_its_sample_is_refused(packed: PackedColumns) -> None:
    """No value is written into another sample, or after the end of the batch."""
    index = packed.index.copy()
    filled = int(np.flatnonzero(np.diff(packed.offsets))[1])
    index[packed.offsets[filled + 1] - 1] = packed.n_bins[filled] * packed.site_count
    wrong = PackedColumns(**{**vars(packed), "index": index})
    frames = np.zeros((2, 30 * packed.site_count), np.float32)
    with pytest.raises(DamagedError, match=f"row {packed.rows[filled]} has a non-zero outside its frames"):
        host_pointers(wrong, np.array([0, filled])).fill(frames, ALONE)
    assert not frames[1, index[packed.offsets[filled + 1] - 1] :].any()


def test_memory_is_reused_after_the_last_reference() -> None:
    """A tensor, a view of it, an array made from it, or a graph keeps the memory; it is freed with the last of them."""
    buffers = FrameBuffers()

    def address() -> int:
        return int(buffers.take(1000).ctypes.data)

    first = address()
    assert address() == first
    lease = buffers.take(1000)
    kept: list[object] = [torch.from_numpy(lease).view(10, 100)]
    del lease
    assert address() != first
    kept = [kept[0][2:3].numpy()[0, :5]]  # type: ignore[index]
    gc.collect()
    assert address() != first
    del kept
    addresses = {address() for _ in range(3)}
    assert first in addresses
    assert len({address() for _ in range(20)}) == len(addresses | {first})


def test_without_reuse_memory_is_fresh() -> None:
    """`reuse=False` keeps no buffer."""
    buffers = FrameBuffers(reuse=False)
    buffers.take(10)
    assert not buffers._free


def test_a_larger_batch_gets_larger_memory() -> None:
    """Buffers that became too small are dropped."""
    buffers = FrameBuffers()
    sizes = [buffers.take(count).size for count in (10, 1000, 10, 5000, 3)]
    assert sizes == [10, 1000, 10, 5000, 3]
    assert all(len(one) == 5000 for one in buffers._free)


def test_two_passes_ask_for_memory_at_once() -> None:
    """Each gets what it needs, even if the other one has written a smaller size in between."""

    class Raced(FrameBuffers):
        _largest = property(lambda _: 1, lambda _self, _size: None)

    assert Raced().take(10).size == 10


def test_batches_that_are_kept_stay_as_they_were(features: FeatureSet) -> None:
    """A list of all batches of two epochs keeps all of them, and a loop that keeps none uses few buffers."""
    loader = FeatureLoader(features, 16, shuffle=True, threads=2)
    kept = [*loader, *loader]
    fresh = FeatureLoader(features, 16, shuffle=True, threads=1, reuse=False)
    for mine, other in zip(kept, [*fresh, *fresh], strict=True):
        assert torch.equal(mine.frames, other.frames)
        assert torch.equal(mine.samples, other.samples)
    del kept, mine
    addresses = set()
    for _ in range(4):
        for batch in loader:
            addresses.add(batch.frames.data_ptr())
    assert len(addresses) <= 8


def test_autograd_keeps_its_inputs(features: FeatureSet) -> None:
    """Gradients that are computed many batches later are right."""
    loader = FeatureLoader(features, 8, pad_to=20)
    weight = torch.ones(10, requires_grad=True)
    losses = [(batch.frames * weight).sum() for batch in loader]
    parts = [batch.frames.sum((0, 1, 2)) for batch in FeatureLoader(features, 8, pad_to=20)]
    torch.stack(losses).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.stack(parts).sum(0))
