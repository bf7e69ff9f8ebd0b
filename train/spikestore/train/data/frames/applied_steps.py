"""Augmentation steps applied to the packed batch, in torch on any device; `augmented_frames` computes the same result in one loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.batch import SparseBatch, widen
from spikestore.train.data.frames.augmentation_steps import (
    BOX,
    DROP,
    JITTER,
    MASK,
    MIRROR,
    MIX_ALIGNED,
    MIX_EVENTS,
    MIX_MASK,
    MOVE,
    NOISE,
    ROLL,
    ROTATE,
    SHEAR,
    SHIFT,
    STRETCH,
    AugmentationStep,
    Mixture,
)
from spikestore.train.data.frames.mixtures import density, mixed_labels, share_of_events, soft_labels
from spikestore.train.data.frames.random_bits import STEP, below, event_is_below, mixed, whole

_31_BITS = 2**31 - 1


def applied(step: AugmentationStep, batch: SparseBatch) -> SparseBatch:
    """Return the batch after one step.

    Raises
    ------
    UsageError
        The step mixes labels, and ``batch.classes`` is None.
    """
    if step.mixture is not None:
        return _mixed_batch(step, step.mixture, batch)
    index, value, owner = _widened(batch)
    if step.kind == NOISE:
        return _with_noise(step, batch, index, value, owner)
    own, second = (step.drawn if step.drawn.ndim == 2 else step.drawn.expand(2, -1))[:, owner]
    kept, unique = None, batch.unique
    if step.kind == SHIFT:
        index = index + own
        kept = (index >= 0) & (index < _places(batch)[owner])
    elif step.kind == MIRROR:
        coordinate = index // step.stride % step.size
        index = torch.where(own > 0, index + (own - 1 - 2 * coordinate) * step.stride, index)
        unique = False  # places stay distinct, but must ascend for a coalesced tensor
    elif step.kind == MASK:
        kept = ~_is_in(own, index // step.stride % step.size)
    elif step.kind == MOVE:
        coordinate = index // step.stride % step.size + own
        kept = (coordinate >= 0) & (coordinate < step.size)
        index = index + own * step.stride
    elif step.kind == ROLL:
        coordinate = index // step.stride % step.size
        index = index + torch.where(coordinate + own < step.size, own, own - step.size) * step.stride
        unique = False
    elif step.kind == BOX:
        kept = ~(_is_in(own, index % step.size) & _is_in(second, index // step.size % step.height))
    elif step.kind == SHEAR:
        x, y = index % step.size, index // step.size % step.height
        new_x = x + (own * (2 * y - (step.height - 1)) + (1 << 16) >> 17)
        kept = (new_x >= 0) & (new_x < step.size)
        index, unique = index + new_x - x, False
    elif step.kind == STRETCH:
        bins = index // step.stride
        index, unique = index + ((bins * own >> 16) - bins) * step.stride, False
        kept = index < _places(batch)[owner]
    elif step.kind == ROTATE:
        width, height = step.size, step.height
        x, y = index % width, index // width % height
        far_x, far_y = 2 * x - (width - 1), 2 * y - (height - 1)
        new_x = own * far_x - second * far_y + (width << 16) >> 17
        new_y = second * far_x + own * far_y + (height << 16) >> 17
        kept = (new_x >= 0) & (new_x < width) & (new_y >= 0) & (new_y < height)
        index, unique = index + new_x - x + (new_y - y) * width, False
    else:
        bits = mixed((own ^ index) + STEP)
        if step.kind == JITTER:
            x = index % step.size
            moved = (x + whole(bits, 2 * second + 1) - second).clamp(0, step.size - 1)
            index, unique = index - x + moved, False
        elif step.kind == DROP:
            kept = ~below(bits, second)
        else:
            value = value - _lost(bits, value, second)
            kept = value > 0
    batch = replace(batch, index=index, value=value, unique=unique)
    return batch if kept is None else _kept(batch, owner, kept)


def centres_of(batch: SparseBatch) -> Tensor:
    """Return the centre of each sample's events, on the host; see `StepInput`."""
    index, value, owner = _widened(batch)
    width, height = batch.sites[-1], 1 if len(batch.sites) < 3 else batch.sites[-2]
    stride = int(np.prod(batch.sites, dtype=np.int64))
    parts = torch.stack([torch.ones_like(index), index // stride, index // width % height, index % width], 1)
    sums = torch.zeros((len(batch), 4), dtype=torch.int64, device=index.device)
    total, *means = sums.index_add_(0, owner, parts * value.to(torch.int64)[:, None]).cpu().unbind(1)
    return torch.stack([torch.where(total > 0, (one << 16) // total.clamp(min=1), -1) for one in means], 1)


def _widened(batch: SparseBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return index and value in wide dtypes, and the position of each non-zero's sample in the batch."""
    index, value = widen(batch.index), widen(batch.value)
    numbers = torch.arange(len(batch), device=index.device)
    return index, value, torch.repeat_interleave(numbers, batch.offsets.diff(), output_size=len(index))


def _places(batch: SparseBatch) -> Tensor:
    return batch.lengths * int(np.prod(batch.sites, dtype=np.int64))


def _is_in(mask: Tensor, coordinate: Tensor) -> Tensor:
    past = coordinate - (mask >> 31)
    return (past >= 0) & (past < mask & _31_BITS)


def _with_noise(
    step: AugmentationStep, batch: SparseBatch, index: Tensor, value: Tensor, owner: Tensor
) -> SparseBatch:
    places = _places(batch)
    events, bits = torch.where(places > 0, step.drawn[0], 0), step.drawn[1]
    noisy = torch.repeat_interleave(torch.arange(len(batch), device=index.device), events)
    event = torch.arange(len(noisy), device=index.device) - (torch.cumsum(events, 0) - events)[noisy]
    added = whole(mixed((bits[noisy] ^ event) + STEP), places[noisy])
    return _sorted(
        replace(batch, unique=False),
        torch.cat([index, added]),
        torch.cat([value, torch.ones_like(added).to(value.dtype)]),
        torch.cat([owner, noisy]),
    )


def _mixed_batch(step: AugmentationStep, mixture: Mixture, batch: SparseBatch) -> SparseBatch:
    index, value, owner = _widened(batch)
    counts, partner = batch.offsets.diff(), mixture.partner
    # Non-zeros of the partners, one sample after the other.
    taken = torch.where(partner < 0, 0, counts[partner.clamp(min=0)])
    into = torch.repeat_interleave(torch.arange(len(batch), device=index.device), taken)
    within = torch.arange(len(into), device=index.device) - (torch.cumsum(taken, 0) - taken)[into]
    source = batch.offsets[partner.clamp(min=0)][into] + within
    if step.kind != MIX_ALIGNED:
        fits = index[source] < _places(batch)[into]
        source, into = source[fits], into[fits]
    parts, totals = [], []
    for side, (at, amount, to) in enumerate(((index, value, owner), (index[source], value[source], into))):
        kept = amount
        if step.kind in (MIX_EVENTS, MIX_ALIGNED):
            lost = _lost(mixed((step.drawn[side][to] ^ at) + STEP), amount, torch.full_like(to, step.number))
            kept = lost if side else amount - lost
            if mixture.shift is not None:
                time, y, x = (mixture.shift[to] * (-1 if side else 1)).unbind(1)
                new_x, new_y = at % step.size + x, at // step.size % step.height + y
                at = at + time + y * step.size + x
                inside = (new_x >= 0) & (new_x < step.size) & (new_y >= 0) & (new_y < step.height)
                kept = torch.where(inside & (at >= 0) & (at < _places(batch)[to]), kept, 0)
        else:
            inside = _inside(step, mixture, at, to)
            kept = torch.where(inside == bool(side), amount, 0)
            total = torch.zeros(2 * len(batch), dtype=torch.float64, device=at.device)
            totals.append(total.index_add_(0, 2 * to + inside, amount.to(torch.float64)).view(-1, 2))
        parts.append((at, torch.where(partner[to] < 0, amount, kept), to))
    at, amount, to = (torch.cat(columns) for columns in zip(*parts, strict=True))
    some = amount > 0
    made = _sorted(replace(batch, unique=False), at[some], amount[some], to[some])
    share = mixture.share if mixture.region is None else share_of_events(torch.stack(totals, 1))
    if share is None:
        return made
    if batch.classes is None:
        raise UsageError(
            "labels of a batch without `classes` cannot be mixed: pass the augmentation to FeatureLoader"
        )
    labels = mixed_labels(soft_labels(batch.labels, batch.classes), partner, share)
    numbers = batch.class_numbers if batch.labels.is_floating_point() else batch.labels
    return replace(made, labels=labels, class_numbers=numbers)


def _inside(step: AugmentationStep, mixture: Mixture, at: Tensor, to: Tensor) -> Tensor:
    if step.kind == MIX_MASK:
        return _is_in(step.drawn[to], at // step.stride % step.size)
    x, y = at % step.size, at // step.size % step.height
    if mixture.region is None:
        return _is_in(step.drawn[0][to], x) & _is_in(step.drawn[1][to], y)
    region = mixture.region[to]
    return density(region, at // step.stride, y, x) > region[:, 0]


def _sorted(batch: SparseBatch, index: Tensor, value: Tensor, owner: Tensor) -> SparseBatch:
    """Return a batch with the given non-zeros, sorted by sample."""
    order = torch.argsort(owner, stable=True)
    ends = torch.cumsum(torch.bincount(owner, minlength=len(batch)), 0)
    offsets = torch.cat([torch.zeros_like(batch.offsets[:1]), ends])
    return replace(batch, index=index[order], value=value[order], offsets=offsets)


def _lost(bits: Tensor, value: Tensor, number: Tensor) -> Tensor:
    """Return how many events each non-zero loses. `bits`, `value` and `number` have an entry for each non-zero.

    An event is lost if its random bits are below the `number` of its non-zero; see `event_is_below`.
    """
    counts = value.to(torch.int64)
    cell = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    event = torch.arange(len(cell), device=counts.device) - (torch.cumsum(counts, 0) - counts)[cell]
    lost = event_is_below(bits[cell], event, number[cell])
    return torch.zeros_like(value).index_add_(0, cell, lost.to(value.dtype))


def _kept(batch: SparseBatch, owner: Tensor, kept: Tensor) -> SparseBatch:
    ends = torch.cumsum(torch.bincount(owner[kept], minlength=len(batch)), 0)
    offsets = torch.cat([torch.zeros_like(batch.offsets[:1]), ends])
    return replace(batch, index=batch.index[kept], value=batch.value[kept], offsets=offsets)
