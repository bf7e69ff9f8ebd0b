"""The ``.bin`` files of N-MNIST and N-Caltech101.

A file is a sequence of entries of 40 bits each: x (8 bits), y (8), p (1), t in µs (23), big-endian. An entry with y = 240 is
not an event: it says that the clock overflowed, and 2^13 µs are added to the times of all later events. Events are those of
`tonic.io.read_mnist_file`, bit for bit, with one exception: Tonic adds in uint32, which wraps after 4,295 s.

All files of a block are decoded together, so that NumPy is not called for each file.

The entries of the ``.bs2`` files of SLAYER have the same layout, but in these files an entry with y = 240 is an event like any
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

BYTES = 5
"""Size of an event in bytes."""

_ENTRY = np.dtype([("x", np.uint8), ("word", ">u4")])
"""The last four bytes are one word of y, p and t: reading words is three times as fast as putting t together from bytes."""

_TIME = np.uint32(2**23 - 1)
_OVERFLOW = 240
_OVERFLOW_SHIFT = 13
_DAMAGED = "unpack it again from the downloaded archive"


class PackedEvents(NamedTuple):
    """The events of some files, one file after the other.

    Attributes
    ----------
    offsets : int64 array, shape (files + 1,)
        Start of each file's events, and the end of the last file.
    t : int32 or int64 array, shape (events,)
        Times in µs.
    x, y, p : uint8 arrays, shape (events,)
        Coordinates and polarities.
    """

    offsets: npt.NDArray[np.int64]
    t: npt.NDArray[Any]
    x: npt.NDArray[np.uint8]
    y: npt.NDArray[np.uint8]
    p: npt.NDArray[Any]


def fields_of(
    content: bytes,
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return t, x, y and p of all entries, including those that mark an overflow of the clock (y = 240); `content` must have a whole number of entries."""
    entries = np.frombuffer(content, _ENTRY)
    words = entries["word"].astype("<u4")
    octets = words.view(np.uint8).reshape(-1, 4)
    y, p = octets[:, 3].copy(), octets[:, 2] >> 7
    words &= _TIME
    return words.view("<i4"), entries["x"].copy(), y, p


def problems_of(contents: Sequence[bytes]) -> dict[int, str]:
    """Return the faults of files with an invalid size: a dict from the position in `contents` to a description of the fault."""
    problems = {}
    for place, content in enumerate(contents):
        if not content:
            problems[place] = f"the file is empty: {_DAMAGED}"
        elif len(content) % BYTES:
            problems[place] = (
                f"{len(content)} bytes are not a whole number of events of {BYTES} bytes: {_DAMAGED}"
            )
    return problems


def unpack(contents: Sequence[bytes], problems: Mapping[int, str]) -> PackedEvents:
    """Return the events of some files; files in `problems` get no events."""
    whole = [b"" if place in problems else content for place, content in enumerate(contents)]
    bounds = np.cumsum([0, *(len(content) // BYTES for content in whole)], dtype=np.int64)
    t, x, y, p = fields_of(b"".join(whole))
    overflow = y == _OVERFLOW
    if not overflow.any():
        return PackedEvents(bounds, t, x, y, p)
    passed = np.cumsum(overflow, dtype=np.int64)  # in all files, up to each event
    before = np.concatenate([np.zeros(1, np.int64), passed])[bounds]  # in all files before each one
    late = (passed - np.repeat(before[:-1], np.diff(bounds))) << _OVERFLOW_SHIFT
    events = ~overflow
    return PackedEvents(bounds - before, (t + late)[events], x[events], y[events], p[events])
