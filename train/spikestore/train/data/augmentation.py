"""Augmentations for training. They change the packed batch on its device; random numbers depend on sample and epoch.

Each class is a callable from (SparseBatch, epoch) to SparseBatch, for the loader's ``augment``. Random numbers of a
sample depend only on the seed, the epoch and the sample's row: not on its position in a batch, the batch size, ranks,
threads or the device. So a run that resumes within an epoch gets the same samples.

An event that is shifted out of its sample's frames is dropped; events that jitter to the same place add up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.batch import SparseBatch, widen

# Multipliers of SplitMix64's finaliser as signed numbers: torch's int64 wraps around like uint64.
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_STEP = 0x9E3779B97F4A7C15 - 2**64


@dataclass(frozen=True)
class TimeShift:
    """Shift each sample by a whole number of time bins, drawn uniformly from -bins to bins.

    Attributes
    ----------
    bins : int
        Largest shift.
    seed : int
        Another seed draws other shifts.
    """

    bins: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("bins", self.bins, least=0)
        _check_whole("seed", self.seed)

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the shifted batch."""
        shift = _whole(_sample_bits(batch, self.seed, epoch, 1), 2 * self.bins + 1) - self.bins
        owner, sites = _owner(batch), _site_count(batch)
        index = widen(batch.index) + (shift * sites)[owner]
        inside = (index >= 0) & (index < (batch.lengths * sites)[owner])
        return _kept(replace(batch, index=index, value=widen(batch.value)), owner, inside)


@dataclass(frozen=True)
class ChannelJitter:
    """Move each event along x by a whole number of channels, drawn uniformly from -channels to channels.

    Events stop at the edge of the sensor. All events of a count move together.

    Attributes
    ----------
    channels : int
        Largest move.
    seed : int
        Another seed draws other moves.
    """

    channels: int
    seed: int = 0

    def __post_init__(self) -> None:
        _check_whole("channels", self.channels, least=0)
        _check_whole("seed", self.seed)

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the jittered batch."""
        index, width = widen(batch.index), batch.sites[-1]
        bits = _event_bits(batch, _owner(batch), index, self.seed, epoch, 2)
        x = index % width
        moved = (x + _whole(bits, 2 * self.channels + 1) - self.channels).clamp(0, width - 1)
        return replace(batch, index=index - x + moved, value=widen(batch.value), unique=False)


@dataclass(frozen=True)
class EventDrop:
    """Drop each non-zero with the given probability.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    seed : int
        Another seed drops other non-zeros.
    """

    probability: float
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the batch without the dropped non-zeros."""
        owner, index = _owner(batch), widen(batch.index)
        bits = _event_bits(batch, owner, index, self.seed, epoch, 3)
        kept = (bits >> 11) & (2**53 - 1) >= int(self.probability * 2**53)
        return _kept(replace(batch, index=index, value=widen(batch.value)), owner, kept)


@dataclass(frozen=True)
class SpatialFlip:
    """Mirror each sample along x or y with the given probability.

    Attributes
    ----------
    probability : float
        From 0 to 1.
    axis : {"x", "y"}
        Axis to flip; "y" needs a sensor with y.
    seed : int
        Another seed flips other samples.
    """

    probability: float = 0.5
    axis: str = "x"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        _check_whole("seed", self.seed)
        _refuse(self.axis not in ("x", "y"), f"axis must be 'x' or 'y', got {self.axis!r}")

    def __call__(self, batch: SparseBatch, epoch: int) -> SparseBatch:
        """Return the batch with some samples mirrored."""
        _refuse(self.axis == "y" and len(batch.sites) < 3, "axis is 'y', but the frames have no y")
        bits = _sample_bits(batch, self.seed, epoch, 4)
        flipped = ((bits >> 11) & (2**53 - 1) < int(self.probability * 2**53))[_owner(batch)]
        index, width = widen(batch.index), batch.sites[-1]
        step, size = (1, width) if self.axis == "x" else (width, batch.sites[-2])
        coordinate = index // step % size
        mirrored = index + (size - 1 - 2 * coordinate) * step
        # Places stay distinct but must ascend for a coalesced tensor.
        return replace(
            batch, index=torch.where(flipped, mirrored, index), value=widen(batch.value), unique=False
        )


def _check_whole(name: str, number: object, least: int | None = None) -> None:
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    _refuse(
        not whole or (least is not None and not least <= number < 2**31),  # type: ignore[operator]
        f"{name} must be a whole number{'' if least is None else f' from {least} on'}, got {number!r}",
    )


def _check_probability(number: object) -> None:
    real = isinstance(number, int | float | np.floating) and not isinstance(number, bool)
    _refuse(
        not real or not 0 <= number <= 1,  # type: ignore[operator]
        f"probability must be a number from 0 to 1, got {number!r}",
    )


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise UsageError(message)


def _site_count(batch: SparseBatch) -> int:
    return int(np.prod(batch.sites, dtype=np.int64))


def _owner(batch: SparseBatch) -> Tensor:
    """Return, for each non-zero, the position of its sample in the batch."""
    numbers = torch.arange(len(batch), device=batch.index.device)
    return torch.repeat_interleave(numbers, batch.offsets.diff(), output_size=len(batch.index))


def _kept(batch: SparseBatch, owner: Tensor, kept: Tensor) -> SparseBatch:
    ends = torch.cumsum(torch.bincount(owner[kept], minlength=len(batch)), 0)
    offsets = torch.cat([torch.zeros_like(batch.offsets[:1]), ends])
    return replace(batch, index=batch.index[kept], value=batch.value[kept], offsets=offsets)


def _mixed(key: Tensor) -> Tensor:
    """Return keys with mixed bits, by the last step of SplitMix64."""
    key = (key ^ _shifted(key, 30)) * _FIRST
    key = (key ^ _shifted(key, 27)) * _SECOND
    return key ^ _shifted(key, 31)


def _shifted(key: Tensor, bits: int) -> Tensor:
    """Return `key` shifted right, with zeros as the new high bits; torch's own shift repeats the sign bit."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def _sample_bits(batch: SparseBatch, seed: int, epoch: int, kind: int) -> Tensor:
    """Return 64 random bits for each sample: a pure function of (seed, epoch, kind, row)."""
    start = torch.tensor([seed % 2**62, epoch, kind], device=batch.samples.device)
    key = torch.zeros_like(batch.samples)
    for part in (*start, batch.samples):
        key = _mixed((key ^ part) + _STEP)
    return key


def _event_bits(batch: SparseBatch, owner: Tensor, index: Tensor, seed: int, epoch: int, kind: int) -> Tensor:
    """Return 64 random bits for each non-zero: a pure function of the random bits of its sample and its index."""
    return _mixed((_sample_bits(batch, seed, epoch, kind)[owner] ^ index) + _STEP)


def _whole(bits: Tensor, below: int) -> Tensor:
    """Return whole numbers from 0 to `below` - 1, uniformly distributed, made from random bits."""
    return _shifted(bits, 11) % below
