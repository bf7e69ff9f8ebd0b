"""What a loader draws from: the samples of each batch of an epoch, in an order that is a pure function."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from spikestore.train.data.batch import SparseBatch, TensorColumns
from spikestore.train.data.epoch_order import epoch_order, share, weighted_order
from spikestore.train.data.frames.sample_pointers import Pieces, host_pieces
from spikestore.train.data.packed import PackedColumns


@dataclass(frozen=True)
class Place:
    """Which part of a job a loader serves.

    Attributes
    ----------
    rank, ranks : int
        Number of this process, and how many there are.
    """

    rank: int = 0
    ranks: int = 1


class Feed(Protocol):
    """Samples in order."""

    samples: int
    """Samples of an epoch, on all ranks together."""
    order_name: str
    """Tells orders apart: a position in one order means nothing in another."""
    waiting: int
    """Threads that it needs in the pool for reads that wait."""

    @property
    def nbytes(self) -> int:
        """Bytes of packed columns that are held at most."""

    def batches(
        self, epoch: int, first: int, batch_size: int, pool: Executor
    ) -> Iterator[Pieces | SparseBatch]:
        """Yield this rank's samples of each global batch of an epoch, from batch number `first` on."""


class WholeSet:
    """A set in memory, on the host or on a device, shuffled uniformly.

    Parameters
    ----------
    columns : PackedColumns
        The set.
    positions : int64 array, shape (samples,)
        Which samples of it.
    weights : float64 array, shape (samples,), optional
        Draw with replacement, in proportion to these.
    shuffle : bool
        Otherwise samples come as in `positions`.
    seed : int
        Of the order.
    place : Place
        Rank.
    device : torch.device, optional
        A GPU on which the columns live; None for host memory.
    """

    def __init__(
        self,
        columns: PackedColumns,
        positions: npt.NDArray[np.int64],
        weights: npt.NDArray[np.float64] | None,
        *,
        shuffle: bool,
        seed: int,
        place: Place,
        device: torch.device | None,
    ) -> None:
        self.samples = len(positions)
        self.waiting = 0
        self.order_name = "uniform" if shuffle else "rows"
        if weights is not None:
            self.order_name = f"weighted {hashlib.sha256(weights.astype('<f8').tobytes()).hexdigest()[:16]}"
        self._positions = positions
        self._weights = weights
        self._seed = seed
        self._place = place
        self._digest = columns.digest
        self._tensors = None if device is None else TensorColumns(columns, device)
        self._host = columns if device is None else None

    @property
    def nbytes(self) -> int:
        """Bytes of the packed columns."""
        if self._tensors is not None:
            return self._tensors.nbytes
        return 0 if self._host is None else self._host.nbytes

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the positions of an epoch in the packed set: int64, shape (samples,)."""
        seeds = {"seed": self._seed, "epoch": epoch}
        if self._weights is not None:
            return self._positions[weighted_order(self._weights, **seeds, digest=self._digest)]
        if self.order_name == "rows":
            return self._positions
        return self._positions[epoch_order(self.samples, **seeds, digest=self._digest)]

    def batches(
        self, epoch: int, first: int, batch_size: int, pool: Executor
    ) -> Iterator[Pieces | SparseBatch]:
        """Yield this rank's samples of each global batch of an epoch, from batch number `first` on."""
        order = self.order(epoch)
        for start in range(first * batch_size, self.samples, batch_size):
            mine = share(order[start : start + batch_size], self._place.rank, self._place.ranks)
            if self._tensors is not None:
                yield self._tensors.gather(torch.from_numpy(mine))
            elif self._host is not None:
                yield host_pieces(self._host, mine)
