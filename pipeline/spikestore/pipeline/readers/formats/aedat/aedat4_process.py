"""A process that decodes ``.aedat4`` files with the library aedat, which aborts on some damaged files.

Each line of stdin is a path in hexadecimal. The process answers on stdout. The answer is the line ``events SIZE`` and then an
array of SIZE bytes in NumPy's format, or else one line with ``error`` and a message. The process imports nothing of spikestore,
and ends when its stdin ends.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np


def main() -> None:
    """Decode the file that each line of stdin names, and write its events or an error to stdout, until stdin ends."""
    for line in sys.stdin.buffer:
        answer = _answer(bytes.fromhex(line.decode("ascii")).decode("utf-8", "surrogateescape"))
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


def _answer(path: str) -> bytes:
    try:
        file = io.BytesIO()
        np.save(file, _events(path))
        data = file.getvalue()
    except BaseException as error:
        why = " ".join(str(error).replace(path, "the file").split())[:200]
        return f"error {why or type(error).__name__}\n".encode()
    return b"events %d\n" % len(data) + data


def _events(path: str) -> Any:
    import aedat

    decoder = aedat.Decoder(path)
    streams = [number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
    if not streams:
        raise ValueError("it has no stream of events")
    packets = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
    named = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
    events = np.empty(sum(map(len, packets)), named)
    if packets:
        joined = np.concatenate(packets)
        for field in ("t", "x", "y"):
            events[field] = joined[field]
        events["p"] = joined["on"]
    return events


if __name__ == "__main__":
    main()
