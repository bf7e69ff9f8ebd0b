"""Batches: packed, dense and sparse."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import PackedColumns, pack
from spikestore.train.data.batch import widen
from spikestore.train.data.device_samples import TensorColumns


@pytest.fixture(scope="module")
def packed(features: FeatureSet) -> PackedColumns:
    """Return the train split in memory."""
    return pack(features)


@functools.cache
def frames_of(features: FeatureSet) -> list[np.ndarray]:
    """Return the frames of every row, read once."""
    return [features.frames(row) for row in range(len(features))]


@settings(max_examples=examples(50))
@given(
    positions=st.lists(st.integers(0, 148), min_size=1, max_size=20), padding=st.integers(0, 5) | st.none()
)
def test_dense_frames_equal_the_store(
    features: FeatureSet, packed: PackedColumns, positions: list[int], padding: int | None
) -> None:
    """Frames equal those of the feature set, with zeros after a sample's end, in the requested order, also with repeated samples."""
    sparse = TensorColumns(packed).gather(torch.tensor(positions))
    pad_to = None if padding is None else int(sparse.lengths.max()) + padding
    batch = sparse.batch(pad_to)
    assert batch.frames.dtype == torch.float32
    assert batch.frames.shape[1] == (pad_to or int(sparse.lengths.max()))
    for place, position in enumerate(positions):
        row, length = int(packed.rows[position]), int(batch.lengths[place])
        truth = frames_of(features)[row]
        assert (int(batch.samples[place]), length) == (row, len(truth))
        assert int(batch.labels[place]) == packed.label[position]
        assert np.array_equal(batch.frames[place, :length].numpy(), truth)
        assert not batch.frames[place, length:].any()
    assert torch.equal(sparse.sparse_coo(pad_to).to_dense(), batch.frames)


def test_sparse_coo_is_coalesced(packed: PackedColumns) -> None:
    """Coordinates come sorted and unique, so that torch need not sort them again."""
    coo = TensorColumns(packed).gather(torch.tensor([5, 3])).sparse_coo()
    assert coo.is_coalesced()
    again = torch.sparse_coo_tensor(coo.indices(), coo.values(), coo.shape, check_invariants=True).coalesce()
    assert torch.equal(again.indices(), coo.indices())


@pytest.mark.parametrize("unique", [True, False])
def test_sparse_coo_decides_about_checks(packed: PackedColumns, unique: bool) -> None:
    """There is no warning that checks of invariants are undecided, and torch's own setting is not changed."""
    sparse = dataclasses.replace(TensorColumns(packed).gather(torch.tensor([5, 3, 5])), unique=unique)
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # warnings are errors here, and torch would give this one once in a process
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                torch, "sparse_coo_tensor", None
            )  # warns in torch 2.11 and 2.12 whatever it is given
            patch.setattr(torch.Tensor, "coalesce", None)
            coo = sparse.sparse_coo()
    finally:
        torch.set_warn_always(before)
    assert coo.is_coalesced()
    assert torch.equal(coo.to_dense(), sparse.dense())


def test_no_samples_are_a_batch_too(packed: PackedColumns) -> None:
    """A rank's share of a short batch may be empty."""
    batch = TensorColumns(packed).gather(torch.tensor([], dtype=torch.int64)).batch()
    assert batch.frames.shape == (0, 0, *packed.sites)
    assert [len(one) for one in batch] == [0, 0, 0, 0]


def test_unsigned_columns_are_widened() -> None:
    """Values above the signed range of 16 and 32 bits are the original ones."""
    for dtype, values in ((np.uint16, [0, 32767, 32768, 65535]), (np.uint32, [0, 2**31, 2**32 - 1])):
        column = np.array(values, dtype)
        signed = torch.from_numpy(column.view(np.int16 if dtype is np.uint16 else np.int32))
        assert widen(signed).tolist() == values


def test_wide_indices(packed: PackedColumns) -> None:
    """The same samples in uint32 and int64 columns give the same frames."""
    positions = torch.arange(40)
    frames = TensorColumns(packed).gather(positions).dense()
    for dtype in (np.uint32, np.int64):
        wide = PackedColumns(**{**vars(packed), "index": packed.index.astype(dtype)})
        assert torch.equal(TensorColumns(wide).gather(positions).dense(), frames)


def test_pad_to_never_cuts(packed: PackedColumns) -> None:
    """A sample that is longer than pad_to is an error that names the row."""
    with pytest.raises(UsageError, match=r"row 0 has .* more than pad_to = 2"):
        TensorColumns(packed).gather(torch.tensor([0])).dense(2)


def test_moves_whole(packed: PackedColumns) -> None:
    """A batch that was moved to a device has the same values."""
    batch = TensorColumns(packed).gather(torch.tensor([1, 2]))
    assert torch.equal(batch.to("cpu").dense(), batch.dense())
    assert len(batch) == 2


@pytest.mark.gpu
def test_frames_on_cuda_are_the_same(packed: PackedColumns) -> None:
    """Frames on the device equal those of the CPU, bit for bit, from either residence."""
    positions = torch.randperm(len(packed))
    truth = TensorColumns(packed).gather(positions)
    for columns in (TensorColumns(packed), TensorColumns(packed, "cuda")):
        batch = columns.gather(positions).to("cuda")
        assert torch.equal(batch.dense().cpu(), truth.dense())
        assert torch.equal(batch.sparse_coo().to_dense().cpu(), truth.dense())
