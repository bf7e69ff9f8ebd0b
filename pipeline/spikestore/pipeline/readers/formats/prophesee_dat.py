"""Prophesee's ``.dat`` files, version 2, as in N-CARS and from Metavision's tools.

A file starts with lines of text that begin with ``%``. Two bytes follow: the type of the events, and the size of an event. Then each event has
64 bits, little-endian: t in µs (32), x (14), y (14), p (1), and 3 unused bits.
"""

from __future__ import annotations

import re

import numpy as np

from spikestore.pipeline.readers.formats.events import FourColumns

_EVENT = np.dtype([("t", "<u4"), ("data", "<u4")])
EVENT_BYTES = _EVENT.itemsize
"""Size of an event in bytes."""

_VERSION = re.compile(rb"%\s*Version\s+(\S+)", re.IGNORECASE)
_LONGEST_HEADER = 2**16
_TYPES = (0, 12)
"""Type numbers of events of contrast detection: the old and the current one."""


def header_length(content: bytes) -> int:
    """Return the position in a file, in bytes, at which its events start.

    Parameters
    ----------
    content : bytes
        The file, or its first 65,536 bytes.

    Raises
    ------
    ValueError
        The header is missing, damaged or truncated, or states another version or another type of events.
    """
    if not content:
        raise ValueError("the file is empty: unpack it again from the downloaded archive")
    end = 0
    while content[end : end + 1] == b"%":
        line_end = content.find(b"\n", end, _LONGEST_HEADER)
        if line_end < 0:
            raise ValueError("the file has a damaged header: a line that starts with % does not end")
        version = _VERSION.match(content[end:line_end])
        if version is not None and version[1] != b"2":
            raise ValueError(
                f"the file has version {version[1].decode(errors='replace')} of Prophesee's .dat, should have 2"
            )
        end = line_end + 1
    if not end:
        raise ValueError("the file is not in Prophesee's .dat format: its first line should start with %")
    if len(content) < end + 2:
        raise ValueError("the file is truncated in its header")
    kind, size = content[end], content[end + 1]
    if kind not in _TYPES or size != _EVENT.itemsize:
        raise ValueError(
            f"the file has events of type {kind} with {size} bytes, should have type 0 or 12 with {_EVENT.itemsize}"
        )
    return end + 2


def read_dat(content: bytes) -> FourColumns:
    """Return the events of a file: t in µs (int64), x and y (int16), and p (uint8).

    Raises
    ------
    ValueError
        The header is invalid (see `header_length`), or the file is truncated.
    """
    start = header_length(content)
    if (len(content) - start) % _EVENT.itemsize:
        raise ValueError(
            f"the file is truncated: {len(content) - start} bytes after the header are not a whole number of events "
            f"of {_EVENT.itemsize} bytes"
        )
    events = np.frombuffer(content, _EVENT, offset=start)
    data = events["data"]
    return (
        events["t"].astype(np.int64),
        (data & 0x3FFF).astype(np.int16),
        (data >> 14 & 0x3FFF).astype(np.int16),
        (data >> 28 & 1).astype(np.uint8),
    )
