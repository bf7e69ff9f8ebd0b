"""``.aedat`` files, whose first line has their version."""

from __future__ import annotations

import re

from spikestore.pipeline.readers.formats.aedat.aedat2 import read_aedat2
from spikestore.pipeline.readers.formats.aedat.aedat3 import read_aedat3
from spikestore.pipeline.readers.formats.format import RawEvents

_FIRST_LINE = re.compile(rb"#!AER-DAT(?P<version>[\w.]*)\s*")
_READ = {b"2.0": read_aedat2, b"3.1": read_aedat3}


def read_aedat(content: bytes) -> RawEvents:
    """Return the events of the sensor in a file: t in µs as int64, x and y as uint16, p as uint8.

    Raises
    ------
    ValueError
        The file has another version, or cannot be read; see `read_aedat2` and `read_aedat3`.
    """
    if not content:
        raise ValueError("the file is empty")
    first = _FIRST_LINE.match(content)
    if first is None:
        raise ValueError("the file is not in the format AEDAT: its first line should start with #!AER-DAT")
    read = _READ.get(first["version"])
    if read is None:
        version = first["version"].decode(errors="replace") or "1"
        raise ValueError(
            f"the file has version {version} of AEDAT, should have 2.0 or 3.1: convert it with the tools of the camera, for example to "
            ".aedat4"
        )
    return read(content)
