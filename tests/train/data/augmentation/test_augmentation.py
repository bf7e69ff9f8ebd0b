"""Augmentations: their results, which are pure functions of sample and epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import (
    Blend,
    ChannelJitter,
    CutMix,
    EventDrop,
    EventThinning,
    FeatureLoader,
    OneOf,
    SpatialFlip,
    TimeShift,
    pack,
)
from spikestore.train.data.batch import Batch, SparseBatch
from spikestore.train.data.device_samples import TensorColumns
from spikestore.train.data.placement import Residence

ALL = (TimeShift(3), ChannelJitter(2), EventDrop(0.3), SpatialFlip())


@pytest.fixture(scope="module")
def packed(features: FeatureSet) -> SparseBatch:
    """Return the whole train split as one batch."""
    columns = pack(features)
    return TensorColumns(columns).gather(torch.arange(len(columns)))


def test_nothing_changes_at_strength_zero(packed: SparseBatch) -> None:
    """Augmentations of strength zero leave frames as they are."""
    for one in (TimeShift(0), ChannelJitter(0), EventDrop(0.0), SpatialFlip(0.0)):
        assert torch.equal(one(packed, 0).dense(), packed.dense())


def test_time_shift(packed: SparseBatch) -> None:
    """Each sample moves by whole bins, to earlier or later ones; what leaves its length is lost."""
    before, after = packed.dense(), TimeShift(3, seed=1)(packed, 0).dense()
    shifts: set[int] = set()
    for old, new, length in zip(before, after, packed.lengths.tolist(), strict=True):
        assert not new[length:].any()
        if not old.any():
            continue
        fits = []
        for shift in range(-3, 4):
            moved = torch.zeros_like(old)
            moved[max(shift, 0) : length + min(shift, 0)] = old[max(-shift, 0) : length - max(shift, 0)]
            fits += [shift] * torch.equal(moved, new)
        assert fits
        shifts.update(fits[:1] if len(fits) == 1 else ())
    assert shifts == set(range(-3, 4))


def test_channel_jitter(packed: SparseBatch) -> None:
    """Counts stay in their time bin, and none is lost; counts that meet in a place add up, in dense and sparse_coo frames."""
    jittered = ChannelJitter(2)(packed, 0)
    assert torch.equal(jittered.dense().sum(-1), packed.dense().sum(-1))
    assert not torch.equal(jittered.dense(), packed.dense())
    moves = jittered.index % 10 - packed.index.to(torch.int64) % 10
    assert set(moves.tolist()) == {-2, -1, 0, 1, 2}
    assert torch.equal(jittered.sparse_coo().to_dense(), jittered.dense())


def test_event_drop(packed: SparseBatch) -> None:
    """About the given share of non-zeros is gone, the others are unchanged; a probability of 1 drops all."""
    before, after = packed.dense(), EventDrop(0.3)(packed, 0).dense()
    assert torch.equal(after, torch.where(after > 0, before, 0))
    assert abs(float((after > 0).sum() / (before > 0).sum()) - 0.7) < 0.05
    assert not EventDrop(1.0)(packed, 0).dense().any()


def test_spatial_flip(packed: SparseBatch) -> None:
    """A sample is mirrored whole or not at all; both happen. Frames without y can't be flipped along y."""
    before = packed.dense()
    flipped = 0
    for old, new in zip(before, SpatialFlip()(packed, 0).dense(), strict=True):
        assert torch.equal(new, old) or torch.equal(new, old.flip(-1))
        flipped += not torch.equal(new, old)
    assert 0.3 < flipped / len(before) < 0.6
    with pytest.raises(UsageError, match="have no y"):
        SpatialFlip(axis="y")(packed, 0)
    with_y = SparseBatch(**{**vars(packed), "sites": (1, 5, 2)})
    assert torch.equal(SpatialFlip(1.0, "y")(with_y, 0).dense(), with_y.dense().flip(-2))
    assert torch.equal(SpatialFlip(1.0, "x")(with_y, 0).dense(), with_y.dense().flip(-1))
    assert SpatialFlip(1.0)(packed, 0).sparse_coo().is_coalesced()


@pytest.mark.parametrize("one", ALL, ids=lambda one: type(one).__name__)
def test_is_a_pure_function_of_sample_and_epoch(
    features: FeatureSet, one: Callable[[SparseBatch, int], SparseBatch]
) -> None:
    """Batch size, shuffling, residence, ranks and a start within an epoch don't change samples; another epoch does."""

    def frames(batches: list[Batch]) -> dict[int, torch.Tensor]:
        return {
            int(row): frame
            for batch in batches
            for frame, row in zip(batch.frames, batch.samples, strict=True)
        }

    def loader(batch_size: int, residence: Residence = "host", *, shuffle: bool = False) -> FeatureLoader:
        return FeatureLoader(
            features,
            batch_size,
            residence,
            shuffle=shuffle,
            augment=one,
            pad_to=20,
        )

    base = loader(16)
    first, second = frames(list(base)), frames(list(base))
    assert any(not torch.equal(first[row], second[row]) for row in first)
    for other in (loader(50), loader(16, "stream", shuffle=True), loader(7, shuffle=True)):
        found = frames(list(other))
        assert all(torch.equal(found[row], first[row]) for row in first)
    other = loader(16, shuffle=True)
    other.load_state_dict({**other.state_dict(), "batch": 5})
    assert all(torch.equal(frame, first[row]) for row, frame in frames(list(other)).items())
    share = FeatureLoader(features, 16, "host", augment=one, pad_to=20, rank=1, ranks=2)
    assert all(torch.equal(frame, first[row]) for row, frame in frames(list(share)).items())


def test_seeds_differ(packed: SparseBatch) -> None:
    """Another seed gives other frames."""
    for kind in (
        lambda seed: TimeShift(3, seed),
        lambda seed: ChannelJitter(2, seed),
        lambda seed: EventDrop(0.5, seed),
    ):
        assert not torch.equal(kind(0)(packed, 0).dense(), kind(1)(packed, 0).dense())


def test_several_and_a_transform(features: FeatureSet) -> None:
    """Augmentations apply one after the other; then the transform gets the dense batch."""
    loader = FeatureLoader(
        features, 16, augment=ALL, transform=lambda batch: batch._replace(frames=batch.frames.clamp(max=1))
    )
    for batch in loader:
        assert float(batch.frames.max()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TimeShift(-1), "bins must be .* got -1"),
        (lambda: ChannelJitter(-1), "channels must be .* got -1"),
        (lambda: EventDrop(1.5), "probability must be .* got 1.5"),
        (lambda: SpatialFlip(-0.1), "probability must be .* got -0.1"),
        (lambda: SpatialFlip(axis="t"), "axis must be .* got 't'"),
        (lambda: TimeShift("3"), "bins must be a whole number from 0 to .*31 - 1, got '3'"),  # type: ignore[arg-type]
        (lambda: TimeShift(True), "bins must be .* got True"),
        (lambda: TimeShift(2**31), "bins must be a whole number from 0 to .*31 - 1, got 2147483648"),
        (lambda: ChannelJitter(1.5), "channels must be .* got 1.5"),  # type: ignore[arg-type]
        (lambda: EventDrop("a"), "probability must be a number from 0 to 1, got 'a'"),  # type: ignore[arg-type]
        (lambda: EventDrop(float("nan")), "probability must be .* got nan"),
        (lambda: EventDrop(0.1, seed=None), "seed must be a whole number, got None"),  # type: ignore[arg-type]
        (lambda: Blend(align="mean"), "align must be 'centre', got 'mean'"),
        (lambda: CutMix(other_class=1), "other_class must be true or false, got 1"),  # type: ignore[arg-type]
        (lambda: OneOf(TimeShift(3)), "choices must be a tuple of augmentations, got TimeShift"),  # type: ignore[arg-type]
        (lambda: OneOf((TimeShift(3), "roll")), "a choice must be an augmentation, .* got 'roll'"),  # type: ignore[arg-type]
        (lambda: OneOf((OneOf((TimeShift(3),)),)), "a choice cannot be a OneOf: put its choices into"),
        (
            lambda: OneOf((TimeShift(3), EventThinning(0.5))),
            "EventThinning and TimeShift cannot be choices of the same OneOf, because EventThinning is applied before all augmentations that may move events",
        ),
    ],
)
def test_refuses_nonsense(make: Callable[[], object], message: str) -> None:
    """The error names the invalid parameter."""
    with pytest.raises(UsageError, match=message):
        make()


def test_takes_numpys_numbers(packed: SparseBatch) -> None:
    """Parameters may be numbers of NumPy."""
    found = TimeShift(np.int64(3), seed=np.int64(-1))(packed, 0)  # type: ignore[arg-type]
    assert torch.equal(found.dense(), TimeShift(3, seed=-1)(packed, 0).dense())
    assert EventDrop(np.float32(0.5))(packed, 0).value.numel() < packed.value.numel()  # type: ignore[arg-type]


@pytest.mark.gpu
def test_cuda_draws_the_same(packed: SparseBatch) -> None:
    """A GPU gives the CPU's result, bit for bit."""
    for one in ALL:
        assert torch.equal(one(packed.to("cuda"), 1).dense().cpu(), one(packed, 1).dense())
