"""Augmentations as numbers (`AugmentationStep`), and their effect on the packed batch, in torch on any device.

Random numbers are a hash (SplitMix64) of (seed, epoch, kind, row) for a sample, and of this and the index for a non-zero.
They depend on nothing else, so every device, thread and batch size gets the same ones.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.train.data.batch import SparseBatch, widen

SHIFT, JITTER, DROP, MIRROR, THIN, MASK, MOVE = range(7)
"""Kinds of steps, see `AugmentationStep`."""

# Multipliers of SplitMix64's finaliser as signed numbers: torch's int64 wraps around like uint64.
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_STEP = 0x9E3779B97F4A7C15 - 2**64
_53_BITS = 2**53 - 1
_31_BITS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class AugmentationStep:
    """One augmentation of a batch, as numbers.

    A coordinate of an axis is ``index // stride % size``. The kinds are:

    - ``SHIFT``: add `drawn` to the index; drop what leaves the sample.
    - ``JITTER``: move each non-zero along x, of `size` places, by a whole number from -`number` to `number`; stop at the edge.
    - ``DROP``: drop a non-zero if 53 of its random bits are below `number`.
    - ``THIN``: the same for each event of a count.
    - ``MIRROR``: mirror the coordinate within `drawn` places; 0 changes nothing.
    - ``MASK``: drop non-zeros with a coordinate in the mask that `mask_of` made.
    - ``MOVE``: add `drawn` to the coordinate; drop what leaves the axis.

    Attributes
    ----------
    kind : int
        One of the above.
    drawn : int64 Tensor, shape (batch,)
        What each sample drew; with ``JITTER``, ``DROP`` and ``THIN``, its random bits.
    number : int
        Strength of the kinds that draw for each non-zero.
    stride, size : int
        The axis.
    """

    kind: int
    drawn: Tensor
    number: int = 0
    stride: int = 1
    size: int = 1


_Augmentation = TypeVar("_Augmentation")


class StepAugmentation(ABC):
    """An augmentation that is one `AugmentationStep`; on the CPU, a compiled loop applies it while it writes the frames."""

    counts_events: ClassVar[bool] = False
    """Whether the events of a count are drawn one by one, so that each place must have only one non-zero."""

    @abstractmethod
    def step(self, rows: Tensor, lengths: Tensor, sites: tuple[int, ...], epoch: int) -> AugmentationStep:
        """Return the step for a batch.

        Parameters
        ----------
        rows, lengths : int64 Tensors, shape (batch,)
            Rows in the feature set, and time bins.
        sites : tuple of int
            Sizes of the axes after time.
        epoch : int
            Epoch.
        """

    def check(self, sites: tuple[int, ...], longest: int) -> None:
        """Raise `UsageError` if the augmentation does not fit a set with these `sites` and a longest sample of `longest` bins."""
        self.step(torch.zeros(1, dtype=torch.int64), torch.tensor([longest]), sites, 0)

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the augmented batch."""
        return applied(self.step(batch.samples, batch.lengths, batch.sites, epoch), batch)


def in_order(augment: Sequence[_Augmentation]) -> tuple[_Augmentation, ...]:
    """Return augmentations in the order in which they are applied: those that count events before others.

    Others may move two non-zeros to one place, and the events of both would then have the same draws. Thinning before a
    move has the same distribution as after it. No augmentation changes sides with a callable of the user.
    """
    runs = itertools.groupby(augment, lambda one: isinstance(one, StepAugmentation))
    return tuple(
        one
        for have_steps, run in runs
        for one in (sorted(run, key=lambda step: not step.counts_events) if have_steps else run)  # type: ignore[attr-defined]
    )


def columns_of_steps(
    steps: Sequence[AugmentationStep],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (kind, number or stride, size) of steps, shape (steps, 3), and what samples drew, shape (steps, batch)."""
    per_event = (JITTER, DROP, THIN)
    numbers = [(one.kind, one.number if one.kind in per_event else one.stride, one.size) for one in steps]
    return np.array(numbers, np.int64), np.stack([one.drawn.numpy() for one in steps])


def mask_of(start: Tensor, width: Tensor) -> Tensor:
    """Return masks from `start` on of `width` places, each as one number; int64, shape (batch,)."""
    return (start << 31) | width


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
        bits = _mixed((own ^ index) + _STEP)
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
    lost = below(_mixed((bits[cell] ^ event) + _STEP), number)
    return torch.zeros_like(value).index_add_(0, cell, lost.to(value.dtype))


def _kept(batch: SparseBatch, owner: Tensor, kept: Tensor) -> SparseBatch:
    ends = torch.cumsum(torch.bincount(owner[kept], minlength=len(batch)), 0)
    offsets = torch.cat([torch.zeros_like(batch.offsets[:1]), ends])
    return replace(batch, index=batch.index[kept], value=batch.value[kept], offsets=offsets)


def sample_bits(rows: Tensor, seed: int, epoch: int, kind: int) -> Tensor:
    """Return 64 random bits for each sample: a pure function of (seed, epoch, kind, row); int64, shape (batch,)."""
    start = torch.tensor([seed % 2**62, epoch, kind], device=rows.device)
    key = torch.zeros_like(rows)
    for part in (*start, rows):
        key = _mixed((key ^ part) + _STEP)
    return key


def whole(bits: Tensor, count: int | Tensor) -> Tensor:
    """Return whole numbers from 0 to `count` - 1, uniformly distributed, made from random bits."""
    return _shifted(bits, 11) % count


def below(bits: Tensor, number: int) -> Tensor:
    """Return whether 53 random bits are below `number`: true with a probability of ``number / 2**53``."""
    return (bits >> 11) & _53_BITS < number


def threshold(probability: float) -> int:
    """Return the number below which 53 random bits are with this probability."""
    return int(probability * 2**53)


def redrawn(bits: Tensor) -> Tensor:
    """Return other random bits, made from random bits."""
    return _mixed(bits + _STEP)


def _mixed(key: Tensor) -> Tensor:
    """Return keys with mixed bits, by the last step of SplitMix64."""
    key = (key ^ _shifted(key, 30)) * _FIRST
    key = (key ^ _shifted(key, 27)) * _SECOND
    return key ^ _shifted(key, 31)


def _shifted(key: Tensor, bits: int) -> Tensor:
    """Return `key` shifted right, with zeros as the new high bits; torch's own shift repeats the sign bit."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)
