"""Lengths of the sequences in a variable-length HDF5 dataset, without reading the sequences if possible.

Such a dataset stores a 16-byte descriptor for each sequence: length (uint32), address of a heap collection (uint64), and number
in the collection (uint32), all little-endian (HDF5 file format, "Variable-length data"). The sequences themselves are in the
collections. 75,000 descriptors take 1.2 MB, but the sequences that belong to them take gigabytes.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

_DESCRIPTOR = np.dtype([("length", "<u4"), ("collection", "<u8"), ("place", "<u4")])
_BLOCK = 512
"""Number of sequences per block, if the descriptors cannot be read."""


def vlen_lengths(dataset: Any, count: int) -> npt.NDArray[np.int64]:
    """Return the lengths of the first `count` sequences; the sequences are read only if there is no other way.

    Parameters
    ----------
    dataset : h5py.Dataset, shape (n,)
        A dataset of a variable-length type, stored in a single file.
    count : int
        Number of sequences, at most n.

    Returns
    -------
    int64 array, shape (count,)

    Raises
    ------
    OSError, RuntimeError, ValueError, TypeError
        The file is damaged.
    """
    lengths = stored_lengths(dataset, count)
    return lengths_by_reading(dataset, count) if lengths is None else lengths


def stored_lengths(dataset: Any, count: int) -> npt.NDArray[np.int64] | None:
    """Return the lengths of the first `count` sequences without reading the sequences, or None if this is not possible.

    For each sequence, the dataset stores a descriptor that contains the length. The result is None if descriptors are
    compressed, do not have 16 bytes, or are stored in an unusual layout.
    """
    creation = dataset.id.get_create_plist()
    address_size, _ = dataset.file.id.get_create_plist().get_sizes()
    if address_size != 8 or creation.get_nfilters():
        return None
    if creation.get_layout() == h5py.h5d.CONTIGUOUS:
        return _contiguous(dataset, count)
    if creation.get_layout() == h5py.h5d.CHUNKED:
        return _chunked(dataset, count)
    return None


def lengths_by_reading(dataset: Any, count: int) -> npt.NDArray[np.int64]:
    """Return the lengths of the first `count` sequences of a dataset, which are read block by block."""
    lengths = np.empty(count, np.int64)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        lengths[start:stop] = [len(sequence) for sequence in dataset[start:stop]]
    return lengths


def _contiguous(dataset: Any, count: int) -> npt.NDArray[np.int64]:
    offset = dataset.id.get_offset()
    if offset is None:  # nothing was ever written: HDF5 reads that as empty sequences
        return np.zeros(count, np.int64)
    descriptors = np.fromfile(dataset.file.filename, _DESCRIPTOR, count, offset=offset)
    if len(descriptors) != count:
        raise OSError("the file ends within a dataset")
    return descriptors["length"].astype(np.int64)


def _chunked(dataset: Any, count: int) -> npt.NDArray[np.int64] | None:
    lengths = np.zeros(count, np.int64)
    (size,) = dataset.chunks
    for start in range(0, count, size):
        if dataset.id.get_chunk_info_by_coord((start,)).byte_offset is None:
            continue  # never written: empty sequences
        _, data = dataset.id.read_direct_chunk((start,))
        if len(data) != size * _DESCRIPTOR.itemsize:
            return None
        wanted = min(size, count - start)
        lengths[start : start + wanted] = np.frombuffer(data, _DESCRIPTOR, wanted)["length"]
    return lengths
