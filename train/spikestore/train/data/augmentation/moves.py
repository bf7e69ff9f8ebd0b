"""Augmentations that move events along time, channels or polarities."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spikestore.train.data.augmentation.fields import (
    ChanceAugmentation,
    CheckedAugmentation,
    axis_of,
    plane_of,
    refuse,
)
from spikestore.train.data.frames.augmentation_steps import (
    ANY_LENGTH,
    JITTER,
    MIRROR,
    MOVE,
    ONE,
    ROLL,
    ROTATE,
    SHEAR,
    SHIFT,
    STRETCH,
    AugmentationStep,
    StepInput,
)
from spikestore.train.data.frames.random_bits import below, redrawn, several, threshold, whole

logger = logging.getLogger(__name__)

_ANGLES = 16
"""Number of angles per degree of `Rotate` and `Shear`."""
_MOST_SHEAR = 80
"""Largest angle of a shear in degrees. With this angle, a row moves by less than six times its distance from the centre."""


@dataclass(frozen=True)
class TimeShift(CheckedAugmentation):
    """Shift each sample by a whole number of time bins, drawn uniformly from -bins to bins.

    Attributes
    ----------
    bins : int
        Largest shift.
    seed : int
        With another seed, other shifts are drawn.
    """

    bins: int
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        shift = whole(batch.bits(self.seed, 1), 2 * self.bins + 1) - self.bins
        return (AugmentationStep(SHIFT, shift * math.prod(batch.sites)),)


@dataclass(frozen=True)
class ChannelJitter(CheckedAugmentation):
    """Move each non-zero along x by a whole number of channels, drawn uniformly from -channels to channels.

    All events of a non-zero move together. A move ends at the edge of the sensor.

    Attributes
    ----------
    channels : int
        Largest move.
    seed : int
        With another seed, other moves are drawn.
    """

    channels: int
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        bits = batch.bits(self.seed, 2)
        drawn = torch.stack([bits, torch.full_like(bits, self.channels)])
        return (AugmentationStep(JITTER, drawn, size=batch.sites[-1]),)


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
        With another seed, other shifts are drawn.
    """

    channels: int
    axis: str = "x"
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        stride, size = axis_of(self.axis, batch.sites)
        bits = batch.bits(self.seed, 8 if self.axis == "x" else 9)
        shift = whole(bits, 2 * self.channels + 1) - self.channels
        return (AugmentationStep(MOVE, shift, stride=stride, size=size),)


def _mirror(
    bits: Tensor, probability: float, places: int | Tensor, *, stride: int, size: int
) -> tuple[AugmentationStep, ...]:
    """Return the step that mirrors an axis of `places` places. `bits` decide which samples are mirrored, each with the given probability. For `stride` and `size`, see `AugmentationStep`."""
    chosen = below(bits, threshold(float(probability)))
    return (AugmentationStep(MIRROR, chosen * places, stride=stride, size=size),)


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
        With another seed, other samples are flipped.
    """

    probability: float = 0.5
    axis: str = "x"
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        stride, size = axis_of(self.axis, batch.sites)
        return _mirror(batch.bits(self.seed, 4), self.probability, size, stride=stride, size=size)


@dataclass(frozen=True)
class PolarityFlip(ChanceAugmentation):
    """Exchange the polarities of each sample with the given probability; a set with one polarity stays as it is, and a warning says so."""

    probability: float = 0.5

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Log a warning if the frames of a set have one polarity."""
        super().check(sites, longest, classes)
        if sites[0] == 1:
            logger.warning("PolarityFlip changes nothing, because the frames of this set have one polarity")

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        size, stride = batch.sites[0], math.prod(batch.sites[1:])
        return _mirror(batch.bits(self.seed, 6), self.probability, size, stride=stride, size=size)


@dataclass(frozen=True)
class TimeReversal(ChanceAugmentation):
    """Reverse the order of a sample's time bins, with the given probability for each sample."""

    probability: float = 0.5

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        bits, stride = batch.bits(self.seed, 7), math.prod(batch.sites)
        return _mirror(bits, self.probability, batch.lengths, stride=stride, size=ANY_LENGTH)


@dataclass(frozen=True)
class TimeStretch(CheckedAugmentation):
    """Stretch or compress each sample in time by a factor, drawn uniformly from 1 - strength to 1 + strength.

    The first time bin stays at its place. Events that leave the sample are dropped, and the sample keeps its length.

    Attributes
    ----------
    strength : float
        Largest difference of the factor from 1; from 0 to 1.
    seed : int
        With another seed, other factors are drawn.
    """

    strength: float
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        most = int(self.strength * ONE)
        factor = ONE + whole(batch.bits(self.seed, 12), 2 * most + 1) - most
        return (AugmentationStep(STRETCH, factor, stride=math.prod(batch.sites)),)


@dataclass(frozen=True)
class Translate(CheckedAugmentation):
    """Shift each sample along x and y by whole numbers of pixels, each drawn uniformly from -pixels to pixels.

    Attributes
    ----------
    pixels : int
        Largest shift along each axis.
    seed : int
        With another seed, other shifts are drawn.
    """

    pixels: int
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return two steps: one moves samples along x, the other along y."""
        width, height = plane_of(self, batch.sites)
        bits = batch.bits(self.seed, 13)
        along_x, along_y = (whole(some, 2 * self.pixels + 1) - self.pixels for some in (bits, redrawn(bits)))
        return (
            AugmentationStep(MOVE, along_x, size=width),
            AugmentationStep(MOVE, along_y, stride=width, size=height),
        )


@dataclass(frozen=True)
class Rotate(CheckedAugmentation):
    """Rotate each sample around the centre of the sensor by an angle, drawn uniformly from -degrees to degrees.

    Angles are multiples of 1/16 of a degree. Each pixel moves to the pixel that is nearest to its rotated place. If several pixels
    move to the same pixel, their counts are added. A pixel to which no pixel moves is empty.

    Attributes
    ----------
    degrees : float
        Largest angle, from 0 to 180.
    seed : int
        With another seed, other angles are drawn.
    """

    degrees: float
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        width, height = plane_of(self, batch.sites)
        most = int(self.degrees * _ANGLES)
        angle = whole(batch.bits(self.seed, 14), 2 * most + 1)
        drawn = torch.stack([_at_angles(most, of)[angle] for of in (math.cos, math.sin)])
        return (AugmentationStep(ROTATE, drawn, size=width, height=height),)


@dataclass(frozen=True)
class Roll(CheckedAugmentation):
    """Shift each sample along x and y by whole numbers of pixels; events that leave the sensor enter at its other side.

    Attributes
    ----------
    pixels : int
        Largest shift along each axis; each shift is drawn uniformly from -pixels to pixels.
    seed : int
        With another seed, other shifts are drawn.
    """

    pixels: int
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return two steps: one moves samples along x, the other along y."""
        width, height = plane_of(self, batch.sites)
        shifts = whole(several(batch.bits(self.seed, 20), 2), 2 * self.pixels + 1) - self.pixels
        return (
            AugmentationStep(ROLL, shifts[0] % width, size=width),
            AugmentationStep(ROLL, shifts[1] % height, stride=width, size=height),
        )


@dataclass(frozen=True)
class Shear(CheckedAugmentation):
    """Shear each sample along x by an angle, drawn uniformly from -degrees to degrees: rows move, and the centre stays.

    Angles are multiples of 1/16 of a degree. A row of pixels moves by its distance from the centre times the tangent of
    the angle, rounded to whole pixels. Events that leave the sensor are dropped.

    Attributes
    ----------
    degrees : float
        Largest angle, from 0 to 80.
    seed : int
        With another seed, other angles are drawn.
    """

    degrees: float
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(
            self.degrees > _MOST_SHEAR,
            f"degrees of a shear must be at most {_MOST_SHEAR}, got {self.degrees}",
        )

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        width, height = plane_of(self, batch.sites)
        most = int(self.degrees * _ANGLES)
        angle = whole(batch.bits(self.seed, 21), 2 * most + 1)
        drawn = _at_angles(most, math.tan)[angle]
        return (AugmentationStep(SHEAR, drawn, size=width, height=height),)


@functools.lru_cache(maxsize=16)
def _at_angles(most: int, function: Callable[[float], float]) -> Tensor:
    """Return the values of `function`, each multiplied by 2^16 and rounded to int64. The angles are ``n / 16`` degrees, for n from ``-most`` to `most`."""
    angles = [math.radians(number / _ANGLES) for number in range(-most, most + 1)]
    # On the host, whatever default device the caller has set.
    return torch.tensor([round(ONE * function(angle)) for angle in angles], device="cpu")
