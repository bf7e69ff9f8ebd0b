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
from spikestore.train.data.frames.random_bits import mask_of, redrawn, threshold, whole


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
    bins : int
        Largest number of bins.
    seed : int
        Another seed draws other masks.
    """

    bins: int
    seed: int = 0

    def check(self, sites: tuple[int, ...], longest: int) -> None:
        """Raise `UsageError` if the mask is longer than the longest sample of a set."""
        refuse(
            self.bins > longest,
            f"a time mask of up to {self.bins} bins is longer than the longest sample, which has {longest} bins",
        )

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        mask = _mask(batch.bits(self.seed, 10), self.bins, batch.lengths)
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
    """

    channels: int
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        width = batch.sites[-1]
        refuse(
            self.channels >= width,
            f"a channel mask of up to {self.channels} channels can empty whole samples, which have {width} channels",
        )
        mask = _mask(batch.bits(self.seed, 11), self.channels, torch.full_like(batch.lengths, width))
        return (AugmentationStep(MASK, mask, size=width),)


def _mask(bits: Tensor, most: int, size: Tensor) -> Tensor:
    width = torch.minimum(whole(bits, most + 1), size)
    return mask_of(whole(redrawn(bits), size - width + 1), width)
