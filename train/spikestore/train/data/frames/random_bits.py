"""Random bits of augmentations, made by a hash (SplitMix64).

The bits of a sample are a hash of (seed, epoch, kind, row), where each augmentation has a number `kind` of its own. The bits
depend on nothing else, so they are the same for every device, thread and batch size. They are computed on the host.

The bits of a non-zero are made from its index and the bits of its sample, on the device that holds the non-zeros. Therefore
`whole`, `below`, `mixed`, `event_is_below` and `mask_of` accept tensors on any device. All other functions accept tensors on
the host only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.train.data import splitmix
from spikestore.train.data.frames import draw_kernels as kernels

# As signed numbers: torch's int64 wraps around like uint64.
_FIRST, _SECOND = (number - 2**64 for number in splitmix.MULTIPLIERS)
STEP = splitmix.STEP - 2**64


def sample_bits(rows: Tensor, seed: int, epoch: int, kind: int) -> Tensor:
    """Return 64 random bits for each sample: int64, shape (batch,). They depend only on (seed, epoch, kind, row)."""
    key = 0
    for part in (int(seed) % 2**62, int(epoch), kind):  # Python's numbers do not overflow
        key = _mixed_number((key ^ part) + STEP)
    return _redrawn(rows, key - 2**64 if key >= 2**63 else key, 1)[0]


def several(bits: Tensor, count: int) -> Tensor:
    """Return `count` rows of new random bits, made from `bits`; int64, shape (count, batch)."""
    return _redrawn(bits, 0, count)


def redrawn(bits: Tensor) -> Tensor:
    """Return new random bits, made from `bits`; int64, shape (batch,)."""
    return _redrawn(bits, 0, 1)[0]


def whole(bits: Tensor, count: int | Tensor) -> Tensor:
    """Return whole numbers from 0 to `count` - 1, uniformly distributed, made from random bits.

    `count` is a number, or has the shape of the last axes of `bits`.
    """
    if not is_on_cpu(bits):
        return _shifted(bits, 11) % count
    return _filled(kernels.whole_numbers, bits, np.dtype(np.int64), _array(count))


def below(bits: Tensor, number: int | Tensor) -> Tensor:
    """Return a bool for each of `bits`, true with a probability of ``number / 2**53``. The upper 53 bits are compared with `number`."""
    if not is_on_cpu(bits):
        return _shifted(bits, 11) < number
    return _filled(kernels.are_below, bits, np.dtype(bool), _array(number))


def uniform(bits: Tensor) -> Tensor:
    """Return float64 numbers of at least 0 and below 1, uniformly distributed, made from random bits on the host."""
    return _filled(kernels.uniform_numbers, bits, np.dtype(np.float64))


def threshold(probability: float) -> int:
    """Return the whole number t such that 53 random bits, read as a number, are below t with this probability."""
    return int(probability * 2**53)


def event_threshold(probability: float) -> int:
    """Return the whole number t for which an event's random bits are below t with the given probability; see `events_below`."""
    return int(probability * 2**kernels.EVENT_BITS)


def event_is_below(bits: Tensor, event: Tensor, number: Tensor) -> Tensor:
    """Return whether the random bits of each event are below `number`.

    A non-zero is a cell of a frame with one or more events. One number of 64 bits is drawn for each non-zero, and the random bits of its events follow from
    this number.

    Parameters
    ----------
    bits : int64 Tensor
        For each event, the number drawn for its non-zero.
    event : int64 Tensor, of the same shape
        For each event, its position among the events of its non-zero, from 0 on.
    number : int64 Tensor, of the same shape
        What `event_threshold` returns.
    """
    turn = event // kernels.EVENTS_OF_BITS
    bits = torch.where(turn == 0, bits, mixed((bits ^ turn) + STEP))
    shift = 64 - kernels.EVENT_BITS * (1 + event % kernels.EVENTS_OF_BITS)
    below: Tensor = ((bits >> shift) & (2**kernels.EVENT_BITS - 1)) < number
    return below


def mixed(key: Tensor) -> Tensor:
    """Return a hash of each key: the last step of SplitMix64, in which each bit depends on all bits of the key."""
    key = (key ^ _shifted(key, 30)) * _FIRST
    key = (key ^ _shifted(key, 27)) * _SECOND
    return key ^ _shifted(key, 31)


def _mixed_number(key: int) -> int:
    """Return the same hash as `mixed` for one Python integer, as an integer from 0 to 2^64 - 1."""
    key %= 2**64
    key = (key ^ key >> 30) * _FIRST % 2**64
    key = (key ^ key >> 27) * _SECOND % 2**64
    return key ^ key >> 31


def _shifted(key: Tensor, bits: int) -> Tensor:
    """Return `key` shifted right, with zeros as the new high bits; torch's own shift repeats the sign bit."""
    return (key >> bits) & ((1 << (64 - bits)) - 1)


def mask_of(start: Tensor, width: Tensor) -> Tensor:
    """Return one mask for each sample, as the number ``start * 2**31 + width``: `width` adjacent time bins or sites from `start` on; int64, shape (batch,)."""
    return (start << 31) | width


def masks(bits: Tensor, width: Tensor, size: Tensor, probability: float) -> Tensor:
    """Return a random mask for each sample: `width` adjacent places out of `size`. The mask is empty with the probability 1 - `probability`."""
    return _filled(
        kernels.draw_masks, bits, np.dtype(np.int64), width.numpy(), size.numpy(), threshold(probability)
    )


def cut_times(bits: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return masks of time bins to cut, and the share of each sample's time that stays; see `draw_cut_times`."""
    masks, shares = np.empty(len(lengths), np.int64), np.empty(len(lengths))
    kernels.draw_cut_times(bits.numpy(), lengths.numpy(), masks, shares)
    return torch.from_numpy(masks), torch.from_numpy(shares)


def cut_boxes(bits: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return masks of x and y to cut, and the share of the area that stays; see `draw_cut_boxes`."""
    masks, shares = np.empty((2, bits.shape[1]), np.int64), np.empty(bits.shape[1])
    kernels.draw_cut_boxes(bits.numpy(), np.array([width, height]), masks, shares)
    return torch.from_numpy(masks), torch.from_numpy(shares)


def partners(
    chance: Tensor,
    other: Tensor,
    probability: float,
    labels: Tensor | None = None,
    *,
    other_class: bool = False,
) -> Tensor:
    """Return the position of each sample's partner in the batch; -1 for a sample without a partner.

    Parameters
    ----------
    chance, other : int64 Tensors, shape (batch,)
        Random bits: `chance` decides whether a sample has a partner, and `other` decides which sample is the partner.
    probability : float
        Probability that a sample has a partner, if the batch has a sample that can be the partner.
    labels : int64 Tensor, shape (batch,), optional
        If given, partners have the same label; by default, any other sample may be the partner.
    other_class : bool
        If true, partners have another label instead; this needs `labels`.
    """
    same = torch.zeros_like(chance) if labels is None else labels
    more = (other.numpy(), same.numpy(), other_class, threshold(probability))
    return _filled(kernels.draw_partners, chance, np.dtype(np.int64), *more)


def _redrawn(bits: Tensor, first: int, count: int) -> Tensor:
    """Return `count` rows of new random bits: row i is made from `bits` and the number `first` + i; int64, shape (count, batch)."""
    out = np.empty((count, len(bits)), np.int64)
    kernels.redraw(bits.numpy(), first, out)
    return torch.from_numpy(out)


def _filled(kernel: Callable[..., None], bits: Tensor, dtype: np.dtype[Any], *more: Any) -> Tensor:
    out = np.empty(bits.shape, dtype)
    kernel(bits.numpy().ravel(), *more, out.reshape(-1))
    return torch.from_numpy(out)


def _array(number: int | Tensor) -> npt.NDArray[np.int64]:
    return number.numpy().ravel() if isinstance(number, Tensor) else np.array([number])


def is_on_cpu(tensor: Tensor) -> bool:
    """Return whether a tensor is on the CPU, so that compiled loops can process it."""
    return tensor.is_cpu
