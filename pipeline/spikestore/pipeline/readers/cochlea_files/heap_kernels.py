"""Compiled loop over the global heap collections of an HDF5 file: it finds objects by number, checks and copies them.

A collection has this layout (HDF5 file format, "Global Heap"), with little-endian integers: ``GCOL``, version (1 byte), 3
reserved bytes, size of the collection (8 bytes); then its objects: number (2), references (2), reserved (4), size of the
data (8), data padded to a multiple of 8. Object 0 is free space, and its size includes its head. Fewer than 16 bytes at the
end are free space too.

A collection is read to its end, because HDF5 uses the last object with a number. These faults are damage: an object beyond
the end of the collection; free space of size 0, on which HDF5 2.0 loops for ever; free space in two places; and free space
whose size is not a multiple of 8. HDF5 itself accepts the first two. No byte outside the window is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import compiled

DONE, NEED, UNKNOWN, DAMAGED = range(4)
"""Results of `copy_objects`: all objects are copied; more of the file is needed; another version; damage."""

HEAD = 16
"""Size of the head of a collection, and of the head of an object, in bytes."""

_SMALLEST = 4096  # HDF5 writes no smaller collection, and refuses one
NUMBERS = 2**16
"""Number of possible object numbers, which have 16 bits."""

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


def compile_kernels() -> None:
    """Compile `copy_objects` or load its machine code, so that later errors come from the file and not from compilation."""
    octets, integers = np.zeros(0, np.uint8), np.zeros(0, np.int64)
    copy_objects(octets, 0, 0, integers, integers, integers, integers, octets, 0, integers, integers)


@compiled
def _size(window: Bytes, at: int) -> Any:
    """Return 8 bytes as int64; sizes from 2^63 on become negative."""
    value = np.int64(0)
    for k in range(8):
        value |= np.int64(window[at + k]) << np.int64(8 * k)
    return value


@compiled
def _walk(window: Bytes, start: int, stop: int, seen: Integers, where: Integers, walk: int) -> bool:
    """Write the start of each object of a collection to `where`; return False if the collection is damaged."""
    at, free = start + HEAD, np.int64(0)
    while stop - at >= HEAD:
        number = np.int64(window[at]) | np.int64(window[at + 1]) << np.int64(8)
        whole = _size(window, at + 8)
        if whole < 0 or whole > stop - at:
            return False
        if number:
            seen[number] = walk
            where[number] = at
            whole = HEAD + (whole + 7) // 8 * 8
        else:
            if whole < HEAD or free:
                return False
            free = whole
        at += whole
    rest = stop - at
    return rest >= 0 and not (rest and free) and (rest + free) % 8 == 0


@compiled
def copy_objects(
    window: Bytes,
    origin: int,
    end: int,
    addresses: Integers,
    numbers: Integers,
    sizes: Integers,
    targets: Integers,
    out: Bytes,
    first: int,
    seen: Integers,
    where: Integers,
) -> tuple[int, int, int]:
    """Copy the data of objects into a column, until all are copied or more of the file is needed.

    Parameters
    ----------
    window : uint8 array
        A part of the file.
    origin : int
        Position of the window in the file.
    end : int
        End of the file.
    addresses, numbers, sizes, targets : int64 array, shape (objects,)
        For each object: address of its collection (at least 0, sorted), its number in the collection, its expected size (at
        least 0), and the position of its data in `out`.
    out : uint8 array
        The column; filled by the call.
    first : int
        The first object to copy.
    seen, where : int64 array, shape (`NUMBERS`,)
        Scratch memory: zeros at the first call, then unchanged from call to call. ``seen[0]`` counts collections.

    Returns
    -------
    status : int
        `DONE`, `NEED`, `UNKNOWN` or `DAMAGED`.
    reached : int
        The first object that is not copied.
    need : int
        With `NEED`: number of bytes, from the address of the object's collection, that the window must contain; else 0.
    """
    walked = np.int64(-1)
    for i in range(first, len(addresses)):
        address = addresses[i]
        at = address - origin
        if address != walked:
            if address > end - HEAD:
                return DAMAGED, i, 0
            if at < 0 or at > len(window) - HEAD:
                return NEED, i, HEAD
            # "GCOL", version 1
            if window[at] != 71 or window[at + 1] != 67 or window[at + 2] != 79 or window[at + 3] != 76:
                return DAMAGED, i, 0
            if window[at + 4] != 1:
                return UNKNOWN, i, 0
            whole = _size(window, at + 8)
            if whole < _SMALLEST or whole > end - address:
                return DAMAGED, i, 0
            if whole > len(window) - at:
                return NEED, i, whole
            seen[0] += 1
            if not _walk(window, at, at + whole, seen, where, seen[0]):
                return DAMAGED, i, 0
            walked = address
        number = numbers[i]
        if number < 1 or number >= NUMBERS or seen[number] != seen[0]:
            return DAMAGED, i, 0
        data = where[number] + HEAD
        if _size(window, data - 8) != sizes[i]:
            return DAMAGED, i, 0
        # Slices without sign arithmetic in the loop: this compiles to a block copy, 10 times as fast.
        source = window[data : data + sizes[i]]
        target = out[targets[i] : targets[i] + sizes[i]]
        for k in range(np.uint64(sizes[i])):
            target[k] = source[k]
    return DONE, len(addresses), 0
