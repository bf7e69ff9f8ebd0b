"""Augmentations that drop events."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from spikestore.store_schemas.wording import plural
from spikestore.train.data.augmentation.fields import (
    ChanceAugmentation,
    CheckedAugmentation,
    plane_of,
    refuse,
)
from spikestore.train.data.frames.augmentation_steps import (
    ANY_LENGTH,
    BOX,
    DROP,
    MASK,
    THIN,
    AugmentationStep,
    StepInput,
)
from spikestore.train.data.frames.random_bits import (
    event_threshold,
    mask_of,
    masks,
    several,
    threshold,
    uniform,
    whole,
)


@dataclass(frozen=True)
class EventDrop(ChanceAugmentation):
    """Drop each non-zero with the given probability. All events of the non-zero are dropped; `EventThinning` drops single events."""

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        bits = batch.bits(self.seed, 3)
        number = torch.full_like(bits, threshold(float(self.probability)))
        return (AugmentationStep(DROP, torch.stack([bits, number])),)


@dataclass(frozen=True)
class EventThinning(ChanceAugmentation):
    """Drop each event with the given probability, independently of other events: a count of 3 is three events.

    Event thinning is applied first, wherever it stands in a list of this package's augmentations. Its random numbers
    depend on the index of a non-zero in the frames. If an earlier augmentation had moved two non-zeros to one index,
    the events of both would get the same random numbers, so they would not be dropped independently.

    Attributes
    ----------
    levels : int
        Number of equally spaced probabilities, up to `probability`, from which the probability of each sample is drawn; with
        1, it is always `probability`. For example, 3 levels with the probability 0.9 are 0.3, 0.6 and 0.9.
    """

    levels: int = 1

    @property
    def counts_events(self) -> bool:
        """True: each event of a non-zero has random bits of its own."""
        return True

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        bits = batch.bits(self.seed, 5)
        number = torch.full_like(bits, event_threshold(float(self.probability)))
        if self.levels > 1:
            number = number * (1 + whole(batch.bits(self.seed, 23), self.levels)) // self.levels
        return (AugmentationStep(THIN, torch.stack([bits, number])),)


@dataclass(frozen=True)
class TimeMask(CheckedAugmentation):
    """Drop all events in adjacent time bins of each sample.

    The number of these bins is drawn uniformly from 0 to `bins`, or is a share of the sample's bins (see `share`). Then the
    first of these bins is drawn. If a sample has fewer bins than the drawn number, all of its bins are masked.

    Attributes
    ----------
    bins : int, optional
        Largest number of bins.
    seed : int
        With another seed, other masks are drawn.
    probability : float
        Probability that a sample has a mask; from 0 to 1.
    share : float, optional
        Instead of `bins`: the share of the sample's time bins that a mask has, rounded down; with `levels`, the largest share.
    levels : int
        Number of equally spaced shares, up to `share`, from which the share of each sample is drawn; with 1, it is always
        `share`. For example, 3 levels with the share 0.9 are 0.3, 0.6 and 0.9.
    """

    bins: int | None = None
    seed: int = 0
    probability: float = 1.0
    share: float | None = None
    levels: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse(
            (self.bins is None) == (self.share is None),
            "a time mask must have either bins or share, such as bins = 10 or share = 0.2",
        )
        refuse(
            self.share is None and self.levels > 1,
            f"a time mask with levels = {self.levels} needs share instead of bins: set share, or omit levels",
        )

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Raise `UsageError` if the mask is longer than the longest sample of a set."""
        refuse(
            self.bins is not None and self.bins > longest,
            f"a time mask of up to {self.bins} bins is longer than the longest sample, which has {plural(longest, 'bin')}",
        )

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        bits = batch.bits(self.seed, 10)
        if self.share is not None:
            share = _share(self.share, self.levels, bits)
            width = (batch.lengths.to(torch.float64) * share).to(torch.int64)
        else:
            width = torch.minimum(whole(bits, (self.bins or 0) + 1), batch.lengths)
        mask = masks(bits, width, batch.lengths, self.probability)
        return (AugmentationStep(MASK, mask, stride=math.prod(batch.sites), size=ANY_LENGTH),)


@dataclass(frozen=True)
class ChannelMask(CheckedAugmentation):
    """Drop the events of some adjacent channels (x) of each sample.

    The number of dropped channels is drawn uniformly from 0 to `channels`; then the first of them is drawn.

    Attributes
    ----------
    channels : int
        Largest number of channels; frames must have more channels than this.
    seed : int
        With another seed, other masks are drawn.
    probability : float
        Probability that a sample has a mask; from 0 to 1.
    """

    channels: int
    seed: int = 0
    probability: float = 1.0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        size = batch.sites[-1]
        refuse(
            self.channels >= size,
            f"a channel mask of up to {plural(self.channels, 'channel')} can remove all {plural(size, 'channel')} of a sample",
        )
        bits = batch.bits(self.seed, 11)
        sizes = torch.full_like(batch.lengths, size)
        mask = masks(bits, whole(bits, self.channels + 1), sizes, self.probability)
        return (AugmentationStep(MASK, mask, size=size),)


@dataclass(frozen=True)
class AreaMask(CheckedAugmentation):
    """Drop all events in a rectangle of the sensor. The sides of the rectangle are a share of the sensor's width and height.

    Sides are rounded down to whole pixels, and one pixel is added, as in the code of the EventDrop paper. With a share of 0, nothing is
    dropped. The centre of the rectangle is drawn uniformly for each sample. As in that code, a rectangle beyond the left or upper edge is moved to the edge, and
    a rectangle beyond the right or lower edge is cut there.

    Attributes
    ----------
    share : float
        Share of the width and of the height; from 0 to 1.
    levels : int
        Number of equally spaced shares, up to `share`, from which the share of each sample is drawn; with 1, it is always
        `share`. For example, 3 levels with the share 0.9 are 0.3, 0.6 and 0.9.
    seed : int
        With another seed, other rectangles are drawn.
    """

    share: float
    levels: int = 1
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        width, height = plane_of(self, batch.sites)
        level, *centres = several(batch.bits(self.seed, 22), 3)
        share = _share(self.share, self.levels, level)
        sides = []
        for size, centre in zip((width, height), centres, strict=True):
            side = size * share
            first = (size * uniform(centre) - side / 2).clamp(min=0).to(torch.int64)
            end = first + (side.to(torch.int64) + 1) * (share > 0)
            sides.append(mask_of(first, end.clamp(max=size) - first))
        return (AugmentationStep(BOX, torch.stack(sides), size=width, height=height),)


def _share(share: float, levels: int, bits: Tensor) -> Tensor:
    """Return a random share for each sample, float64, shape (batch,): one of ``share / levels``, ``2 * share / levels``, …, `share`."""
    return float(share) * (1 + whole(bits, levels)).to(torch.float64) / levels
