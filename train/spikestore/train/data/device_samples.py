"""Samples of a feature set whose columns are on a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.train.data.batch import (
    Batch,
    SparseBatch,
    StoredSamples,
    gpu_fill,
    padded_bins,
    signed_view,
    zeros,
)
from spikestore.train.data.packed import PackedColumns

BATCHES_PER_TABLE = 64


@dataclass(frozen=True, eq=False)
class DeviceSamples:
    """Samples of a batch, from a set whose columns are on a device.

    Batch sources return this object instead of tensors. The caller makes the tensors in its own CUDA stream, because kernels of two
    streams do not wait for each other.

    Attributes
    ----------
    table : SampleTable
        Samples of this batch and of neighbouring batches.
    first, last : int
        This batch has the samples `first` to `last` - 1 of the table.
    """

    table: SampleTable
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def sites(self) -> tuple[int, ...]:
        """Sizes of the axes after time."""
        return self.table.columns.host.sites

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Time bins of each sample."""
        return self.table.lengths[self.first : self.last]

    @property
    def samples(self) -> npt.NDArray[np.int64]:
        """Number of each sample's row in the feature set."""
        return self.table.samples[self.first : self.last]

    def bins(self, pad_to: int | None = None) -> int:
        """Return the number of time bins of the batch: `pad_to`, or if `pad_to` is None, the time bins of the longest sample.

        Raises
        ------
        UsageError
            A sample is longer than `pad_to`.
        """
        return padded_bins(int(self.lengths.max(initial=0)), pad_to, self.lengths, self.samples)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class number of each sample."""
        return self.table.labels[self.first : self.last]

    def stored(self) -> StoredSamples:
        """Return the samples: the columns of the set on the device, and the range of each sample in these columns."""
        starts, ends, *own = self.table.sent()[:, self.first : self.last].unbind()
        return StoredSamples(*self.table.columns.tensors, starts, ends, *own)

    def packed(self) -> SparseBatch:
        """Return the samples in packed columns, on the device."""
        positions = self.table.positions[self.first : self.last]
        return self.table.columns.gather(torch.from_numpy(positions))

    def batch(self, pad_to: int | None = None) -> Batch:
        """Return the batch with dense frames, on the device."""
        bins, columns = self.bins(pad_to), self.table.columns
        fill = gpu_fill(columns.device)
        if fill is None:
            return self.packed().batch(bins)
        stored, frames = self.stored(), zeros(len(self), bins, self.sites, columns.device)
        fill(stored.index, stored.value, stored.starts, stored.ends, frames.flatten(1))
        return Batch(frames, stored.labels, stored.lengths, stored.samples)


class SampleTable:
    """Table with start, end, label, time bins and row of each sample of many batches; the table goes to the device in one transfer.

    Parameters
    ----------
    columns : TensorColumns
        Columns of the set.
    positions : int64 array, shape (samples,)
        Positions of the samples in `columns`.
    """

    def __init__(self, columns: TensorColumns, positions: npt.NDArray[np.int64]) -> None:
        host = columns.host
        self.columns, self.positions = columns, positions
        self.lengths = host.n_bins[positions].astype(np.int64)
        self.samples, self.labels = host.rows[positions], host.label[positions]
        self._sent: dict[int, Tensor] = {}

    def sent(self) -> Tensor:
        """Return the table on the device: int64, shape (5, samples): start, end, label, time bins, row of each sample.

        Each CUDA stream has its own copy of the table, so that it need not wait until another stream has copied the table.
        """
        host, device = self.columns.host, self.columns.device
        stream = current_stream(device)
        if stream not in self._sent:
            # A copy from pageable memory would block. On the CPU, whatever default device the caller has set.
            shape, pin = (5, len(self.positions)), device.type == "cuda"
            pinned = torch.empty(shape, dtype=torch.int64, device="cpu", pin_memory=pin)
            starts, ends, labels, lengths, samples = pinned.numpy()
            starts[:], ends[:] = host.offsets[self.positions], host.offsets[self.positions + 1]
            labels[:], lengths[:], samples[:] = self.labels, self.lengths, self.samples
            self._sent[stream] = pinned.to(device, non_blocking=True)
        return self._sent[stream]


class TensorColumns:
    """Packed columns of a feature set as tensors on one device; `gather` returns batches of samples.

    Parameters
    ----------
    columns : PackedColumns
        The set; on the CPU its memory is shared, not copied.
    device : torch.device or str
        Device that holds the columns.
    """

    def __init__(self, columns: PackedColumns, device: torch.device | str = "cpu") -> None:
        self._index = signed_view(columns.index).to(device)
        self._value = signed_view(columns.value).to(device)
        self._host = columns
        self._readers: set[int] = set()

    @property
    def nbytes(self) -> int:
        """Size in bytes of the columns on the device, index and value; columns with one value per sample stay on the host."""
        return self._index.nbytes + self._value.nbytes

    @property
    def host(self) -> PackedColumns:
        """The set in host memory; the columns with one value per sample are read from it."""
        return self._host

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Index and value of all samples, on the device, to be read in the current CUDA stream."""
        columns, stream = (self._index, self._value), current_stream(self.device)
        if stream not in self._readers:
            self._readers.add(stream)
            # A script that takes batches in a stream of its own may drop the loader before this stream has read the columns:
            # their memory must not be reused earlier. Once for each stream: torch looks at the stream when the memory is freed.
            for column in columns if self.device.type == "cuda" else ():
                column.record_stream(torch.cuda.current_stream(self.device))
        return columns

    @property
    def device(self) -> torch.device:
        """The device that holds the columns."""
        return self._index.device

    def batches(
        self, positions: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]
    ) -> Iterator[DeviceSamples]:
        """Yield the samples of each batch. Nothing is sent to the device until a batch is used; the first used batch of a table sends the whole table (`SampleTable`).

        Parameters
        ----------
        positions : int64 array, shape (samples,)
            Positions in the set.
        edges : int64 array, shape (batches + 1,)
            Start of each batch in `positions`, and the end of the last batch.
        """
        for first in range(0, len(edges) - 1, BATCHES_PER_TABLE):
            some = edges[first : first + BATCHES_PER_TABLE + 1]
            table = SampleTable(self, positions[some[0] : some[-1]])
            for start, stop in itertools.pairwise(some - some[0]):
                yield DeviceSamples(table, int(start), int(stop))

    def gather(self, positions: Tensor) -> SparseBatch:
        """Return a batch of the samples at `positions` (int64, shape (batch,)), in that order."""
        # Computed on the host and sent as one table: no synchronisation, and few launches.
        host, wanted = self._host, positions.cpu().numpy()
        starts = host.offsets[wanted]
        table = np.zeros((6, len(wanted) + 1), np.int64)
        offsets, counts, shifts = table[:3]
        counts[:-1] = host.offsets[wanted + 1] - starts
        np.cumsum(counts[:-1], out=offsets[1:])
        # Position in the set = position in the batch + (start in the set - start in the batch).
        shifts[:-1] = starts - offsets[:-1]
        table[3, :-1], table[4, :-1], table[5, :-1] = (
            host.n_bins[wanted],
            host.label[wanted],
            host.rows[wanted],
        )
        total = int(offsets[-1])
        sent = sent_to(self._index.device, torch.from_numpy(table))
        sample = torch.repeat_interleave(sent[1, :-1], output_size=total)
        taken = sent[2][sample].add_(torch.arange(total, device=sent.device))
        index, value = self.tensors
        return SparseBatch(
            index=index[taken],
            value=value[taken],
            offsets=sent[0],
            lengths=sent[3, :-1],
            labels=sent[4, :-1],
            samples=sent[5, :-1],
            sites=host.sites,
            longest=int(table[3].max()),
        )


def sent_to(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a tensor on a device; the copy to a GPU may still be in progress."""
    if device.type == "cuda" and tensor.device.type == "cpu":  # a copy from pageable memory would block
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def current_stream(device: torch.device) -> int:
    """Return the address of the CUDA stream in which this thread starts work on a device; 0 if the device is not a GPU."""
    address: int = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return address
