"""Samples of a feature set whose columns are on a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.train.data.batch import Batch, SparseBatch, gpu_fill, padded_bins, signed_view, zeros
from spikestore.train.data.packed import PackedColumns


@dataclass(frozen=True, eq=False)
class DeviceSamples:
    """Samples of a batch, by their positions in a set on a device.

    A source returns them instead of tensors, because work on a GPU must start in the CUDA stream of whoever goes on with
    its results: kernels of two streams do not wait for each other.

    Attributes
    ----------
    columns : TensorColumns
        The set.
    positions : int64 array, shape (batch,)
        Positions of the samples in the set.
    """

    columns: TensorColumns
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def sites(self) -> tuple[int, ...]:
        """Sizes of the axes after time."""
        return self.columns.host.sites

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Time bins of each sample."""
        return self.columns.host.n_bins[self.positions]

    @property
    def samples(self) -> npt.NDArray[np.int64]:
        """Row of each sample in the feature set."""
        return self.columns.host.rows[self.positions]

    def bins(self, pad_to: int | None = None) -> int:
        """Return the number of time bins of the batch: `pad_to`, or by default that of its longest sample.

        Raises
        ------
        UsageError
            A sample is longer than `pad_to`.
        """
        lengths = self.lengths
        return padded_bins(int(lengths.max(initial=0)), pad_to, lengths, self.samples)

    def packed(self) -> SparseBatch:
        """Return the samples in packed columns, on the device."""
        return self.columns.gather(torch.from_numpy(self.positions))

    def batch(self, pad_to: int | None = None) -> Batch:
        """Return the batch with dense frames, on the device."""
        return self.columns.batch(self.positions, self.bins(pad_to))


class TensorColumns:
    """Packed columns of a feature set as tensors on one device; `gather` returns batches of them.

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

    @property
    def nbytes(self) -> int:
        """Size in bytes of the columns on the device, index and value; columns with one value per sample stay on the host."""
        return self._index.nbytes + self._value.nbytes

    @property
    def host(self) -> PackedColumns:
        """The set in host memory, for columns with one value per sample."""
        return self._host

    def at(self, positions: npt.NDArray[np.int64]) -> DeviceSamples:
        """Return the samples at `positions`, shape (batch,), in that order; nothing is computed yet."""
        return DeviceSamples(self, positions)

    def batch(self, positions: npt.NDArray[np.int64], bins: int) -> Batch:
        """Return the batch of the samples at `positions`, with dense frames of `bins` time bins."""
        host, device = self._host, self._index.device
        fill = gpu_fill(device)
        if fill is None:
            return self.gather(torch.from_numpy(positions)).batch(bins)
        # A copy from pageable memory would block.
        pinned = torch.empty((5, len(positions)), dtype=torch.int64, pin_memory=True)
        starts, ends, labels, lengths, rows = pinned.numpy()
        starts[:], ends[:] = host.offsets[positions], host.offsets[positions + 1]
        labels[:], lengths[:], rows[:] = host.label[positions], host.n_bins[positions], host.rows[positions]
        sent = pinned.to(device, non_blocking=True)
        frames = zeros(len(positions), bins, host.sites, device)
        fill(self._index, self._value, sent[0], sent[1], frames.flatten(1))
        return Batch(frames, sent[2], sent[3], sent[4])

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
        sent = self._sent(table)
        sample = torch.repeat_interleave(sent[1, :-1], output_size=total)
        taken = sent[2][sample].add_(torch.arange(total, device=sent.device))
        return SparseBatch(
            index=self._index[taken],
            value=self._value[taken],
            offsets=sent[0],
            lengths=sent[3, :-1],
            labels=sent[4, :-1],
            samples=sent[5, :-1],
            sites=host.sites,
            longest=int(table[3].max()),
        )

    def _sent(self, table: npt.NDArray[np.int64]) -> Tensor:
        device, tensor = self._index.device, torch.from_numpy(table)
        if device.type == "cuda":  # a copy from pageable memory would block
            tensor = tensor.pin_memory()
        return tensor.to(device, non_blocking=True)
