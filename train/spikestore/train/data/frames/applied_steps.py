"""Effect of augmentation steps on the packed batch, in torch on any device; `augmented_frames` has the same in one loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spikestore.train.data.batch import SparseBatch, widen
from spikestore.train.data.frames.augmentation_steps import (
    DROP,
    JITTER,
    MASK,
    MIRROR,
    MOVE,
    SHIFT,
    AugmentationStep,
)
from spikestore.train.data.frames.random_bits import STEP, below, mixed, whole

_31_BITS = 2**31 - 1


def applied(step: AugmentationStep, batch: SparseBatch) -> SparseBatch:
    """Return the batch after one step."""
    index, value = widen(batch.index), widen(batch.value)
    numbers = torch.arange(len(batch), device=index.device)
    owner = torch.repeat_interleave(numbers, batch.offsets.diff(), output_size=len(index))
    own = step.drawn[owner]
    kept, unique = None, batch.unique
    if step.kind == SHIFT:
        index = index + own
        kept = (index >= 0) & (index < (batch.lengths * int(np.prod(batch.sites, dtype=np.int64)))[owner])
    elif step.kind == MIRROR:
        coordinate = index // step.stride % step.size
        index = torch.where(own > 0, index + (own - 1 - 2 * coordinate) * step.stride, index)
        unique = False  # places stay distinct, but must ascend for a coalesced tensor
    elif step.kind == MASK:
        past = index // step.stride % step.size - (own >> 31)
        kept = (past < 0) | (past >= own & _31_BITS)
    elif step.kind == MOVE:
        coordinate = index // step.stride % step.size + own
        kept = (coordinate >= 0) & (coordinate < step.size)
        index = index + own * step.stride
    else:
        bits = mixed((own ^ index) + STEP)
        if step.kind == JITTER:
            x = index % step.size
            moved = (x + whole(bits, 2 * step.number + 1) - step.number).clamp(0, step.size - 1)
            index, unique = index - x + moved, False
        elif step.kind == DROP:
            kept = ~below(bits, step.number)
        else:
            value = value - _lost(bits, value, step.number)
            kept = value > 0
    batch = replace(batch, index=index, value=value, unique=unique)
    return batch if kept is None else _kept(batch, owner, kept)


def _lost(bits: Tensor, value: Tensor, number: int) -> Tensor:
    """Return, for each non-zero, how many events of its count are lost."""
    counts = value.to(torch.int64)
    cell = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    event = torch.arange(len(cell), device=counts.device) - (torch.cumsum(counts, 0) - counts)[cell]
    lost = below(mixed((bits[cell] ^ event) + STEP), number)
    return torch.zeros_like(value).index_add_(0, cell, lost.to(value.dtype))


def _kept(batch: SparseBatch, owner: Tensor, kept: Tensor) -> SparseBatch:
    ends = torch.cumsum(torch.bincount(owner[kept], minlength=len(batch)), 0)
    offsets = torch.cat([torch.zeros_like(batch.offsets[:1]), ends])
    return replace(batch, index=batch.index[kept], value=batch.value[kept], offsets=offsets)
