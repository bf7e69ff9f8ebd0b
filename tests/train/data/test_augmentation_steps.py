"""Steps of augmentations: the compiled loop and torch give the frames that plain NumPy gives, with the same draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import (
    ChannelJitter,
    ChannelMask,
    ChannelShift,
    EventDrop,
    EventThinning,
    FeatureLoader,
    PolarityFlip,
    SpatialFlip,
    TimeMask,
    TimeReversal,
    TimeShift,
)
from spikestore.train.data.batch import SparseBatch
from spikestore.train.data.frames.augmentation_steps import StepInput
from spikestore.train.data.frames.frame_buffers import FrameBuffers
from spikestore.train.data.frames.sample_pointers import ParallelFor, host_pointers
from spikestore.train.data.frames.step_augmentation import in_order
from spikestore.train.data.packed import PackedColumns

Frames = npt.NDArray[np.int64]
SEED, EPOCH, ROW = 5, 3, 17


def mixed(key: int) -> int:
    """Mix bits as SplitMix64 does, with Python's whole numbers."""
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
    return key ^ key >> 31


def redrawn(key: int) -> int:
    """Return other bits."""
    return mixed((key + 0x9E3779B97F4A7C15) % 2**64)


def bits_of(kind: int) -> int:
    """Return the random bits of the sample."""
    key = 0
    for part in (SEED, EPOCH, kind, ROW):
        key = redrawn(key ^ part)
    return key


def lost(key: int, probability: float) -> bool:
    """Return whether 53 bits are below the probability."""
    return key >> 11 < int(probability * 2**53)


def moved(frames: Frames, by: int, axis: int) -> Frames:
    """Shift along an axis; what leaves is dropped, zeros enter."""
    size = frames.shape[axis]
    out = np.zeros_like(frames)
    for at in range(size):
        if 0 <= at + by < size:
            out.swapaxes(0, axis)[at + by] = frames.swapaxes(0, axis)[at]
    return out


def masked(frames: Frames, kind: int, most: int, axis: int) -> Frames:
    """Empty adjacent places."""
    size = frames.shape[axis]
    width = min((bits_of(kind) >> 11) % (most + 1), size)
    start = (redrawn(bits_of(kind)) >> 11) % (size - width + 1)
    out = frames.copy()
    out.swapaxes(0, axis)[start : start + width] = 0
    return out


def each(frames: Frames, change: Callable[[Frames, tuple[int, ...], int, int], None], kind: int) -> Frames:
    """Change the non-zeros one by one: (result, place, count, random bits)."""
    out = np.zeros_like(frames)
    for place in zip(*np.nonzero(frames), strict=True):
        index = int(np.ravel_multi_index(place, frames.shape))
        change(out, place, int(frames[place]), redrawn(bits_of(kind) ^ index))
    return out


def jittered(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Jitter by up to 2."""
    x = min(max(place[-1] + (bits >> 11) % 5 - 2, 0), out.shape[-1] - 1)
    out[(*place[:-1], x)] += count


def dropped(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Drop whole counts."""
    out[place] = 0 if lost(bits, 0.4) else count


def thinned(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Drop each event."""
    out[place] = sum(not lost(redrawn(bits ^ event), 0.4) for event in range(count))


PLAIN: list[tuple[Any, Callable[[Frames], Frames]]] = [
    (TimeShift(3, SEED), lambda frames: moved(frames, (bits_of(1) >> 11) % 7 - 3, 0)),
    (ChannelJitter(2, SEED), lambda frames: each(frames, jittered, 2)),
    (EventDrop(0.4, SEED), lambda frames: each(frames, dropped, 3)),
    (EventThinning(0.4, SEED), lambda frames: each(frames, thinned, 5)),
    (SpatialFlip(0.5, "y", SEED), lambda frames: np.flip(frames, 2) if lost(bits_of(4), 0.5) else frames),
    (SpatialFlip(1, "x", SEED), lambda frames: np.flip(frames, 3)),
    (PolarityFlip(1, SEED), lambda frames: np.flip(frames, 1)),
    (TimeReversal(1, SEED), lambda frames: np.flip(frames, 0)),
    (ChannelShift(2, "x", SEED), lambda frames: moved(frames, (bits_of(8) >> 11) % 5 - 2, 3)),
    (ChannelShift(2, "y", SEED), lambda frames: moved(frames, (bits_of(9) >> 11) % 5 - 2, 2)),
    (TimeMask(4, SEED), lambda frames: masked(frames, 10, 4, 0)),
    (ChannelMask(3, SEED), lambda frames: masked(frames, 11, 3, 3)),
]


def packed(samples: list[Frames], first_row: int) -> PackedColumns:
    """Return samples as packed columns; their rows are consecutive."""
    places = [np.flatnonzero(one) for one in samples]
    counts = [len(one) for one in places]
    return PackedColumns(
        index=np.concatenate(places).astype(np.uint16),
        value=np.concatenate([one.ravel()[at] for one, at in zip(samples, places, strict=True)]).astype(
            np.uint16
        ),
        offsets=np.array([0, *itertools.accumulate(counts)], np.int64),
        n_bins=np.array([len(one) for one in samples], np.int32),
        label=np.zeros(len(samples), np.int64),
        rows=np.arange(first_row, first_row + len(samples)),
        extras={},
        set_rows=first_row + len(samples),
        sites=samples[0].shape[1:],
        classes=("one",),
        digest="",
    )


def compiled(columns: PackedColumns, augment: Sequence[Any], threads: int = 1) -> npt.NDArray[np.float32]:
    """Return the frames of the compiled loop."""
    pointers = host_pointers(columns, np.arange(len(columns.n_bins)))
    known = (torch.from_numpy(array) for array in (pointers.samples, pointers.lengths, pointers.labels))
    drawn = StepInput(*known, columns.sites, EPOCH)
    steps = [step for one in augment for step in one.steps(drawn)]
    shape = (len(pointers), pointers.longest, *columns.sites)
    frames = FrameBuffers().take(int(np.prod(shape))).reshape(len(pointers), -1)
    pointers.fill(frames, ParallelFor(None, threads), steps)
    return frames.reshape(shape)


def in_torch(columns: PackedColumns, augment: Sequence[Any]) -> SparseBatch:
    """Return the batch after torch's operations."""
    batch = host_pointers(columns, np.arange(len(columns.n_bins))).packed(ParallelFor(None, 1))
    for one in augment:
        batch = one(batch, EPOCH)
    return batch


def check(chosen: list[int], bins: list[int], draw: int) -> None:
    """Compare the three forms of a sequence, and the lengths; the first sample has the row of the plain form."""
    random = np.random.default_rng(draw)
    samples = [
        random.integers(0, 5, (size, 2, 3, 4)) * (random.random((size, 2, 3, 4)) < 0.5) for size in bins
    ]
    expected = samples[0]
    # Events are counted first: afterwards, two non-zeros may be in one place.
    for number in sorted(chosen, key=lambda number: not isinstance(PLAIN[number][0], EventThinning)):
        expected = PLAIN[number][1](expected)
    augment = in_order([PLAIN[number][0] for number in chosen])
    columns = packed(samples, ROW)
    dense, batch = compiled(columns, augment), in_torch(columns, augment)
    assert np.array_equal(dense[0, : bins[0]], expected)
    assert not dense[0, bins[0] :].any()
    assert np.array_equal(batch.dense().numpy(), dense)
    assert np.array_equal(batch.sparse_coo().to_dense().numpy(), dense)
    assert batch.lengths.tolist() == bins


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_each_is_that_of_plain_numpy(number: int) -> None:
    """Compiled and in torch."""
    check([number], [20, 9, 30], draw=0)


@given(
    chosen=st.lists(st.sampled_from(range(len(PLAIN))), min_size=2, max_size=4),
    bins=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    draw=st.integers(0, 2**32 - 1),
)
@example(chosen=[1, 3], bins=[3], draw=0)  # the jitter moves two counts to one place
@settings(max_examples=10, deadline=None)
def test_sequences_are_those_of_plain_numpy(chosen: list[int], bins: list[int], draw: int) -> None:
    """Any sequence, whatever else is in the batch."""
    check(chosen, bins, draw)


def test_loaders_with_another_callable_give_the_same_frames(features: FeatureSet) -> None:
    """A callable of the user's own turns the compiled loop off, and changes nothing."""
    augment = [TimeShift(2), ChannelJitter(1), EventThinning(0.2), TimeMask(3), ChannelMask(2)]

    def frames(augment: list[Any]) -> list[torch.Tensor]:
        return [batch.frames for batch in FeatureLoader(features, 40, "host", augment=augment, reuse=False)]

    for one, other in zip(frames(augment), frames([*augment, lambda batch, _epoch: batch]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            ChannelMask(10),
            "a channel mask of up to 10 channels can empty whole samples, which have 10 channels",
        ),
        (TimeMask(1000), "a time mask of up to 1000 bins is longer than the longest sample, which has"),
        (ChannelShift(2, "y"), "axis is 'y', but the frames have no y"),
    ],
)
def test_what_does_not_fit_the_set_is_refused(features: FeatureSet, augment: Any, message: str) -> None:
    """The loader says so when it is made."""
    with pytest.raises(UsageError, match=message):
        FeatureLoader(features, 4, "host", augment=augment)
