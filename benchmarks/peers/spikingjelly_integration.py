"""SpikingJelly's own integration of events: ``python -m …spikingjelly_integration RECORDINGS.npz RULES [FRAMES.npz]``.

RECORDINGS.npz has the columns of all recordings and their ``offsets``; RULES is ``duration=4`` (ms for SHD,
µs for cameras), ``number=16`` or ``time=16``, or several of these, separated by commas. Recordings without ``y`` are
integrated by SpikingJelly's code for SHD, and recordings with ``y`` by its code for cameras. With FRAMES.npz, the
frames of each recording are written. Without FRAMES.npz, each line of standard input starts a timed
integration of all recordings.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.serve import answers, serve
from benchmarks.peers.spikingjelly_frames import leave_out_vision


def main(path: str, rules: str, frames: str | None = None) -> None:
    """Integrate the events of all recordings in the file `path` by each of `rules`, and write the frames into the file `frames`.

    Without `frames`, measure the rate instead: integrate all recordings once for each line of stdin, and write nothing.
    """
    stream = answers()
    leave_out_vision()
    from spikingjelly.datasets import shd, utils

    data = np.load(path)
    parts = list(zip(data["offsets"][:-1], data["offsets"][1:], strict=True))
    fields = [field for field in ("t", "x", "y", "p") if field in data]
    recordings = [{field: data[field][start:stop] for field in fields} for start, stop in parts]
    size = tuple(int(length) for length in data["size"])  # (width,), or (height, width)
    wanted = [(rule, int(number)) for rule, number in (part.split("=") for part in rules.split(","))]

    def integrate(events: dict[str, Any], rule: str, number: int) -> Any:
        if "y" not in events and rule == "duration":
            return shd._integrate_events_by_fixed_duration(events, number, *size)
        if "y" not in events:
            return shd._integrate_events_by_fixed_frames_number(events, rule, number, *size)
        if rule == "duration":
            return utils.integrate_events_by_fixed_duration(events, number, *size)
        return utils.integrate_events_by_fixed_frames_number(events, rule, number, *size)

    if frames is not None:
        integrated = {
            f"{rule}={number} {row}": integrate(events, rule, number)
            for rule, number in wanted
            for row, events in enumerate(recordings)
        }
        np.savez(Path(frames), **integrated)
        return

    def work() -> float:
        began = time.perf_counter()
        for rule, number in wanted:
            for events in recordings:
                integrate(events, rule, number)
        return len(wanted) * len(recordings) / (time.perf_counter() - began)

    work()
    serve(stream, work)


if __name__ == "__main__":
    main(*sys.argv[1:])
