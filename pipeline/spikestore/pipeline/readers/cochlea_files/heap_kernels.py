"""Compiled loop over HDF5 global heap collections: find objects by number, check them, copy their bytes.

A collection, all integers little-endian (HDF5 file format, "Global Heap"): ``GCOL``, version (1 byte), 3 reserved,
size of the whole (8); then objects: number (2), references (2), reserved (4), size of the data (8), data padded
to 8. Object 0 is free space, its size includes its head; fewer than 16 bytes at the end are free space as well.

Collections are walked to their end, because HDF5 takes the last object of a number. More strictly than by HDF5,
an object beyond the end is damage, and so is free space without a size, on which HDF5 2.0 never ends; as by HDF5
2.0, free space in two places or of a size that is not a multiple of 8.
No byte is read that was not seen to lie in the window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import compiled

DONE, NEED, UNKNOWN, DAMAGED = range(4)
"""What `copy_objects` says: all copied; more of the file is needed; another version; not as described above."""

HEAD = 16
"""Bytes of a collection's head, and of an object's."""

_SMALLEST = 4096  # HDF5 writes no smaller collection, and refuses one
NUMBERS = 2**16
"""Objects are numbered with 16 bits."""

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


def compile_kernels() -> None:
    """Compile `copy_objects`, or load its machine code, now: for callers that tell errors of files from all others."""
    octets, integers = np.zeros(0, np.uint8), np.zeros(0, np.int64)
    copy_objects(octets, 0, 0, integers, integers, integers, integers, octets, 0, integers, integers)


@compiled
def _size(window: Bytes, at: int) -> Any:
    """Return 8 bytes as int64: sizes from 2^63 on come out negative."""
    value = np.int64(0)
    for k in range(8):
        value |= np.int64(window[at + k]) << np.int64(8 * k)
    return value


@compiled
def _walk(window: Bytes, start: int, stop: int, seen: Integers, where: Integers, walk: int) -> bool:
    """Record the start of each object of a collection; return False for a collection of another form."""
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
    """Copy objects into a column.

    Parameters
    ----------
    window : uint8 array
        Part of a file.
    origin : int
        Where in the file it starts.
    end : int
        Where the file ends.
    addresses, numbers, sizes, targets : int64 array, shape (objects,)
        Address of each object's collection, at least 0, sorted; its number there; its expected bytes, at least 0;
        where they go in `out`, inside it.
    out : uint8 array
        The column.
    first : int
        The object to start with.
    seen, where : int64 array, shape (`NUMBERS`,)
        Scratch; zeros at first, then as they were left. ``seen[0]`` counts walks.

    Returns
    -------
    status : int
        `DONE`, `NEED`, `UNKNOWN` or `DAMAGED`.
    reached : int
        The object that is not copied yet.
    need : int
        With `NEED`: bytes from its collection's address on that have to be in the window; else 0.
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
