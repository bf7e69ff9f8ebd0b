"""Sources of a loader, which return the samples of each batch in a given order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Protocol

import numpy as np
import torch

from spikestore.train.data.device_samples import DeviceSamples, TensorColumns
from spikestore.train.data.epoch_order import BatchOrder, RankShare
from spikestore.train.data.frames.sample_pointers import SamplePointers, host_pointers
from spikestore.train.data.packed import PackedColumns


class BatchSource(Protocol):
    """Protocol of a source of samples: it returns samples in any given order."""

    waiting: int
    """Number of additional threads that the source needs in the pool, for reads that block."""

    @property
    def nbytes(self) -> int:
        """Maximum size in bytes of the packed columns that are in memory at the same time."""

    def batches(
        self, order: BatchOrder, epoch: int, first: int, batch_size: int, pool: Executor
    ) -> Iterator[SamplePointers | DeviceSamples]:
        """Yield this rank's samples of each global batch of an epoch, from batch number `first` on."""


class WholeSet:
    """Batch source for a whole feature set in memory, on the host or on a GPU.

    Parameters
    ----------
    columns : PackedColumns
        The set.
    share : RankShare
        This process's share of each batch.
    device : torch.device, optional
        GPU to copy the columns to; None to keep them in host memory.
    """

    def __init__(self, columns: PackedColumns, *, share: RankShare, device: torch.device | None) -> None:
        self.waiting = 0
        self._share = share
        self._packed_rows = columns.rows
        self._tensors = None if device is None else TensorColumns(columns, device)
        self._host = columns if device is None else None

    @property
    def nbytes(self) -> int:
        """Size of the packed columns in bytes."""
        if self._tensors is not None:
            return self._tensors.nbytes
        return 0 if self._host is None else self._host.nbytes

    def batches(
        self, order: BatchOrder, epoch: int, first: int, batch_size: int, pool: Executor
    ) -> Iterator[SamplePointers | DeviceSamples]:
        """Yield this rank's samples of each global batch of an epoch, from batch number `first` on."""
        rows, edges = order.batches(epoch, first, batch_size, self._share)
        positions = np.searchsorted(self._packed_rows, rows)
        if self._tensors is not None:
            yield from self._tensors.batches(positions, edges)
        elif self._host is not None:
            for start, stop in itertools.pairwise(edges):
                yield host_pointers(self._host, positions[start:stop])
