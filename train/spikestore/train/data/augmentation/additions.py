"""Augmentations that add events: noise, and events of another sample of the batch.

The other sample, called the partner, is drawn from the batch. The draw depends on the seed, the epoch and the sample's
row. If several ranks share a global batch, each rank draws partners from its own part of the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from spikestore.train.data.augmentation.fields import CheckedAugmentation, plane_of, refuse
from spikestore.train.data.frames.augmentation_steps import (
    ANY_LENGTH,
    GAUSSIANS,
    MIX_ALIGNED,
    MIX_BOX,
    MIX_EVENTS,
    MIX_MASK,
    MIX_REGION,
    NOISE,
    AugmentationStep,
    Mixture,
    StepInput,
)
from spikestore.train.data.frames.mixtures import regions, shifts
from spikestore.train.data.frames.random_bits import cut_boxes, cut_times, event_threshold, partners, several


@dataclass(frozen=True)
class UniformNoise(CheckedAugmentation):
    """Add events to each sample at places that are drawn uniformly within its length.

    Attributes
    ----------
    events : int
        Number of events to add.
    seed : int
        With another seed, other places are drawn.
    """

    events: int
    seed: int = 0

    @property
    def needs_counts(self) -> bool:
        """True: noise adds events."""
        return True

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return a tuple of one step: how many events each sample gets, and the sample's random bits."""
        bits = batch.bits(self.seed, 15)
        return (AugmentationStep(NOISE, torch.stack([torch.full_like(bits, self.events), bits])),)


class _LabelMixture(CheckedAugmentation):
    """An augmentation that mixes samples, and also mixes their labels."""

    mixes: ClassVar[Literal["", "events", "labels"]] = "labels"
    other_class: bool

    def _partners(self, chance: Tensor, other: Tensor, probability: float, labels: Tensor) -> Tensor:
        same = labels if self.other_class else None
        return partners(chance, other, probability, same, other_class=self.other_class)

    @property
    def needs_counts(self) -> bool:
        """True: mixing drops negative values, and counts have none. `EventMix` also compares numbers of events."""
        return True

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Raise `UsageError` if the set lacks an axis that the augmentation needs, or has only one class: then there are no labels to mix."""
        name = type(self).__name__
        refuse(classes < 2, f"{name} mixes the labels of several classes, but the set has one class")
        super().check(sites, longest, classes)


@dataclass(frozen=True)
class CutMix(_LabelMixture):
    """Replace a part of each sample by the same part of another sample, and mix the labels.

    The share of the sample that is replaced is drawn uniformly from 0 to 1. The new label is (1 - share) times the
    sample's label plus share times the other sample's label; see `Batch`.

    Attributes
    ----------
    region : {"time", "xy"}
        ``time``: adjacent time bins. The number of bins is the share times the sample's length, rounded down. ``xy``: a
        rectangle with about this share of the sensor's area. Its centre is drawn uniformly, so a part of it may be outside of the
        sensor. The share in the label is the area of the part inside,
        divided by the sensor's area.
    probability : float
        Probability that a sample is mixed; from 0 to 1.
    seed : int
        With another seed, other parts and partners are drawn.
    other_class : bool
        True: the other sample is of another class. If the batch has no sample of another class, the sample is not mixed.
        False: the other sample may be of any class.
    """

    region: str = "time"
    probability: float = 1.0
    seed: int = 0
    other_class: bool = False

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        bits = several(batch.bits(self.seed, 16), 5)
        partner = self._partners(bits[0], bits[1], self.probability, batch.labels)
        if self.region == "time":
            mask, share = cut_times(bits[2:4], batch.lengths)
            stride = math.prod(batch.sites)
            mixture = Mixture(partner, share)
            return (AugmentationStep(MIX_MASK, mask, stride=stride, size=ANY_LENGTH, mixture=mixture),)
        width, height = plane_of(self, batch.sites)
        masks, share = cut_boxes(bits[2:], width, height)
        return (AugmentationStep(MIX_BOX, masks, size=width, height=height, mixture=Mixture(partner, share)),)


@dataclass(frozen=True)
class EventMix(_LabelMixture):
    """Replace each sample's events in a random region by another sample's events in this region, and mix the labels.

    For each sample, a mixture of 2 to 4 Gaussians over time, y and x is drawn. Then one place (time bin, y, x) of the
    sample is drawn. The region contains all places at which the density of the mixture is higher than at this place. The weight of the
    sample's own label is a / (a + b). Here, a is the share of the sample's own events that remain, and b is the share
    of the other sample's events that are taken.

    Attributes
    ----------
    probability : float
        Probability that a sample is mixed; from 0 to 1.
    seed : int
        With another seed, other regions and partners are drawn.
    other_class : bool
        True: the other sample is of another class. If the batch has no sample of another class, the sample is not mixed.
        False: the other sample may be of any class.
    """

    probability: float = 1.0
    seed: int = 0
    other_class: bool = False

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        drawn = several(batch.bits(self.seed, 17), 6 + 7 * GAUSSIANS)
        partner = self._partners(drawn[0], drawn[1], self.probability, batch.labels)
        height = 1 if len(batch.sites) < 3 else batch.sites[-2]
        region = regions(drawn[2:], batch.lengths, height, batch.sites[-1])
        stride = math.prod(batch.sites)
        return (
            AugmentationStep(
                MIX_REGION,
                torch.zeros_like(partner),
                stride=stride,
                size=batch.sites[-1],
                height=height,
                mixture=Mixture(partner, region=region),
            ),
        )


@dataclass(frozen=True)
class Blend(CheckedAugmentation):
    """Blend each sample with another sample of its class: each event of the two samples is kept or dropped independently.

    The label stays. A list can have at most one Blend. If a list has only augmentations of this package, `EventThinning` is
    applied first and Blend second, wherever they stand in the list, because these two compute an event's random numbers
    from its place. If another augmentation were applied earlier and moved counts from two places to one, both counts
    would get the same random numbers.

    Attributes
    ----------
    keep : float
        Probability that an own event is kept; an event of the other sample is kept with the probability 1 - keep.
    probability : float
        Probability that a sample is blended; from 0 to 1.
    seed : int
        With another seed, other events and partners are drawn.
    align : {"centre"}, optional
        Before the two samples are blended, they are moved to their common centre. Each sample moves by half of the
        distance between the mean places of the two samples' events, along time, x and y. Moves are whole bins and
        pixels, rounded towards 0. The mean places are computed before `EventThinning` drops events. Events that leave
        the sample are dropped. If one of the two samples has no events, neither sample is moved.
    """

    mixes: ClassVar[Literal["", "events", "labels"]] = "events"
    keep: float = 0.5
    probability: float = 1.0
    seed: int = 0
    align: str | None = None

    @property
    def counts_events(self) -> bool:
        """True: each event of a non-zero has random bits of its own."""
        return True

    @property
    def needs_centres(self) -> bool:
        """Whether the two samples are moved to their common centre before they are blended."""
        return self.align is not None

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return one step, with numbers drawn for each sample of the batch."""
        chance, other, *events = several(batch.bits(self.seed, 18), 4)
        partner = partners(chance, other, self.probability, batch.labels)
        drawn, number = torch.stack(events), event_threshold(1 - float(self.keep))
        # Without centres, a loader only checks the augmentation, without samples.
        if self.align is None or batch.centres is None:
            return (AugmentationStep(MIX_EVENTS, drawn, number, mixture=Mixture(partner)),)
        shift = shifts(batch.centres, partner, math.prod(batch.sites))
        height = 1 if len(batch.sites) < 3 else batch.sites[-2]
        mixture = Mixture(partner, shift=shift)
        return (
            AugmentationStep(
                MIX_ALIGNED, drawn, number, size=batch.sites[-1], height=height, mixture=mixture
            ),
        )
