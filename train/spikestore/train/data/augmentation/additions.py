"""Augmentations that add events: noise, and events of another sample of the batch.

The other sample, the partner, is one of the global batch; if several ranks share the batch, one of the rank's own rows. It is
drawn by seed, epoch and row, from the other samples of the batch.
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
    MIX_BOX,
    MIX_EVENTS,
    MIX_MASK,
    MIX_REGION,
    NOISE,
    AugmentationStep,
    Mixture,
    StepInput,
)
from spikestore.train.data.frames.mixtures import density
from spikestore.train.data.frames.random_bits import below, mask_of, several, threshold, uniform, whole


@dataclass(frozen=True)
class UniformNoise(CheckedAugmentation):
    """Add events to each sample at places that are drawn uniformly within its length.

    Attributes
    ----------
    events : int
        Number of events to add.
    seed : int
        Another seed draws other places.
    """

    events: int
    seed: int = 0

    @property
    def needs_counts(self) -> bool:
        """True: it adds events."""
        return True

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        bits = batch.bits(self.seed, 15)
        return (AugmentationStep(NOISE, torch.stack([torch.full_like(bits, self.events), bits])),)


class _LabelMixture(CheckedAugmentation):
    """An augmentation that mixes samples of different classes, and their labels."""

    mixes: ClassVar[Literal["", "events", "labels"]] = "labels"

    @property
    def needs_counts(self) -> bool:
        """True: weights of labels are shares of events."""
        return True

    def check(self, sites: tuple[int, ...], longest: int, classes: int) -> None:
        """Raise `UsageError` if the set has one class, or has not the axes that the augmentation needs."""
        name = type(self).__name__
        refuse(classes < 2, f"{name} mixes the labels of several classes, but the set has one class")
        super().check(sites, longest, classes)


@dataclass(frozen=True)
class CutMix(_LabelMixture):
    """Replace a part of each sample by the same part of another sample, and mix the labels.

    The label is (1 - part) times the own label plus part times that of the other sample; see `Batch`. The part is drawn
    uniformly from 0 to 1.

    Attributes
    ----------
    region : {"time", "xy"}
        ``time``: adjacent time bins, as many as this part of the length, rounded down. ``xy``: a rectangle of the
        sensor, with a centre drawn anywhere and cut at the edges; the label then depends on the area after the cut.
    probability : float
        Chance of a sample to be mixed; from 0 to 1.
    seed : int
        Another seed draws other parts and partners.
    """

    region: str = "time"
    probability: float = 1.0
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        chance, other, part_bits, *place = several(batch.bits(self.seed, 16), 5)
        partner = _other_samples(chance, other, self.probability)
        part = uniform(part_bits)
        if self.region == "time":
            bins = (part * batch.lengths).to(torch.int64)
            mask = mask_of(whole(place[0], (batch.lengths - bins).clamp(min=1)), bins)
            stride = math.prod(batch.sites)
            share = 1 - part
            return (
                AugmentationStep(
                    MIX_MASK, mask, stride=stride, size=ANY_LENGTH, mixture=Mixture(partner, share)
                ),
            )
        width, height = plane_of(self, batch.sites)
        masks, area = [], torch.ones_like(part)
        for size, bits in zip((width, height), place, strict=True):
            half = (size * torch.sqrt(part)).to(torch.int64) // 2
            centre = whole(bits, size)
            first, end = (centre - half).clamp(min=0), (centre + half).clamp(max=size)
            masks.append(mask_of(first, end - first))
            area = area * (end - first)
        share = 1 - area / (width * height)
        drawn = torch.stack(masks)
        return (AugmentationStep(MIX_BOX, drawn, size=width, height=height, mixture=Mixture(partner, share)),)


@dataclass(frozen=True)
class EventMix(_LabelMixture):
    """Replace the events of a random region of each sample by those of another sample, and mix the labels by their events.

    The region is where a mixture of 2 to 4 Gaussians over time, y and x is above its density at a place that is drawn
    uniformly. The weight of the own label is a / (a + b), where a is the share of the own events that remain, and b the share of
    the events of the other sample that are taken.

    Attributes
    ----------
    probability : float
        Chance of a sample to be mixed; from 0 to 1.
    seed : int
        Another seed draws other regions and partners.
    """

    probability: float = 1.0
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        drawn = several(batch.bits(self.seed, 17), 6 + 7 * GAUSSIANS)
        chance, other, number = drawn[:3]
        partner = _other_samples(chance, other, self.probability)
        height = 1 if len(batch.sites) < 3 else batch.sites[-2]
        bins = batch.lengths.clamp(min=1)
        sizes = torch.stack([bins, torch.full_like(bins, height), torch.full_like(bins, batch.sites[-1])])
        place = whole(drawn[3:6], sizes)
        bits = drawn[6:].view(GAUSSIANS, 7, -1)
        gaussians = 2 + whole(number, GAUSSIANS - 1)
        exists = torch.arange(GAUSSIANS, device=bits.device)[:, None] < gaussians
        weights = torch.where(exists, uniform(bits[:, 0]), 0)[:, None]
        centres = whole(bits[:, 1:4], sizes).to(torch.float64)
        # Standard deviations are at least a twentieth and at most half of the axis.
        deviations = uniform(bits[:, 4:]).clamp(min=0.1) * sizes * 0.5
        parameters = torch.cat([weights, centres, 0.5 / (deviations * deviations)], 1).flatten(0, 1)
        region = torch.cat([torch.zeros_like(parameters[:1]), parameters]).T.contiguous()
        region[:, 0] = density(region, *place)
        stride = math.prod(batch.sites)
        return (
            AugmentationStep(
                MIX_REGION,
                torch.zeros_like(chance),
                stride=stride,
                size=batch.sites[-1],
                height=height,
                mixture=Mixture(partner, region=region),
            ),
        )


@dataclass(frozen=True)
class Blend(CheckedAugmentation):
    """Blend each sample with another sample of its class: each event of either is kept or dropped on its own.

    The label stays. Blend is applied before the other augmentations of a list except `EventThinning`, because the others may move two
    counts to one place. A list can have one Blend.

    Attributes
    ----------
    keep : float
        Chance of each own event to be kept; an event of the other sample is kept with the chance 1 - keep.
    probability : float
        Chance of a sample to be blended; from 0 to 1.
    seed : int
        Another seed draws other events and partners.
    """

    mixes: ClassVar[Literal["", "events", "labels"]] = "events"
    keep: float = 0.5
    probability: float = 1.0
    seed: int = 0

    @property
    def counts_events(self) -> bool:
        """True: each event of a count is drawn."""
        return True

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        chance, other, *events = several(batch.bits(self.seed, 18), 4)
        partner = _other_samples(chance, other, self.probability, batch.labels)
        drawn = torch.stack(events)
        return (
            AugmentationStep(MIX_EVENTS, drawn, threshold(1 - float(self.keep)), mixture=Mixture(partner)),
        )


def _other_samples(chance: Tensor, other: Tensor, probability: float, labels: Tensor | None = None) -> Tensor:
    """Return the position of each sample's partner in the batch; -1 for none.

    Parameters
    ----------
    chance, other : int64 Tensors, shape (batch,)
        Random bits, of whether there is a partner and of which one.
    probability : float
        Chance of a sample to have a partner.
    labels : int64 Tensor, shape (batch,), optional
        Partners have the same label; by default they are any other samples.
    """
    size = len(chance)
    if labels is None:
        position = torch.arange(size, device=chance.device)
        # One of the others: the number of places to go on, in a circle.
        partner = (position + 1 + whole(other, max(size - 1, 1))) % max(size, 1)
        mixed = below(chance, threshold(float(probability)))
        return torch.where(mixed, partner, -1) if size > 1 else torch.full_like(partner, -1)
    order = torch.argsort(labels, stable=True)  # samples of one label, side by side
    position = torch.argsort(order)
    counts = torch.bincount(labels)
    first, count = (torch.cumsum(counts, 0) - counts)[labels], counts[labels]
    step = 1 + whole(other, (count - 1).clamp(min=1))
    partner = order[first + (position - first + step) % count]
    mixed = below(chance, threshold(float(probability))) & (count > 1)
    return torch.where(mixed, partner, -1)
