"""Orders of samples in an epoch. An order depends only on seed, epoch and feature set.

Sample i gets the key ``mix(k + i·γ)``, and samples are sorted by key. ``mix`` and γ are those of SplitMix64 (`splitmix`); k is made
from a SHA-256 of seed, epoch and the set's digest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.arguments import whole_number
from spikestore.train.data.splitmix import random_keys

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RankShare:
    """Share of each global batch that a process takes. The shares of a batch differ by at most one sample.

    Attributes
    ----------
    rank, ranks : int
        Number of this process, and the number of processes.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, count: int) -> slice:
        """Return this process's slice of n = `count` items: for rank r of R, items r·n/R to (r + 1)·n/R (exclusive), rounded down."""
        return slice(count * self.rank // self.ranks, count * (self.rank + 1) // self.ranks)


def rank_share(rank: int, ranks: int) -> RankShare:
    """Return the share of each global batch that a process takes.

    Parameters
    ----------
    rank, ranks : int
        Number of the process, from 0, and number of processes.

    Raises
    ------
    UsageError
        A number is not a whole number, or `rank` is not from 0 to `ranks` - 1.
    """
    ranks, rank = whole_number("ranks", ranks, 1), whole_number("rank", rank, 0)
    if rank >= ranks:
        raise UsageError(f"rank must be from 0 to {ranks - 1} with ranks={ranks}, got {rank}")
    return RankShare(rank, ranks)


@dataclass(frozen=True, eq=False)
class EpochSamples:
    """Samples, seed and digest, which together with the epoch number determine an order.

    Attributes
    ----------
    rows : int64 array, shape (samples,)
        Numbers of the rows that are in use, ascending.
    seed : int
        Any integer; another seed results in other orders.
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
        """Return all rows, uniformly shuffled: see `epoch_order`."""
        return self.rows[epoch_order(len(self.rows), seed=self.seed, epoch=epoch, digest=self.digest)]

    def drawn(self, weights: npt.NDArray[np.float64], epoch: int) -> Rows:
        """Return rows drawn with replacement, in proportion to `weights`, as many as there are samples; see `weighted_order`."""
        return self.rows[weighted_order(weights, seed=self.seed, epoch=epoch, digest=self.digest)]


class BatchOrder(Protocol):
    """Protocol of an order: which rows each batch of an epoch has, and which of these rows each rank gets.

    The same arguments always give the same rows. The rows do not depend on where a loader keeps the set (its ``residence``), so
    every loader can yield every order.
    """

    name: str
    """Identifies the order: a position in one order is meaningless in another."""
    scattered: bool
    """Whether the rows of a batch may be anywhere in the set, so that batches do not share reads."""

    def batches(self, epoch: int, first: int, batch_size: int, share: RankShare) -> tuple[Rows, Rows]:
        """Return the rows that a rank gets in an epoch from batch number `first` on, and the start of each batch in these rows.

        Returns
        -------
        rows : int64 array, shape (samples of this rank,)
            Rows of the feature set.
        edges : int64 array, shape (batches + 1,)
            Start of each batch in `rows`, and the end of the last batch.
        """


class SlicedOrder:
    """Order in which rank r of R takes the r-th of R slices of each global batch.

    Parameters
    ----------
    name : str
        Identifies the order.
    rows_of : callable
        Called with the number of an epoch; returns all rows of this epoch in order: int64 array, shape (samples,).
    scattered : bool
        Whether samples that are neighbours in this order may be far apart in the set.
    """

    def __init__(self, name: str, rows_of: Callable[[int], Rows], *, scattered: bool) -> None:
        self.name = name
        self.scattered = scattered
        self._rows_of = rows_of

    def batches(self, epoch: int, first: int, batch_size: int, share: RankShare) -> tuple[Rows, Rows]:
        """Return the rows of a rank, and the start of each batch in these rows; see `BatchOrder.batches`."""
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
    return np.argsort(key).astype(
        np.int64
    )  # no two keys are equal, so any method of sorting gives this order


def weighted_order(
    weights: npt.NDArray[np.float64], *, seed: int, epoch: int, digest: str
) -> npt.NDArray[np.int64]:
    """Return sample numbers that are drawn with replacement, with probabilities proportional to the weights.

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
    # 53 bits, the precision of float64, so that a draw stays below the end.
    draws = (key >> np.uint64(11)) * 2.0**-53 * ends[-1]
    numbers = np.searchsorted(ends, draws, side="right")
    drawn: npt.NDArray[np.int64] = np.minimum(numbers, np.flatnonzero(weights)[-1]).astype(np.int64)
    return drawn
