"""``.aedat`` files of version 3.1, as iniVation's cAER wrote them, for example the recordings of DVSGesture.

A file starts with lines of text that begin with ``#``; the first is ``#!AER-DAT3.1``, the last ``#!END-HEADER``. Packets
follow, little-endian, each with a header of 28 bytes. The header has two numbers of 16 bits: type and source of the events. Six
numbers of 32 bits follow: ``size``, position of the time in an event, overflow of the times, ``capacity``, number of events, and
number of valid events. After the header, there are ``capacity`` events of ``size`` bytes. An event of a sensor (type 1) has 64 bits. The first 32 bits are, from
the highest bit down, x (15 bits), y (15 bits), the polarity (1 bit), and whether the event is valid (1 bit). The last 32 bits
are the time in µs, to which overflow · 2^31 is added. Events that a filter of cAER has marked as invalid are left out, as cAER's
own modules do.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.formats.format import RawEvents

_ENCODING = re.compile(rb"#Format:\s*(?P<format>.*?)\s*")
_LONGEST_LINE = 4096

_PACKET = np.dtype(
    [
        ("kind", "<u2"),
        ("source", "<u2"),
        ("size", "<u4"),
        ("time_at", "<u4"),
        ("overflow", "<u4"),
        ("capacity", "<u4"),
        ("number", "<u4"),
        ("valid", "<u4"),
    ]
)
_EVENT = np.dtype([("data", "<u4"), ("t", "<u4")])
_OF_A_SENSOR = 1


def read_aedat3(content: bytes) -> RawEvents:
    """Return the valid events of the sensor in a file: t in µs as int64, x and y as uint16, p as uint8.

    Raises
    ------
    ValueError
        The file is compressed, is damaged or truncated, or has events of several sensors or of another size than 8 bytes.
    """
    at = _end_of_header(content)
    parts: list[npt.NDArray[np.void]] = []
    times: list[npt.NDArray[np.int64]] = []
    sources = set()
    while at < len(content):
        if at + _PACKET.itemsize > len(content):
            raise ValueError("the file is truncated in the header of a packet")
        packet = np.frombuffer(content, _PACKET, 1, at)[0]
        at += _PACKET.itemsize
        capacity, size = int(packet["capacity"]), int(packet["size"])
        if packet["number"] > capacity or packet["valid"] > packet["number"] or not size:
            raise ValueError(
                f"the file is damaged: the header of the packet before byte {at} contradicts itself"
            )
        if at + capacity * size > len(content):
            raise ValueError(f"the file is truncated or damaged: the packet at byte {at} does not end")
        if packet["kind"] == _OF_A_SENSOR:
            if size != _EVENT.itemsize:
                raise ValueError(f"the file has events of {size} bytes, should have {_EVENT.itemsize}")
            events = np.frombuffer(content, _EVENT, int(packet["number"]), at)
            events = events[events["data"] & 1 == 1]
            if len(events) != packet["valid"]:
                raise ValueError(
                    f"the file is damaged: the packet at byte {at} has {len(events)} valid events, its header says {packet['valid']}"
                )
            parts.append(events)
            times.append(events["t"].astype(np.int64) + (int(packet["overflow"]) << 31))
            sources.add(int(packet["source"]))
        at += capacity * size
    if len(sources) > 1:
        raise ValueError(
            f"the file has events of {len(sources)} sensors: save those of each in a file of its own"
        )
    data = np.concatenate([np.empty(0, _EVENT), *parts])["data"]
    return {
        "t": np.concatenate([np.empty(0, np.int64), *times]),
        "x": (data >> 17).astype(np.uint16),
        "y": (data >> 2 & 0x7FFF).astype(np.uint16),
        "p": (data >> 1 & 1).astype(np.uint8),
    }


def _end_of_header(content: bytes) -> int:
    """Return the position at which the packets start."""
    at = 0
    while content[at : at + 1] == b"#":
        end = content.find(b"\n", at, at + _LONGEST_LINE)
        if end < 0:
            break
        line = content[at:end]
        encoding = _ENCODING.fullmatch(line)
        if encoding is not None and encoding["format"] != b"RAW":
            name = encoding["format"].decode(errors="replace")
            raise ValueError(
                f"the file has the encoding {name}, should have RAW: save it without compression"
            )
        at = end + 1
        if line.rstrip() == b"#!END-HEADER":
            return at
    raise ValueError("the file has no line #!END-HEADER: it is truncated or damaged")
