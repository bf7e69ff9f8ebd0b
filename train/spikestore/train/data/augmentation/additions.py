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

from spikestore.train.data.augmentation.fields import ANY_LENGTH, CheckedAugmentation, plane_of, refuse
from spikestore.train.data.frames.augmentation_steps import (
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
from spikestore.train.data.frames.random_bits import below, mask_of, redrawn, threshold, uniform, whole


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

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        bits = batch.bits(self.seed, 15)
        return (AugmentationStep(NOISE, torch.stack([torch.full_like(bits, self.events), bits])),)


class _LabelMixture(CheckedAugmentation):
    """An augmentation that mixes samples of different classes, and their labels."""

    mixes: ClassVar[Literal["", "events", "labels"]] = "labels"

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
        partner, bits = _other_samples(batch.bits(self.seed, 16), self.probability)
        part, bits = uniform(bits), redrawn(bits)
        if self.region == "time":
            bins = (part * batch.lengths).to(torch.int64)
            mask = mask_of(whole(bits, (batch.lengths - bins).clamp(min=1)), bins)
            stride = math.prod(batch.sites)
            share = 1 - part
            return (
                AugmentationStep(
                    MIX_MASK, mask, stride=stride, size=ANY_LENGTH, mixture=Mixture(partner, share)
                ),
            )
        width, height = plane_of(self, batch.sites)
        masks, area = [], torch.ones_like(part)
        for size in (width, height):
            half = (size * torch.sqrt(part)).to(torch.int64) // 2
            centre, bits = whole(bits, size), redrawn(bits)
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
        partner, bits = _other_samples(batch.bits(self.seed, 17), self.probability)
        height = 1 if len(batch.sites) < 3 else batch.sites[-2]
        axes = (batch.lengths.clamp(min=1), height, batch.sites[-1])
        place = []
        for size in axes:
            place.append(whole(bits, size))
            bits = redrawn(bits)
        gaussians, bits = 2 + whole(bits, GAUSSIANS - 1), redrawn(bits)
        columns = [torch.zeros_like(uniform(bits))]
        for number in range(GAUSSIANS):
            columns.append(torch.where(gaussians > number, uniform(bits), 0))
            bits = redrawn(bits)
            inverses = []
            for size in axes:
                columns.append(whole(bits, size).to(torch.float64))
                bits = redrawn(bits)
                # Standard deviations are at least a twentieth and at most half of the axis.
                deviation = uniform(bits).clamp(min=0.1) * size * 0.5
                bits = redrawn(bits)
                inverses.append(0.5 / (deviation * deviation))
            columns += inverses
        region = torch.stack(columns, 1)
        region[:, 0] = density(region, *place)
        stride = math.prod(batch.sites)
        return (
            AugmentationStep(
                MIX_REGION,
                bits,
                stride=stride,
                size=batch.sites[-1],
                height=height,
                mixture=Mixture(partner, region=region),
            ),
        )


@dataclass(frozen=True)
class Blend(CheckedAugmentation):
    """Blend each sample with another sample of its class: each event of either is kept or dropped on its own.

    The label stays. It is applied before the other augmentations of a list except `EventThinning`, because these may move two
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
    counts_events: ClassVar[bool] = True
    keep: float = 0.5
    probability: float = 1.0
    seed: int = 0

    def steps(self, batch: StepInput) -> tuple[AugmentationStep, ...]:
        """Return the step for a batch."""
        partner, bits = _other_samples(batch.bits(self.seed, 18), self.probability, batch.labels)
        drawn = torch.stack([bits, redrawn(bits)])
        return (
            AugmentationStep(MIX_EVENTS, drawn, threshold(1 - float(self.keep)), mixture=Mixture(partner)),
        )


def _other_samples(bits: Tensor, probability: float, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the position of each sample's partner in the batch, -1 for none, and other random bits.

    Parameters
    ----------
    bits : int64 Tensor, shape (batch,)
        Random bits.
    probability : float
        Chance of a sample to have a partner.
    labels : int64 Tensor, shape (batch,), optional
        Partners have the same label; by default they are any other samples.
    """
    label = torch.zeros_like(bits) if labels is None else labels
    order = torch.argsort(label, stable=True)  # samples of one label, side by side
    position = torch.argsort(order)
    counts = torch.bincount(label)
    first, count = (torch.cumsum(counts, 0) - counts)[label], counts[label]
    chance, bits = below(bits, threshold(float(probability))), redrawn(bits)
    # One of the others: the number of places to go on, in a circle.
    step = 1 + whole(bits, (count - 1).clamp(min=1))
    partner = order[first + (position - first + step) % count]
    return torch.where(chance & (count > 1), partner, -1), redrawn(bits)
