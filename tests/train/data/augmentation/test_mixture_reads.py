"""What the compiled loop reads of samples and partners: what masks of time keep; damage is reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.data.augmentation.plain_draws import CLASSES, EPOCH, Frames
from tests.train.data.augmentation.test_steps import compiled, packed

from spikestore.store_schemas.errors import DamagedError, UsageError
from spikestore.train import Blend, CutMix, EventDrop, EventMix, EventThinning, TimeMask, TimeShift
from spikestore.train.data.batch import SparseBatch
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.frames.sample_pointers import host_pointers
from spikestore.train.data.frames.step_augmentation import Augmentations
from spikestore.train.data.packed import PackedColumns


def _samples() -> list[Frames]:
    random = np.random.default_rng(4)
    sizes = random.integers(1, 12, 12).tolist()
    return [random.integers(0, 6, (size, 2, 3, 4)) * (random.random((size, 2, 3, 4)) < 0.5) for size in sizes]


def _columns() -> PackedColumns:
    samples = _samples()
    return packed(samples, [number % CLASSES for number in range(len(samples))])


@pytest.mark.parametrize(
    "augment",
    [
        [CutMix(probability=0.3)],
        [Blend(probability=0.5), CutMix(probability=0.6), CutMix(probability=0.6, seed=3)],
        [TimeMask(4), CutMix(probability=0.6), TimeMask(3, seed=1)],
        [EventDrop(0.3), CutMix("xy", 0.6), CutMix(seed=3)],
        [TimeShift(2), CutMix(), TimeMask(4)],
        [EventThinning(0.5), Blend(align="centre"), TimeMask(4)],
        [CutMix(probability=0.6), CutMix("xy", other_class=True), EventMix(other_class=True)],
    ],
)
def test_masks_of_time_are_read_as_torch_applies_them(augment: list[Any]) -> None:
    """Frames and labels are those of torch's operations, also of samples whose places do not ascend."""
    columns, own = _columns(), Augmentations(augment, CLASSES)
    rows = np.arange(len(columns.n_bins))
    wanted = own(host_pointers(columns, rows).packed(ParallelFor(None, 1)), EPOCH)
    frames, labels = compiled(columns, own)
    assert np.array_equal(frames, wanted.dense().numpy())
    assert torch.equal(labels, wanted.labels)
    order = np.concatenate(
        [
            np.arange(first, end)[::-1]
            for first, end in zip(columns.offsets, columns.offsets[1:], strict=False)
        ]
    )
    reversed_columns = PackedColumns(
        **{**vars(columns), "index": columns.index[order], "value": columns.value[order]}
    )
    assert np.array_equal(compiled(reversed_columns, own)[0], frames)


@pytest.mark.parametrize("place", ["last", "first"])
def test_damage_of_a_partner_is_reported(place: str) -> None:
    """A place beyond the frames is damage, also where a mask would not read it."""
    columns = _columns()
    index = columns.index.copy()
    index[columns.offsets[1] - 1 if place == "last" else columns.offsets[0]] = columns.n_bins[0] * 24
    wrong = PackedColumns(**{**vars(columns), "index": index})
    with pytest.raises(DamagedError, match=f"row {columns.rows[0]} has a non-zero outside its frames"):
        compiled(wrong, Augmentations([CutMix()], CLASSES))


def test_a_sample_without_events_has_no_centre() -> None:
    """A sample is not moved towards an empty one, and gets no events of it; as without `align`."""
    sample = _samples()[0]
    columns = packed([sample, np.zeros_like(sample)], [1, 1])
    frames, _ = compiled(columns, Augmentations([Blend(align="centre")], CLASSES))
    assert frames.any()
    assert np.array_equal(frames, compiled(columns, Augmentations([Blend()], CLASSES))[0])
    batch = host_pointers(columns, np.arange(2)).packed(ParallelFor(None, 1))
    assert np.array_equal(Blend(align="centre")(batch, EPOCH).dense().numpy(), frames)


def test_centres_are_those_after_a_callable() -> None:
    """A callable of the user's own may move samples; the samples are then aligned from where they are."""
    batch = host_pointers(_columns(), np.arange(12)).packed(ParallelFor(None, 1))
    moved = TimeShift(6)(batch, EPOCH)
    one = Blend(align="centre")
    own = Augmentations([lambda batch, epoch: TimeShift(6)(batch, epoch), one], CLASSES)
    assert torch.equal(own(batch, EPOCH).dense(), one(moved, EPOCH).dense())


@pytest.mark.parametrize("one", [Blend(), CutMix(other_class=True), EventMix(other_class=True)])
def test_partners_need_class_numbers(one: Any) -> None:
    """After weights of classes that a callable of the user made, the class numbers are unknown; partners of any class need none."""
    batch = host_pointers(_columns(), np.arange(12)).packed(ParallelFor(None, 1))

    def soft(given: SparseBatch, _epoch: int) -> SparseBatch:
        return replace(given, labels=torch.full((len(given), CLASSES), 1 / CLASSES))

    name = type(one).__name__
    with pytest.raises(
        UsageError, match=f"{name} chooses partners by their class numbers.*put {name} before"
    ):
        Augmentations([soft, one], CLASSES)(batch, EPOCH)
    mixed = Augmentations([soft, CutMix()], CLASSES)(batch, EPOCH)
    torch.testing.assert_close(mixed.labels.as_subclass(torch.Tensor), soft(batch, EPOCH).labels)


def test_a_callable_may_make_a_batch_anew() -> None:
    """A batch that lacks the number of classes gets it from the loader."""
    batch = host_pointers(_columns(), np.arange(12)).packed(ParallelFor(None, 1))
    own = Augmentations([lambda given, _epoch: replace(given, classes=None), CutMix()], CLASSES)
    assert torch.equal(own(batch, EPOCH).labels, Augmentations([CutMix()], CLASSES)(batch, EPOCH).labels)
