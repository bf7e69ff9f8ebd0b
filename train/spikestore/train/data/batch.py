"""Batches: `SparseBatch` has packed columns, which are copied to the device; `Batch` has the frames made from them.

torch has almost no operations on unsigned 16 and 32 bit integers. Columns of these types are passed as signed views of
the same bytes. On the device, `widen` restores their values as int64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train.data.batch_views import plot_batch, table_of_batch


@dataclass(frozen=True, eq=False)
class StoredSamples:
    """Samples of a batch as ranges of columns on a device, for kernels.

    Attributes
    ----------
    index, value : Tensor, shape (non-zeros,)
        As in `SparseBatch`, but the columns may also contain samples that are not in the batch.
    starts, ends : int64 Tensor, shape (batch,)
        Range of each sample in ``index``.
    labels, lengths, samples : int64 Tensor, shape (batch,)
        As in `SparseBatch`.
    """

    index: Tensor
    value: Tensor
    starts: Tensor
    ends: Tensor
    labels: Tensor
    lengths: Tensor
    samples: Tensor


class Batch(NamedTuple):
    """A batch of samples as the loader yields it.

    Attributes
    ----------
    frames : float32 Tensor, shape (batch, time, polarity, [y,] x)
        Counts or real numbers; zero after the end of a sample. Dense, or ``torch.sparse_coo`` on request.
    labels : int64 Tensor, shape (batch,), or float32 Tensor, shape (batch, classes)
        Class numbers. If an augmentation mixes labels: weights of all classes, which add up to 1.
    lengths : int64 Tensor, shape (batch,)
        Time bins of each sample before padding.
    samples : int64 Tensor, shape (batch,)
        Row of each sample in the feature set.
    """

    frames: Tensor
    labels: Tensor
    lengths: Tensor
    samples: Tensor

    @property
    def mask(self) -> Tensor:
        """Whether each time bin is before the end of its sample: bool, shape (batch, time); False in the padding."""
        bins = torch.arange(self.frames.shape[1], device=self.lengths.device)
        return bins < self.lengths[:, None]

    def plot(self, features: FeatureSet | None = None, *, most: int = 12) -> npt.NDArray[np.object_]:
        """Plot the first samples without their padding, and return the matplotlib axes: shape (samples,).

        Parameters
        ----------
        features : FeatureSet, optional
            The set of the samples, for class names and times in ms; without it, axes count time bins.
        most : int
            Maximum number of samples that are plotted.

        Raises
        ------
        UsageError
            `most` is not a whole number of at least 1.
        MissingExtraError
            matplotlib is not installed: ``pip install 'spikestore[plots]'``.
        """
        return plot_batch(self, features, most=most)

    def _repr_html_(self) -> str:
        return table_of_batch(self)


@dataclass(frozen=True, eq=False)
class SparseBatch:
    """A batch of samples in packed columns, on any device.

    Attributes
    ----------
    index, value : Tensor, shape (non-zeros,)
        As in `PackedColumns`, but int16 instead of uint16, and int32 instead of uint32, with the same bits. Augmentations of this
        package make both columns int64, but real values stay float32.
    offsets : int64 Tensor, shape (batch + 1,)
        Start of each sample in ``index``, and the end of the last sample.
    lengths, labels, samples : int64 Tensors, shape (batch,)
        Time bins, class numbers, rows in the feature set. If an augmentation has mixed labels, ``labels`` has the same form
        as in `Batch`.
    sites : tuple of int
        Sizes of the axes after time.
    classes : int, optional
        Number of classes, for augmentations that mix labels.
    class_numbers : int64 Tensor, shape (batch,), optional
        If an augmentation has mixed labels: the class numbers before the mixing.
    centres : int64 Tensor, shape (batch, 3), optional
        Centres of the samples, in host memory, for augmentations that align samples; see `StepInput`.
    longest : int, optional
        Time bins of the longest sample. None if the host does not know this number; `bins` then computes it, which
        makes the host wait for a GPU.
    unique : bool
        True if the indices of each sample ascend and are all different, as in a feature set. False after an augmentation that may
        change this; frames then contain the sum of all values with the same index.
    """

    index: Tensor
    value: Tensor
    offsets: Tensor
    lengths: Tensor
    labels: Tensor
    samples: Tensor
    sites: tuple[int, ...]
    longest: int | None = None
    unique: bool = True
    classes: int | None = None
    class_numbers: Tensor | None = None
    centres: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> SparseBatch:
        """Return the batch on `device`; `class_numbers` and `centres` are not moved."""
        moved = {name: getattr(self, name).to(device, non_blocking=non_blocking) for name in _TENSORS}
        return replace(self, **moved)

    def pin_memory(self) -> SparseBatch:
        """Return the batch in page-locked memory, so that copies to a GPU can be asynchronous."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in _TENSORS})

    def stored(self) -> StoredSamples:
        """Return the batch as a `StoredSamples`: the same columns, and where each sample starts and ends in them."""
        own = self.labels, self.lengths, self.samples
        return StoredSamples(self.index, self.value, self.offsets[:-1], self.offsets[1:], *own)

    def bins(self, pad_to: int | None = None) -> int:
        """Return the number of time bins of the batch: `pad_to`, or by default the time bins of the longest sample.

        Raises
        ------
        UsageError
            A sample is longer than `pad_to`.
        """
        longest = self.longest
        if longest is None:
            longest = int(self.lengths.max()) if len(self) else 0
        return padded_bins(longest, pad_to, self.lengths, self.samples)

    def dense(self, pad_to: int | None = None) -> Tensor:
        """Return frames: float32, shape (batch, time, polarity, [y,] x), on the batch's device.

        The result is the same on every device, because each element of the frames is written at most once, or is a
        sum of counts, which is exact in any order. There is one exception: if an augmentation moves several real numbers
        to the same element, the rounding of their sum depends on the order.

        Raises
        ------
        UsageError
            A sample is longer than `pad_to`.
        """
        bins = self.bins(pad_to)
        fill = gpu_fill(self.index.device) if self.unique else None
        if fill is not None:
            frames = zeros(len(self), bins, self.sites, self.index.device)
            stored = self.stored()
            fill(stored.index, stored.value, stored.starts, stored.ends, frames.flatten(1))
            return frames
        places, values = self._places(bins)
        frames = torch.zeros(
            len(self) * bins * self._site_count, dtype=torch.float32, device=self.index.device
        )
        frames = frames.scatter_(0, places, values) if self.unique else frames.scatter_add_(0, places, values)
        return frames.view(len(self), bins, *self.sites)

    def sparse_coo(self, pad_to: int | None = None) -> Tensor:
        """Return frames as a coalesced ``torch.sparse_coo`` tensor: float32, shape (batch, time, polarity, [y,] x); see `bins` for `pad_to`."""
        shape = (len(self), self.bins(pad_to), *self.sites)
        places, values = self._places(shape[1])
        if not self.unique:
            places, groups = torch.unique(places, return_inverse=True)
            values = torch.zeros(len(places), device=values.device).scatter_add_(0, groups, values)
        # Since torch 2.11, torch.sparse_coo_tensor, and coalesce() on a GPU, warn that checks of invariants are undecided,
        # in 2.11 and 2.12 even with `check_invariants`; this lower-level operator makes no checks.
        coo: Tensor = torch.ops.aten._sparse_coo_tensor_with_dims_and_tensors(
            len(shape),
            0,
            shape,
            torch.stack(torch.unravel_index(places, shape)),
            values,
            dtype=values.dtype,
            layout=torch.sparse_coo,
            device=values.device,
            is_coalesced=True,
        )
        return coo

    def batch(self, pad_to: int | None = None, *, sparse: bool = False) -> Batch:
        """Return the batch with dense or sparse frames; see `bins` for `pad_to`."""
        frames = self.sparse_coo(pad_to) if sparse else self.dense(pad_to)
        return Batch(frames, self.labels, self.lengths, self.samples)

    @property
    def _site_count(self) -> int:
        return int(np.prod(self.sites, dtype=np.int64))

    def _places(self, bins: int) -> tuple[Tensor, Tensor]:
        """Return the position of each non-zero in the flat dense batch (int64), and its value (float32); shape (non-zeros,)."""
        places = torch.repeat_interleave(self.offsets.diff(), output_size=len(self.index))
        places.mul_(bins * self._site_count).add_(widen(self.index))
        # uint8 needs no widening mask: one kernel launch less on a GPU.
        values = self.value if self.value.dtype == torch.uint8 else widen(self.value)
        return places, values.to(torch.float32)


def padded_bins(
    longest: int,
    pad_to: int | None,
    lengths: Tensor | npt.NDArray[np.integer[Any]],
    rows: Tensor | npt.NDArray[np.int64],
) -> int:
    """Return the number of time bins of a batch: `pad_to`, or `longest` if `pad_to` is None.

    Raises
    ------
    UsageError
        A sample is longer than `pad_to`.
    """
    if pad_to is None:
        return longest
    if longest > pad_to:
        row = int(rows[int(lengths.argmax())])
        raise UsageError(
            f"row {row} has {longest} time bins, more than pad_to = {pad_to}: raise pad_to, or crop the sample"
        )
    return pad_to


def zeros(samples: int, bins: int, sites: tuple[int, ...], device: torch.device) -> Tensor:
    """Return frames that are all zero: float32, shape (samples, bins, *sites)."""
    return torch.zeros((samples, bins, *sites), dtype=torch.float32, device=device)


def gpu_fill(device: torch.device) -> Callable[..., None] | None:
    """Return `gpu_frames.fill`; None if the device is not a GPU, or if Triton is not installed. CUDA builds of torch install Triton."""
    return _fill_kernel() if device.type == "cuda" else None


@functools.cache
def _fill_kernel() -> Callable[..., None] | None:
    try:
        from spikestore.train.data.gpu_frames import fill
    except ImportError:
        return None
    return fill


_TENSORS = ("index", "value", "offsets", "lengths", "labels", "samples")


def widen(column: Tensor) -> Tensor:
    """Return a column of integers as int64, and a column of floats unchanged. A signed view of unsigned integers (`signed_view`) is read as unsigned."""
    if column.dtype.is_floating_point:
        return column
    wide = column.to(torch.int64)
    if column.dtype in _MASKS:
        wide &= _MASKS[column.dtype]
    return wide


# No column holds negative numbers, so a signed 16 or 32 bit tensor can only be a view of unsigned integers.
_MASKS = {torch.int16: 0xFFFF, torch.int32: 0xFFFF_FFFF}


def signed_view(column: npt.NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of an array; unsigned 16 and 32 bit integers become signed integers."""
    signed = {np.dtype(np.uint16): np.int16, np.dtype(np.uint32): np.int32}.get(column.dtype)
    return torch.from_numpy(column if signed is None else column.view(signed))
