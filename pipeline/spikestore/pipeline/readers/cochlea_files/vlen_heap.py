"""Reader of variable-length sequences directly from the bytes of an HDF5 file.

The HDF5 library converts each sequence separately, under a lock, and copies it several times. This reader is faster:

1. A dataset stores a 16-byte descriptor for each sequence: its length, the address of a heap collection, and its number in the
   collection. If the descriptors are contiguous, they are read from the file. If they are in chunks, they are read through
   h5py, which knows all kinds of chunk indexes.
2. The collections are read in large windows, in the order of their addresses; most bytes are read only once. A loop copies the
   sequences to their positions. The loop is compiled and needs no lock (`heap_kernels`); for small sets, it runs in Python
   (`heap_objects`).

Windows are read with ``pread``. A memory map would save one copy. But if a file was truncated, or a network file system cannot
read a page, a process with a memory map is killed (SIGBUS) when it touches the missing page. In these cases, ``pread`` returns
fewer bytes or raises OSError.

For a file of an unusual form, the functions return None, and the caller uses h5py. Unusual forms are, for example, unknown versions of the
superblock, addresses that do not have 8 bytes, user blocks, superblock extensions (one kind is a cache image, which may be newer than
the rest of the file), filters, types that need a conversion, and sequences that were never written. Two kinds of damage raise an
error here, because HDF5 cannot handle them safely. If the free space of a collection has size 0, HDF5 2.0 loops for ever; zeros after a
truncation look like such free space. If an object is larger than its descriptor says, older versions of HDF5 copy it before they notice that their buffer is too small.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.cochlea_files import heap_objects
from spikestore.pipeline.readers.cochlea_files.hdf5 import HDF5_ERRORS
from spikestore.pipeline.readers.cochlea_files.sequences import Sequences, element_type, offsets_of

_DESCRIPTOR = np.dtype([("length", "<u4"), ("collection", "<u8"), ("number", "<u4")])
_UNDEFINED = b"\xff" * 8
_WINDOW = 2**18
"""Size of a window in bytes, unless a collection is larger. A window of this size stays in the L2 cache until its objects are copied."""
_LARGEST = 2**28
"""Largest collection that is read here, in bytes; h5py reads larger ones, to limit memory."""
_ALIGNMENT = 64


class _Bytes(NamedTuple):
    """An open file that this module can read: the file descriptor, the file's size in bytes, and the end of the data in bytes, as stated in HDF5's superblock."""

    descriptor: int
    size: int
    end: int


class VlenHeap:
    """Reads neighbouring rows from several variable-length datasets of one file; each row is an array.

    Parameters
    ----------
    datasets : h5py.Dataset, shape (n,) each
        Variable-length datasets of one file that is open for reading. Other code may also read them through h5py.
    few_events : bool
        Whether the file has so few events that loading compiled code takes more time than compiled code saves.
    """

    def __init__(self, *datasets: Any, few_events: bool = False) -> None:
        self._datasets = datasets
        self._objects = _plain_or_compiled(few_events)
        file = datasets[0].file
        self._types = [element_type(dataset) for dataset in datasets]
        self._file = _understood(file) if all(map(_is_plain, datasets)) else None
        self._window = np.empty(_WINDOW, np.uint8)
        self._seen, self._where = np.zeros((2, heap_objects.NUMBERS), np.int64)

    def read(self, start: int, stop: int) -> list[Sequences] | None:
        """Read the sequences ``start`` to ``stop - 1`` of each dataset.

        Parameters
        ----------
        start, stop : int
            Rows, ``0 <= start <= stop <= n``.

        Returns
        -------
        list of Sequences, one for each dataset, or None
            The sequences, which equal those of h5py bit for bit. None if only h5py can read these rows.

        Raises
        ------
        OSError
            The file is damaged, or its size has changed.
        """
        # If the file was closed, another file may have its descriptor now.
        if self._file is None or not all(self._datasets):
            return None
        if os.fstat(self._file.descriptor).st_size != self._file.size:
            raise OSError("the file changed its size")
        try:
            descriptors = [_descriptors(dataset, start, stop, self._file) for dataset in self._datasets]
        except HDF5_ERRORS:
            return None  # the caller reads through h5py, which may raise the same error
        blocks = [block for block in descriptors if block is not None]
        if len(blocks) < len(descriptors):
            return None
        if any(block["length"][block["collection"] == 0].any() for block in blocks):
            raise OSError(f"one of the sequences {start} to {stop - 1} has a length and no address")
        lengths = [block["length"].astype(np.int64) for block in blocks]
        sizes = [n * dtype.itemsize for n, dtype in zip(lengths, self._types, strict=True)]
        # Sequences never share an object, so together they are not larger than the file; checked before memory is allocated.
        if sum(int(size.sum()) for size in sizes) > self._file.end:
            raise OSError(f"sequences {start} to {stop - 1} would be larger than the file")
        targets, total = [], 0
        for size in sizes:
            total = -(-total // _ALIGNMENT) * _ALIGNMENT
            targets.append(total + offsets_of(size))
            total = int(targets[-1][-1])
        out = np.empty(total, np.uint8)
        places = np.concatenate([target[:-1] for target in targets])
        if not self._copy(np.concatenate(blocks), np.concatenate(sizes), places, out, self._file):
            return None
        return [
            Sequences(n, out[target[0] : target[-1]].view(dtype))
            for n, target, dtype in zip(lengths, targets, self._types, strict=True)
        ]

    def _copy(
        self,
        descriptors: npt.NDArray[Any],
        sizes: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8],
        file: _Bytes,
    ) -> bool:
        """Copy all sequences to their positions in `out`; return False if h5py must read them."""
        stored = descriptors["collection"] != 0
        if (descriptors["collection"] >= file.end).any():
            raise OSError("a sequence is outside the file")
        order = np.flatnonzero(stored)
        order = order[np.argsort(descriptors["collection"][order], kind="stable")]
        addresses = descriptors["collection"][order].astype(np.int64)
        numbers = descriptors["number"][order].astype(np.int64)
        sizes, targets = sizes[order], targets[order]
        # Lower bounds of the ends of collections.
        ends = addresses + np.maximum(sizes + 4 * heap_objects.HEAD, 4096)
        window, origin, reached = self._window[:0], 0, 0
        while True:
            status, reached, need = self._objects.copy_objects(
                window,
                origin,
                file.end,
                addresses,
                numbers,
                sizes,
                targets,
                out,
                reached,
                self._seen,
                self._where,
            )
            if status == heap_objects.DAMAGED:
                what = f"object {numbers[reached]} of {sizes[reached]} bytes"
                raise OSError(f"the heap collection at {addresses[reached]} is damaged or has no {what}")
            if status != heap_objects.NEED or need > _LARGEST:
                return bool(status == heap_objects.DONE)
            origin = int(addresses[reached])
            last = np.searchsorted(addresses, origin + _WINDOW) - 1
            count = min(max(need, min(int(ends[last]) - origin, _WINDOW)), file.end - origin)
            buffer = self._window if count <= _WINDOW else np.empty(count, np.uint8)
            window = buffer[: os.preadv(file.descriptor, [buffer[:count].data], origin)]
            if len(window) < need:
                raise OSError("the file ends within a heap collection")


def _plain_or_compiled(few_events: bool) -> Any:
    """Return the module whose ``copy_objects`` copies the sequences: plain Python for few events, else compiled code."""
    if few_events:
        return heap_objects
    from spikestore.pipeline.readers.cochlea_files import heap_kernels

    return heap_kernels


def _is_plain(dataset: Any) -> bool:
    """Return True if this module can read a dataset: it is uncompressed, not in an external file, and its types need no conversion."""
    creation, stored, element = dataset.id.get_create_plist(), dataset.id.get_type(), element_type(dataset)
    return bool(
        sys.byteorder == "little"
        and dataset.ndim == 1
        and element.isnative
        and isinstance(stored, h5py.h5t.TypeVlenID)
        # The type in the file may have fewer bits, or other ones, than NumPy's.
        and stored.get_super() == h5py.h5t.py_create(element)
        and creation.get_nfilters() == 0
        and creation.get_external_count() == 0
        and creation.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED)
    )


def _understood(file: Any) -> _Bytes | None:
    """Return the `_Bytes` of an open HDF5 file; None if only h5py can read the file."""
    if not hasattr(os, "preadv"):  # macOS, Windows
        return None
    # Only h5py's default file driver is supported: others may distribute or change the bytes.
    if file.driver != "sec2" or file.userblock_size or file.mode != "r":
        return None
    descriptor = file.id.get_vfd_handle()
    size = os.fstat(descriptor).st_size
    end = _end(os.pread(descriptor, 96, 0))
    return None if end is None or end > size else _Bytes(descriptor, size, end)


def _end(superblock: bytes) -> int | None:
    """Return the end of a file's data from its superblock; None for an unusual form, which HDF5 must read (see the module)."""
    if len(superblock) < 96 or superblock[:8] != b"\x89HDF\r\n\x1a\n":
        return None
    version = superblock[8]
    if version in (0, 1):
        sizes, at = superblock[13:15], 24 + 4 * version
        base, unusual, end = at, at + 24, at + 16  # unusual: driver information
    elif version in (2, 3):
        sizes = superblock[9:11]
        base, unusual, end = 12, 20, 28  # unusual: a superblock extension
    else:
        return None
    if sizes != b"\x08\x08" or any(superblock[base : base + 8]):
        return None
    if superblock[unusual : unusual + 8] != _UNDEFINED:
        return None
    return int.from_bytes(superblock[end : end + 8], "little")


def _descriptors(dataset: Any, start: int, stop: int, file: _Bytes) -> npt.NDArray[Any] | None:
    """Return the descriptors (length, and place in the file) of the sequences `start` to `stop` - 1; None if only HDF5 can read them."""
    width, identifier = _DESCRIPTOR.itemsize, dataset.id
    if not stop <= len(dataset):
        return None
    if dataset.chunks is None:
        offset = identifier.get_offset()
        if offset is None or identifier.get_storage_size() != len(dataset) * width:
            return None
        data = os.pread(file.descriptor, (stop - start) * width, offset + start * width)
        return np.frombuffer(data, _DESCRIPTOR) if len(data) == (stop - start) * width else None
    (size,) = dataset.chunks
    parts = []
    for chunk in range(start - start % size, stop, size):
        mask, data = identifier.read_direct_chunk((chunk,))
        if mask or len(data) != size * width:
            return None
        parts.append(data)
    descriptors = np.frombuffer(b"".join(parts), _DESCRIPTOR)
    return descriptors[start % size : start % size + stop - start]
