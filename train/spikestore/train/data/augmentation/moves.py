"""Augmentations that move events along time, channels or polarities."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spikestore.train.data.augmentation.fields import (
    ANY_LENGTH,
    ChanceAugmentation,
    CheckedAugmentation,
    axis_of,
)
from spikestore.train.data.frames.augmentation_steps import (
    JITTER,
    MIRROR,
    MOVE,
    SHIFT,
    AugmentationStep,
    StepInput,
)
from spikestore.train.data.frames.random_bits import below, threshold, whole


@dataclass(frozen=True)
class TimeShift(CheckedAugmentation):
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

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        shift = whole(batch.bits(self.seed, 1), 2 * self.bins + 1) - self.bins
        return (AugmentationStep(SHIFT, shift * math.prod(batch.sites)),)


@dataclass(frozen=True)
class ChannelJitter(CheckedAugmentation):
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

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        return (AugmentationStep(JITTER, batch.bits(self.seed, 2), int(self.channels), size=batch.sites[-1]),)


@dataclass(frozen=True)
class ChannelShift(CheckedAugmentation):
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

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        stride, size = axis_of(self.axis, batch.sites)
        bits = batch.bits(self.seed, 8 if self.axis == "x" else 9)
        shift = whole(bits, 2 * self.channels + 1) - self.channels
        return (AugmentationStep(MOVE, shift, stride=stride, size=size),)


@dataclass(frozen=True)
class SpatialFlip(CheckedAugmentation):
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

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        stride, size = axis_of(self.axis, batch.sites)
        flipped = below(batch.bits(self.seed, 4), threshold(float(self.probability)))
        return (AugmentationStep(MIRROR, flipped * size, stride=stride, size=size),)


@dataclass(frozen=True)
class PolarityFlip(ChanceAugmentation):
    """Exchange the polarities of each sample with the given probability."""

    probability: float = 0.5

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        flipped = below(batch.bits(self.seed, 6), threshold(float(self.probability)))
        return (
            AugmentationStep(
                MIRROR, flipped * batch.sites[0], stride=math.prod(batch.sites[1:]), size=batch.sites[0]
            ),
        )


@dataclass(frozen=True)
class TimeReversal(ChanceAugmentation):
    """Reverse the time bins of each sample, within its length, with the given probability."""

    probability: float = 0.5

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        flipped = below(batch.bits(self.seed, 7), threshold(float(self.probability)))
        return (
            AugmentationStep(MIRROR, flipped * batch.lengths, stride=math.prod(batch.sites), size=ANY_LENGTH),
        )
