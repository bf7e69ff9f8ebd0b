"""Augmentations for training. They change the packed batch on its device; random numbers depend on sample and epoch.

Each class is a callable from (SparseBatch, epoch) to SparseBatch, for the loader's ``augment``. Random numbers of a
sample depend only on the seed, the epoch and the sample's row: not on its position in a batch, the batch size, ranks,
threads or the device. So a run that resumes within an epoch gets the same samples.

What leaves its sample's frames is dropped; events that move to the same place add up. Two augmentations of one class with
the same seed draw the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.frames.augmentation_steps import (
    DROP,
    JITTER,
    MASK,
    MIRROR,
    MOVE,
    SHIFT,
    THIN,
    AugmentationStep,
    StepAugmentation,
    below,
    mask_of,
    redrawn,
    sample_bits,
    threshold,
    whole,
)

_ANY_LENGTH = 2**62
"""Size of the time axis, whose coordinate is not limited by another axis."""


@dataclass(frozen=True)
class TimeShift(StepAugmentation):
    """Shift each sample by a whole number of time bins, drawn uniformly from -bins to bins.

    Attributes
    ----------
    bins : int
        Largest shift.
    seed : int
        Another seed draws other shifts.
    """

    bins: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("bins", self.bins, least=0)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        shift = whole(sample_bits(rows, self.seed, epoch, 1), 2 * self.bins + 1) - self.bins
        return AugmentationStep(SHIFT, shift * math.prod(sites))


@dataclass(frozen=True)
class ChannelJitter(StepAugmentation):
    """Move each event along x by a whole number of channels, drawn uniformly from -channels to channels.

    Events stop at the edge of the sensor. All events of a count move together.

    Attributes
    ----------
    channels : int
        Largest move.
    seed : int
        Another seed draws other moves.
    """

    channels: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels, least=0)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        return AugmentationStep(
            JITTER, sample_bits(rows, self.seed, epoch, 2), int(self.channels), size=sites[-1]
        )


@dataclass(frozen=True)
class EventDrop(StepAugmentation):
    """Drop each non-zero with the given probability: all events of a count together. `EventThinning` drops single events.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    seed : int
        Another seed drops other non-zeros.
    """

    probability: float
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        return AugmentationStep(
            DROP, sample_bits(rows, self.seed, epoch, 3), threshold(float(self.probability))
        )


@dataclass(frozen=True)
class EventThinning(StepAugmentation):
    """Drop each event with the given probability, independently of the others: a count of 3 is three events.

    It is applied before the other augmentations of a list, because these may move two counts to one place.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    seed : int
        Another seed drops other events.
    """

    counts_events: ClassVar[bool] = True
    probability: float
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        return AugmentationStep(
            THIN, sample_bits(rows, self.seed, epoch, 5), threshold(float(self.probability))
        )


@dataclass(frozen=True)
class SpatialFlip(StepAugmentation):
    """Mirror each sample along x or y with the given probability.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    axis : {"x", "y"}
        Axis to flip; "y" needs a sensor with y.
    seed : int
        Another seed flips other samples.
    """

    probability: float = 0.5
    axis: str = "x"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)
        _check_axis(self.axis)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        stride, size = _axis(self.axis, sites)
        flipped = below(sample_bits(rows, self.seed, epoch, 4), threshold(float(self.probability)))
        return AugmentationStep(MIRROR, flipped * size, stride=stride, size=size)


@dataclass(frozen=True)
class PolarityFlip(StepAugmentation):
    """Exchange the polarities of each sample with the given probability.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    seed : int
        Another seed changes other samples.
    """

    probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        flipped = below(sample_bits(rows, self.seed, epoch, 6), threshold(float(self.probability)))
        return AugmentationStep(MIRROR, flipped * sites[0], stride=math.prod(sites[1:]), size=sites[0])


@dataclass(frozen=True)
class TimeReversal(StepAugmentation):
    """Reverse the time bins of each sample, within its length, with the given probability.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    seed : int
        Another seed reverses other samples.
    """

    probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        flipped = below(sample_bits(rows, self.seed, epoch, 7), threshold(float(self.probability)))
        return AugmentationStep(MIRROR, flipped * lengths, stride=math.prod(sites), size=_ANY_LENGTH)


@dataclass(frozen=True)
class ChannelShift(StepAugmentation):
    """Shift each sample along x or y by a whole number of channels, drawn uniformly from -channels to channels.

    Attributes
    ----------
    channels : int
        Largest shift.
    axis : {"x", "y"}
        Axis of the shift; "y" needs a sensor with y.
    seed : int
        Another seed draws other shifts.
    """

    channels: int
    axis: str = "x"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels, least=0)
        _check_whole("seed", self.seed)
        _check_axis(self.axis)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        stride, size = _axis(self.axis, sites)
        bits = sample_bits(rows, self.seed, epoch, 8 if self.axis == "x" else 9)
        shift = whole(bits, 2 * self.channels + 1) - self.channels
        return AugmentationStep(MOVE, shift, stride=stride, size=size)


@dataclass(frozen=True)
class TimeMask(StepAugmentation):
    """Empty adjacent time bins of each sample: their number is drawn uniformly from 0 to bins, then their first bin.

    Of a sample with fewer bins, at most all are emptied.

    Attributes
    ----------
    bins : int
        Largest number of bins.
    seed : int
        Another seed draws other masks.
    """

    bins: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("bins", self.bins, least=0)
        _check_whole("seed", self.seed)

    def check(self, sites: tuple[int, ...], longest: int) -> None:
        """Raise `UsageError` if the mask is longer than the longest sample of a set."""
        _refuse(
            self.bins > longest,
            f"a time mask of up to {self.bins} bins is longer than the longest sample, which has {longest} bins",
        )

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        mask = _mask(sample_bits(rows, self.seed, epoch, 10), self.bins, lengths)
        return AugmentationStep(MASK, mask, stride=math.prod(sites), size=_ANY_LENGTH)


@dataclass(frozen=True)
class ChannelMask(StepAugmentation):
    """Empty adjacent channels of each sample, along x: their number is drawn uniformly from 0 to channels, then their first.

    Attributes
    ----------
    channels : int
        Largest number of channels; frames must have more than that.
    seed : int
        Another seed draws other masks.
    """

    channels: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels, least=0)
        _check_whole("seed", self.seed)

    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch."""
        width = sites[-1]
        _refuse(
            self.channels >= width,
            f"a channel mask of up to {self.channels} channels can empty whole samples, which have {width} channels",
        )
        mask = _mask(sample_bits(rows, self.seed, epoch, 11), self.channels, torch.full_like(lengths, width))
        return AugmentationStep(MASK, mask, size=width)


def _mask(bits: Tensor, most: int, size: Tensor) -> Tensor:
    width = torch.minimum(whole(bits, most + 1), size)
    return mask_of(whole(redrawn(bits), size - width + 1), width)


def _axis(axis: str, sites: tuple[int, ...]) -> tuple[int, int]:
    """Return stride and size of an axis of the sensor."""
    _refuse(axis == "y" and len(sites) < 3, "axis is 'y', but the frames have no y")
    return (1, sites[-1]) if axis == "x" else (sites[-1], sites[-2])


def _check_axis(axis: object) -> None:
    _refuse(axis not in ("x", "y"), f"axis must be 'x' or 'y', got {axis!r}")


def _check_whole(name: str, number: object, least: int | None = None) -> None:
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    _refuse(
        not whole or (least is not None and not least <= number < 2**31),  # type: ignore[operator]
        f"{name} must be a whole number{'' if least is None else f' from {least} on'}, got {number!r}",
    )


def _check_probability(number: object) -> None:
    real = isinstance(number, int | float | np.floating) and not isinstance(number, bool)
    _refuse(
        not real or not 0 <= number <= 1,  # type: ignore[operator]
        f"probability must be a number from 0 to 1, got {number!r}",
    )


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise UsageError(message)
