"""``.aedat`` files of version 2.0, as jAER wrote them, for example the original recordings of CIFAR10-DVS.

A file starts with lines of text that begin with ``#``. Events follow, each with an address and a time in µs (32 bits each,
big-endian). The meaning of the bits of an address depends on the chip. The line ``# AEChip:`` names the chip; jAER has written
this line since 2014, and a file without this line is from a DVS128.

- DVS128: y is in bits 14 to 8, and x in bits 7 to 1. Bit 0 is 0 for ON. Bit 15 marks a signal at the camera's input.
- DAVIS: y is in bits 30 to 22, and x in bits 21 to 12. Bit 11 is 1 for ON. Bit 31 marks samples of images and of the motion
  sensor. Bit 10 marks a signal at the camera's input.

Both kinds of chips count x from the right and y from the bottom. The coordinates that are returned count from the left and the
top, as in AEDAT 3.1 and 4.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from spikestore.pipeline.readers.formats.format import RawEvents

_CHIP = re.compile(rb"^#\s*AEChip:\s*(?P<chip>.*?)\s*$", re.MULTILINE)
_END_OF_HEADER = re.compile(rb"#\s*End Of ASCII Header", re.IGNORECASE)
_EVENT = np.dtype([("address", ">u4"), ("t", ">u4")])


class _Chip(NamedTuple):
    """Size of a sensor, and the bits of an event's 32-bit address at which x, y and polarity begin."""

    width: int
    height: int
    x_at: int
    x_bits: int
    y_at: int
    polarity_at: int
    on: int
    """Value of the polarity bit of an ON event, 0 or 1."""
    others: int
    """In every entry that is not an event of a pixel, at least one of these bits is set."""


def _davis(width: int, height: int) -> _Chip:
    return _Chip(width, height, x_at=12, x_bits=10, y_at=22, polarity_at=11, on=1, others=1 << 31 | 1 << 10)


_DVS128 = _Chip(128, 128, x_at=1, x_bits=7, y_at=8, polarity_at=0, on=0, others=1 << 15)
_CHIPS = {
    re.compile(r"dvs128|tmpdiff128", re.IGNORECASE): _DVS128,
    re.compile(r"davis?240", re.IGNORECASE): _davis(240, 180),
    # v2e writes DAVI346.
    re.compile(r"davis?346", re.IGNORECASE): _davis(346, 260),
    re.compile(r"davis?640", re.IGNORECASE): _davis(640, 480),
}
"""Chips, by patterns that are found in their names, such as ``eu.seebetter.ini.chips.davis.Davis346B``."""


def read_aedat2(content: bytes) -> RawEvents:
    """Return the events of the pixels in a file: t in µs as int64, x and y as uint16, p as uint8.

    Raises
    ------
    ValueError
        The file is truncated, is from a chip that is not supported, or has addresses that the sensor of its chip does not have.
    """
    at = _end_of_header(content)
    if (len(content) - at) % _EVENT.itemsize:
        raise ValueError(
            f"the file is truncated or damaged: its {len(content) - at} bytes of events are not a multiple of {_EVENT.itemsize}"
        )
    name, chip = _chip(content[:at])
    events = np.frombuffer(content, _EVENT, offset=at)
    address = events["address"].astype(np.uint32)
    of_pixels = address & chip.others == 0
    address, t = address[of_pixels], events["t"][of_pixels].astype(np.int64)
    x = (address >> chip.x_at & (1 << chip.x_bits) - 1).astype(np.int64)
    y = (address >> chip.y_at).astype(np.int64)  # no higher bit is set in an event of a pixel
    outside = np.flatnonzero((x >= chip.width) | (y >= chip.height))
    if len(outside):
        first = int(outside[0])
        raise ValueError(
            f"event {first} has the address {int(address[first]):#x}, which is outside the {chip.width} x {chip.height} pixels of {name}: "
            "convert the file with the tools of the camera, for example to .aedat4"
        )
    return {
        "t": t,
        "x": (chip.width - 1 - x).astype(np.uint16),
        "y": (chip.height - 1 - y).astype(np.uint16),
        "p": (address >> chip.polarity_at & 1 == chip.on).astype(np.uint8),
    }


def _end_of_header(content: bytes) -> int:
    """Return the position of the first event: after the line ``#End Of ASCII Header``, else after the last line of text that begins with ``#``."""
    at = 0
    while content[at : at + 1] == b"#":
        end = content.find(b"\n", at)
        line = content[at : end + 1]
        if end < 0 or not _is_text(line):  # an address may begin with the byte of #
            break
        at = end + 1
        if _END_OF_HEADER.match(line):
            break
    return at


def _is_text(line: bytes) -> bool:
    """Return whether a line is printable ASCII.

    Lines of the header are printable, but events usually are not: the first byte of a time below 2²⁴ µs is 0.
    """
    return line.isascii() and line.strip().replace(b"\t", b" ").decode("ascii").isprintable()


def _chip(header: bytes) -> tuple[str, _Chip]:
    """Return the name of the chip in a header, for messages, and the meaning of its addresses."""
    named = _CHIP.search(header)
    if named is None:
        return "a DVS128 (the file has no line # AEChip)", _DVS128
    name = named["chip"].decode(errors="replace")
    for pattern, chip in _CHIPS.items():
        if pattern.search(name):
            return name, chip
    raise ValueError(
        f"the file is of the chip {name}, should be of a DVS128, or a DAVIS of 240, 346 or 640 pixels: convert it with the tools of "
        "the camera, for example to .aedat4"
    )
