"""Prophesee's ``.raw`` files with events in EVT2 or EVT3; `spikestore.pipeline.readers.formats.evt_kernels` describes both encodings.

A file starts with lines of text that begin with ``%`` and a space, such as ``% evt 3.0`` or ``% format
EVT3;height=720;width=1280``. If there is a line ``% end``, it is the last of these lines.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.formats.format import RawEvents

_FORMAT = re.compile(rb"%\s+(?:evt\s+|format\s+EVT)(?P<version>\d+(?:\.\d+)?)", re.IGNORECASE)
_LONGEST_LINE = 4096


def read_raw(content: bytes) -> RawEvents:
    """Return the events of a file: t in µs as int64, x and y as uint16, p as uint8.

    Raises
    ------
    ValueError
        The file has no header of this format, has another version, or is truncated.
    """
    version, start = _header(content)
    from spikestore.pipeline.readers.formats import evt_kernels  # imports numba

    word = np.dtype("<u4" if version == 2 else "<u2")
    if (len(content) - start) % word.itemsize:
        raise ValueError(
            f"the file is truncated: {len(content) - start} bytes after the header are not a whole number of words of "
            f"{word.itemsize} bytes"
        )
    words = np.frombuffer(content, word, offset=start)
    words = words.astype(word.newbyteorder("="), copy=False)
    count, decode = (
        (evt_kernels.count_evt2, evt_kernels.decode_evt2)
        if version == 2
        else (evt_kernels.count_evt3, evt_kernels.decode_evt3)
    )
    n_events = count(words)
    columns: dict[str, npt.NDArray[Any]] = {
        "t": np.empty(n_events, np.int64),
        "x": np.empty(n_events, np.uint16),
        "y": np.empty(n_events, np.uint16),
        "p": np.empty(n_events, np.uint8),
    }
    decode(words, *columns.values())
    return columns


def _header(content: bytes) -> tuple[int, int]:
    """Return the version of the format EVT, 2 or 3, and the position at which the events start."""
    if not content:
        raise ValueError("the file is empty")
    versions: list[bytes] = []
    end = 0
    while content[end : end + 2] == b"% ":
        line_end = content.find(b"\n", end, end + _LONGEST_LINE)
        if line_end < 0:
            raise ValueError("the file has a damaged header: a line that starts with % does not end")
        line = content[end:line_end].strip()
        end = line_end + 1
        if line == b"% end":
            break
        if (match := _FORMAT.match(line)) is not None:
            versions.append(match["version"])
    if not versions:
        raise ValueError("the file is not in Prophesee's .raw format: its header names no version of EVT")
    version = versions[0].decode().removesuffix(".0")
    if version not in ("2", "3"):
        raise ValueError(
            f"the file has events in EVT{version}, should have EVT2 or EVT3: convert it with Metavision's tools"
        )
    return int(version), end
