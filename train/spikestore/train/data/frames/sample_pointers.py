"""Pointers to the samples of a batch in host memory, and conversion of these samples to one batch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spikestore.store_schemas.errors import DamagedError
from spikestore.train.data.batch import SparseBatch, padded_bins, signed_view
from spikestore.train.data.frames.augmentation_steps import AugmentationStep, columns_of_steps
from spikestore.train.data.frames.augmented_frames import fill_augmented_frames
from spikestore.train.data.frames.frame_kernels import fill_frames, find_centres, gather
from spikestore.train.data.frames.parallel_for import ParallelFor
from spikestore.train.data.packed import PackedColumns

_Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SamplePointers:
    """Addresses of the samples of a batch. Each sample is a slice of packed columns in host memory.

    Attributes
    ----------
    index_at, value_at : int64 arrays, shape (batch,)
        Addresses of each sample's first index and value.
    counts, lengths, labels, samples : int64 arrays, shape (batch,)
        Non-zeros, time bins, class numbers, rows in the feature set.
    room : int64 array, shape (batch,)
        Number of elements from a sample's first non-zero to the end of the arrays that contain the sample.
    like : tuple of two arrays
        Two arrays whose dtypes are those of index and value; their content is not used.
    sites : tuple of int
        Sizes of the axes after time.
    owners : tuple
        Objects that keep the memory alive.
    """

    index_at: _Int64s
    value_at: _Int64s
    counts: _Int64s
    lengths: _Int64s
    labels: _Int64s
    samples: _Int64s
    room: _Int64s
    like: tuple[npt.NDArray[Any], npt.NDArray[Any]]
    sites: tuple[int, ...]
    owners: tuple[object, ...]

    def __len__(self) -> int:
        return len(self.counts)

    @functools.cached_property
    def longest(self) -> int:
        """Number of time bins of the longest sample."""
        return int(self.lengths.max(initial=0))

    @property
    def _addresses(self) -> tuple[_Int64s, _Int64s, _Int64s, _Int64s]:
        # A part of the work must refer to this object: it may still run when its batch has been dropped, and needs the owners.
        return self.index_at, self.value_at, self.counts, self.room

    def bins(self, pad_to: int | None = None) -> int:
        """Return the number of time bins of the batch: `pad_to`, or if `pad_to` is None, the time bins of the longest sample.

        Raises
        ------
        UsageError
            A sample is longer than `pad_to`.
        """
        return padded_bins(self.longest, pad_to, self.lengths, self.samples)

    def fill(
        self, frames: npt.NDArray[np.float32], parallel: ParallelFor, steps: Sequence[AugmentationStep] = ()
    ) -> npt.NDArray[np.float64]:
        """Write the dense frames of all samples, after `steps`, to `frames`, shape (batch, places), including zeros.

        Returns
        -------
        float64 array, shape (mixing steps, batch, 2, 2)
            Four numbers of events for each sample of the batch and each step that mixes samples by regions: events of the sample or
            its partner (axis 2), outside or inside the region (axis 3). 0 for other steps that mix.

        Raises
        ------
        DamagedError
            A sample has a non-zero outside of its frames.
        """
        return self.begin_fill(frames, parallel, steps)()

    def begin_fill(
        self, frames: npt.NDArray[np.float32], parallel: ParallelFor, steps: Sequence[AugmentationStep] = ()
    ) -> Callable[[], npt.NDArray[np.float64]]:
        """Begin to write the dense frames, and return a function. This function waits until the frames are written; its result and errors are those of `fill`."""
        places = self.lengths * math.prod(self.sites)
        columns = columns_of_steps(steps) if steps else None

        def part(first: int, last: int) -> int:
            own = (*self._addresses, places, *self.like)
            if columns is None:
                return fill_frames(*own, frames, first, last)
            return fill_augmented_frames(*own, *columns, frames, first, last)

        work = parallel.begin(part, len(self))

        def filled() -> npt.NDArray[np.float64]:
            self._refuse(work.largest())
            return np.zeros((0, len(self), 2, 2)) if columns is None else columns.totals

        return filled

    def centres(self, parallel: ParallelFor) -> _Int64s:
        """Return the centre of each sample's events: int64, shape (batch, 3); see `StepInput`."""
        width, height = self.sites[-1], 1 if len(self.sites) < 3 else self.sites[-2]
        sites = (math.prod(self.sites), height, width)
        out = np.empty((len(self), 3), np.int64)

        def part(first: int, last: int) -> int:
            find_centres(*self._addresses, *self.like, sites, out, first, last)
            return -1

        parallel.begin(part, len(self)).largest()
        return out

    def packed(self, parallel: ParallelFor, *, pin: bool = False) -> SparseBatch:
        """Return the samples as packed columns on the host; if `pin` is true, in page-locked memory of torch's allocator."""
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(self.counts, out=offsets[1:])

        def room(like: npt.NDArray[Any]) -> torch.Tensor:
            return torch.empty(int(offsets[-1]), dtype=signed_view(like).dtype, pin_memory=pin)

        index, value = (room(like) for like in self.like)
        into = [
            tensor.numpy().view(like.dtype) for tensor, like in zip((index, value), self.like, strict=True)
        ]

        def part(first: int, last: int) -> int:
            return gather(self.index_at, self.value_at, self.room, offsets, into[0], into[1], first, last)

        self._refuse(parallel.begin(part, len(self)).largest())

        def tensor_of(array: _Int64s) -> torch.Tensor:
            tensor = torch.from_numpy(array)
            return tensor.pin_memory() if pin else tensor

        return SparseBatch(
            index=index,
            value=value,
            offsets=tensor_of(offsets),
            lengths=tensor_of(self.lengths),
            labels=tensor_of(self.labels),
            samples=tensor_of(self.samples),
            sites=self.sites,
            longest=self.longest,
        )

    def _refuse(self, sample: int) -> None:
        if sample >= 0:
            raise DamagedError(
                f"row {self.samples[sample]} has a non-zero outside its frames, or more non-zeros than were read"
            )


def host_pointers(columns: PackedColumns, positions: _Int64s) -> SamplePointers:
    """Return pointers to samples of a set that is in memory as a whole; `positions`, shape (batch,), selects the samples."""
    starts = columns.offsets[positions]
    index, value = columns.index, columns.value
    return SamplePointers(
        index_at=index.ctypes.data + starts * index.itemsize,
        value_at=value.ctypes.data + starts * value.itemsize,
        counts=columns.offsets[positions + 1] - starts,
        lengths=columns.n_bins[positions].astype(np.int64),
        labels=columns.label[positions],
        samples=columns.rows[positions],
        room=min(len(index), len(value)) - starts,
        like=(index[:0], value[:0]),
        sites=columns.sites,
        owners=(index, value),
    )
