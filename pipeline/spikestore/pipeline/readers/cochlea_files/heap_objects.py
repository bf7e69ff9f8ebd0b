"""Objects in the global heap collections of an HDF5 file: found by number, checked and copied, in plain Python.

This code is used for few objects; `heap_kernels` does the same in compiled code, which takes a second to load.

A collection has this layout (HDF5 file format, "Global Heap"), with little-endian integers: ``GCOL``, version (1 byte), 3
reserved bytes, size of the collection (8 bytes); then its objects: number (2), references (2), reserved (4), size of the data
(8), data padded to a multiple of 8. Object 0 is free space. The size of object 0 includes its head (the
first 16 bytes); the sizes of other objects do not. If fewer than 16 bytes follow the last object, these bytes are free space too.

A collection is read to its end: if several objects have the same number, HDF5 uses the last one. These faults are damage: an
object beyond the end of the collection; an object 0 whose size is below 16; free space in two places (two objects 0, or one
object 0 and free bytes at the end); and free space whose size is not a multiple of 8. HDF5 does not report all of these faults:
version 2.0.0 accepts free space in two places, and loops for ever on free space of size 0. No byte outside the window (the part of the file that is in memory) is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

DONE, NEED, UNKNOWN, DAMAGED = range(4)
"""Results of `copy_objects`: all objects are copied; more of the file is needed; another version; damage."""

HEAD = 16
"""Size of the head of a collection, and of the head of an object, in bytes."""

SMALLEST = 4096
"""Size of the smallest collection, in bytes: HDF5 writes no smaller collection, and does not read one."""

NUMBERS = 2**16
"""Number of possible object numbers, which have 16 bits."""

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


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
    *_: Any,
) -> tuple[int, int, int]:
    """Copy the data of objects into a column, without compiled code; parameters and results are the same as those of `heap_kernels.copy_objects`."""
    walked = -1
    objects: dict[int, int] = {}
    for i in range(first, len(addresses)):
        address = int(addresses[i])
        at = address - origin
        if address != walked:
            if address > end - HEAD:
                return DAMAGED, i, 0
            if at < 0 or at > len(window) - HEAD:
                return NEED, i, HEAD
            head = window[at : at + HEAD].tobytes()
            if head[:4] != b"GCOL":
                return DAMAGED, i, 0
            if head[4] != 1:
                return UNKNOWN, i, 0
            whole = _size(head)
            if whole < SMALLEST or whole > end - address:
                return DAMAGED, i, 0
            if whole > len(window) - at:
                return NEED, i, whole
            found = _walk(window, at, at + whole)
            if found is None:
                return DAMAGED, i, 0
            walked, objects = address, found
        data, size, target = objects.get(int(numbers[i]), -1) + HEAD, int(sizes[i]), int(targets[i])
        if data < HEAD or _size(window[data - HEAD : data].tobytes()) != size:
            return DAMAGED, i, 0
        out[target : target + size] = window[data : data + size]
    return DONE, len(addresses), 0


def _size(head: bytes) -> int:
    """Return the size, in bytes, that a head of 16 bytes states. Sizes from 2^63 on become negative, so callers reject them."""
    return int.from_bytes(head[8:], "little", signed=True)


def _walk(window: Bytes, start: int, stop: int) -> dict[int, int] | None:
    """Return the start of each object of a heap collection, by the object's number; None if the collection is damaged."""
    objects = {}
    at, free = start + HEAD, 0
    while stop - at >= HEAD:
        head = window[at : at + HEAD].tobytes()
        whole = _size(head)
        if whole < 0 or whole > stop - at:
            return None
        if number := int.from_bytes(head[:2], "little"):
            objects[number] = at
            whole = HEAD + (whole + 7) // 8 * 8
        else:
            if whole < HEAD or free:
                return None
            free = whole
        at += whole
    rest = stop - at
    return objects if rest >= 0 and not (rest and free) and (rest + free) % 8 == 0 else None
