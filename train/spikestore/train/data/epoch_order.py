"""The order of an epoch: a pure function of (seed, epoch, feature set).

Sample i gets the key ``mix(k + i·γ)``, with ``mix`` and γ of SplitMix64 (Steele, Lea, Flood: Fast Splittable
Pseudorandom Number Generators, OOPSLA 2014) and k from a SHA-256 of seed, epoch and digest; samples are sorted by
key. That is an exact uniform shuffle up to collisions of 64-bit keys, and it depends on no library's random
stream, which may change between versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_GAMMA = np.uint64(0x9E3779B97F4A7C15)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankShare:
    """Which share of every batch a process takes.

    Attributes
    ----------
    rank, ranks : int
        Number of this process, and how many there are.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> slice:
        """Return which of `count` things in a row are this process': those from r·n/R to (r + 1)·n/R."""
        return slice(count * self.rank // self.ranks, count * (self.rank + 1) // self.ranks)


@dataclass(frozen=True, eq=False)
class EpochSamples:
    """The samples of every epoch, and what shuffles them: with the epoch's number, all that an order depends on.

    Attributes
    ----------
    rows : int64 array, shape (samples,)
        Rows of the feature set that are used, ascending.
    seed : int
        Any integer; each gives other orders.
    digest : str
        Digest of the feature set.
    """

    rows: Rows
    seed: int
    digest: str

    def ascending(self, epoch: int) -> Rows:
        """Return all rows in the order of the set."""
        return self.rows

    def shuffled(self, epoch: int) -> Rows:
        """Return all rows in a uniform order: see `epoch_order`."""
        return self.rows[epoch_order(len(self.rows), seed=self.seed, epoch=epoch, digest=self.digest)]

    def drawn(self, weights: npt.NDArray[np.float64], epoch: int) -> Rows:
        """Return as many rows, drawn in proportion to `weights`, shape (samples,): see `weighted_order`."""
        return self.rows[weighted_order(weights, seed=self.seed, epoch=epoch, digest=self.digest)]


class BatchOrder(Protocol):
    """The rows of every batch of every epoch, and each rank's share of them: a pure function.

    Where the columns live does not enter, so that every residence can hand out every order.
    """

    name: str
    """Tells orders apart: a position in one order means nothing in another."""
    scattered: bool
    """Whether the rows of a batch lie anywhere in the set, so that reading ahead of the batches gains nothing."""

    def batches(self, epoch: int, first: int, batch_size: int, share: RankShare) -> tuple[Rows, Rows]:
        """Return the rows of a rank from global batch number `first` on, and the edges of its batches.

        Returns
        -------
        rows : int64 array, shape (samples of this rank,)
            Rows of the feature set.
        edges : int64 array, shape (batches + 1,)
            Where each batch begins in `rows`, and the end of the last one.
        """


class SlicedOrder:
    """An order in which rank r of R takes the r-th of R slices of each global batch.

    Parameters
    ----------
    name : str
        Tells orders apart.
    rows_of : callable
        Returns all rows of an epoch in order: int to int64 array, shape (samples,).
    scattered : bool
        Whether neighbours in this order lie anywhere in the set.
    """

    def __init__(self, name: str, rows_of: Callable[[int], Rows], *, scattered: bool) -> None:
        self.name = name
        self.scattered = scattered
        self._rows_of = rows_of

    def batches(self, epoch: int, first: int, batch_size: int, share: RankShare) -> tuple[Rows, Rows]:
        """Return the rows of a rank from global batch number `first` on, and the edges of its batches."""
        rows = self._rows_of(epoch)
        starts = range(first * batch_size, len(rows), batch_size)
        batches = [rows[start : start + batch_size] for start in starts]
        shares = [batch[share.of(len(batch))] for batch in batches]
        edges = np.cumsum([0, *map(len, shares)])
        return (np.concatenate(shares) if shares else rows[:0]), edges


def epoch_order(samples: int, *, seed: int, epoch: int, digest: str) -> npt.NDArray[np.int64]:
    """Return the shuffled order of an epoch.

    Parameters
    ----------
    samples : int
        Number of samples.
    seed, epoch, digest
        As in `EpochSamples`; `epoch` is any integer.

    Returns
    -------
    int64 array, shape (samples,)
        A permutation of 0 … samples - 1.
    """
    key = random_keys(np.arange(samples), f"{digest}:{seed}:{epoch}")
    return np.argsort(key, kind="stable").astype(np.int64)


def weighted_order(
    weights: npt.NDArray[np.float64], *, seed: int, epoch: int, digest: str
) -> npt.NDArray[np.int64]:
    """Return as many draws with replacement as there are samples, each with a chance proportional to its weight.

    Parameters
    ----------
    weights : float64 array, shape (samples,)
        Not negative, not all 0.
    seed, epoch, digest
        As in `EpochSamples`; `epoch` is any integer.

    Returns
    -------
    int64 array, shape (samples,)
        Numbers of samples.
    """
    key = random_keys(np.arange(len(weights)), f"weighted:{digest}:{seed}:{epoch}")
    ends = np.cumsum(weights)
    # 53 bits, as many as a float64 holds, so that the draw stays below the end.
    draws = (key >> np.uint64(11)) * 2.0**-53 * ends[-1]
    numbers = np.searchsorted(ends, draws, side="right")
    drawn: npt.NDArray[np.int64] = np.minimum(numbers, np.flatnonzero(weights)[-1]).astype(np.int64)
    return drawn


def random_keys(numbers: npt.NDArray[np.integer[Any]], text: str) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each number, a pure function of the number and `text`.

    Parameters
    ----------
    numbers : integer array, any shape
        Not negative.
    text : str
        Names the stream: every text gives other bits.
    """
    start = np.uint64(int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big"))
    with np.errstate(over="ignore"):  # arithmetic is modulo 2^64
        key: npt.NDArray[np.uint64] = start + numbers.astype(np.uint64) * _GAMMA
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key
