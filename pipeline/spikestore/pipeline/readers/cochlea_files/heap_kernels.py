"""Compiled loop over the global heap collections of an HDF5 file; `heap_objects` describes their layout and their faults.

The loop finds objects by number, checks them and copies them, as `heap_objects.copy_objects` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikestore.pipeline.compiled import compiled
from spikestore.pipeline.readers.cochlea_files.heap_objects import (
    DAMAGED,
    DONE,
    HEAD,
    NEED,
    NUMBERS,
    SMALLEST,
    UNKNOWN,
    Bytes,
    Integers,
)


def compile_kernels() -> None:
    """Compile `copy_objects`, or load its machine code. This is done before files are read, so that errors of the compiler are not taken for errors of a file."""
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
    """Set ``where[i]`` to the start of object i, and ``seen[i]`` to `walk`, for each object of an HDF5 heap collection; return False if the collection is damaged.

    `walk` must be a new number at each call; then ``seen`` need not be cleared between calls.
    """
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
    """Copy the data of objects into a column, until all objects are copied or an object cannot be copied from the window.

    Parameters
    ----------
    window : uint8 array
        A part of the file.
    origin : int
        Position of the window in the file.
    end : int
        End of the file.
    addresses, numbers, sizes, targets : int64 array, shape (objects,)
        For each object: the address of its collection (at least 0, sorted), the number of the object in the collection, the
        expected size of the object (at least 0), and the position of its data in `out`.
    out : uint8 array
        The column; filled by the call.
    first : int
        The first object to copy.
    seen, where : int64 array, shape (`NUMBERS`,)
        Scratch memory. The caller passes zeros at the first call, and passes the same arrays, without changing them, at later
        calls. ``seen[0]`` is the number of collections that were read.

    Returns
    -------
    status : int
        `DONE`: all objects are copied. `NEED`: the window must contain more of the file. `UNKNOWN`: a collection has an unknown
        version. `DAMAGED`: a collection is damaged, or lacks the object.
    reached : int
        The first object that is not copied.
    need : int
        If the status is `NEED`, the number of bytes that the window must contain, counted from the address of the object's
        collection; else 0.
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
            if whole < SMALLEST or whole > end - address:
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
