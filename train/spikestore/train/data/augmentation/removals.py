"""Augmentations that drop events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from spikestore.train.data.augmentation.fields import (
    ANY_LENGTH,
    ChanceAugmentation,
    CheckedAugmentation,
    refuse,
)
from spikestore.train.data.frames.augmentation_steps import (
    DROP,
    MASK,
    THIN,
    AugmentationStep,
    StepInput,
)
from spikestore.train.data.frames.random_bits import below, mask_of, redrawn, threshold, whole


@dataclass(frozen=True)
class EventDrop(ChanceAugmentation):
    """Drop each non-zero with the given probability: all events of a count together. `EventThinning` drops single events."""

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        return (AugmentationStep(DROP, batch.bits(self.seed, 3), threshold(float(self.probability))),)


@dataclass(frozen=True)
class EventThinning(ChanceAugmentation):
    """Drop each event with the given probability, independently of the others: a count of 3 is three events.

    It is applied before the other augmentations of a list, because these may move two counts to one place.
    """

    counts_events: ClassVar[bool] = True

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        return (AugmentationStep(THIN, batch.bits(self.seed, 5), threshold(float(self.probability))),)


@dataclass(frozen=True)
class TimeMask(CheckedAugmentation):
    """Empty adjacent time bins of each sample: their number is drawn uniformly from 0 to bins, then their first bin.

    Of a sample with fewer bins, at most all are emptied.

    Attributes
    ----------
    bins : int, optional
        Largest number of bins.
    seed : int
        Another seed draws other masks.
    probability : float
        Chance of a sample to have a mask; from 0 to 1.
    share : float, optional
        Instead of `bins`: each mask has this share of the sample's time bins, rounded down.
    """

    bins: int | None = None
    seed: int = 0
    probability: float = 1.0
    share: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse((self.bins is None) == (self.share is None), "a time mask needs either bins or share")

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Raise `UsageError` if the mask is longer than the longest sample of a set."""
        refuse(
            self.bins is not None and self.bins > longest,
            f"a time mask of up to {self.bins} bins is longer than the longest sample, which has {longest} bins",
        )

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        bits = batch.bits(self.seed, 10)
        if self.share is not None:
            width = (batch.lengths.to(torch.float64) * float(self.share)).to(torch.int64)
        else:
            width = torch.minimum(whole(bits, (self.bins or 0) + 1), batch.lengths)
        mask = _mask(bits, width, batch.lengths, self.probability)
        return (AugmentationStep(MASK, mask, stride=math.prod(batch.sites), size=ANY_LENGTH),)


@dataclass(frozen=True)
class ChannelMask(CheckedAugmentation):
    """Empty adjacent channels of each sample, along x: their number is drawn uniformly from 0 to channels, then their first.

    Attributes
    ----------
    channels : int
        Largest number of channels; frames must have more than that.
    seed : int
        Another seed draws other masks.
    probability : float
        Chance of a sample to have a mask; from 0 to 1.
    """

    channels: int
    seed: int = 0
    probability: float = 1.0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        size = batch.sites[-1]
        refuse(
            self.channels >= size,
            f"a channel mask of up to {self.channels} channels can empty whole samples, which have {size} channels",
        )
        bits = batch.bits(self.seed, 11)
        sizes = torch.full_like(batch.lengths, size)
        mask = _mask(bits, whole(bits, self.channels + 1), sizes, self.probability)
        return (AugmentationStep(MASK, mask, size=size),)


def _mask(bits: Tensor, width: Tensor, size: Tensor, probability: float) -> Tensor:
    start = redrawn(bits)
    masked = below(redrawn(start), threshold(float(probability)))
    return mask_of(whole(start, size - width + 1), width * masked)
