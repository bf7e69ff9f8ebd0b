"""Random bits of augmentations, in torch: a hash (SplitMix64) of (seed, epoch, kind, row).

They depend on nothing else, so every device, thread and batch size gets the same ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Multipliers of SplitMix64's finaliser as signed numbers: torch's int64 wraps around like uint64.
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
STEP = 0x9E3779B97F4A7C15 - 2**64
_53_BITS = 2**53 - 1


def sample_bits(rows: Tensor, seed: int, epoch: int, kind: int) -> Tensor:
    """Return 64 random bits for each sample: a pure function of (seed, epoch, kind, row); int64, shape (batch,)."""
    key = 0
    for part in (int(seed) % 2**62, int(epoch), kind):  # Python's numbers do not overflow
        key = _mixed_number((key ^ part) + STEP)
    return mixed((rows ^ (key - 2**64 if key >= 2**63 else key)) + STEP)


def several(bits: Tensor, count: int) -> Tensor:
    """Return `count` times other random bits, made from random bits; int64, shape (count, batch)."""
    return mixed((bits ^ torch.arange(count, device=bits.device)[:, None]) + STEP)


def whole(bits: Tensor, count: int | Tensor) -> Tensor:
    """Return whole numbers from 0 to `count` - 1, uniformly distributed, made from random bits."""
    return _shifted(bits, 11) % count


def below(bits: Tensor, number: int) -> Tensor:
    """Return whether 53 random bits are below `number`: true with a probability of ``number / 2**53``."""
    return (bits >> 11) & _53_BITS < number


def uniform(bits: Tensor) -> Tensor:
    """Return float64 numbers from 0 to 1, without 1, uniformly distributed, made from random bits."""
    return (bits >> 11 & _53_BITS).to(torch.float64) * 2.0**-53


def threshold(probability: float) -> int:
    """Return the number below which 53 random bits are with this probability."""
    return int(probability * 2**53)


def redrawn(bits: Tensor) -> Tensor:
    """Return other random bits, made from random bits."""
    return mixed(bits + STEP)


def mixed(key: Tensor) -> Tensor:
    """Return keys with mixed bits, by the last step of SplitMix64."""
    key = (key ^ _shifted(key, 30)) * _FIRST
    key = (key ^ _shifted(key, 27)) * _SECOND
    return key ^ _shifted(key, 31)


def _mixed_number(key: int) -> int:
    """Return what `mixed` returns, for one number; from 0 to 2^64 - 1."""
    key %= 2**64
    key = (key ^ key >> 30) * _FIRST % 2**64
    key = (key ^ key >> 27) * _SECOND % 2**64
    return key ^ key >> 31


def _shifted(key: Tensor, bits: int) -> Tensor:
    """Return `key` shifted right, with zeros as the new high bits; torch's own shift repeats the sign bit."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def mask_of(start: Tensor, width: Tensor) -> Tensor:
    """Return masks from `start` on of `width` places, each as one number; int64, shape (batch,)."""
    return (start << 31) | width
