"""Decodes an EVT3 file with eventcv and counts its events in frames of 10 ms: ``python -m benchmarks.peers.eventcv_frames FILE CORE``. CORE is the number of a processor core."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from benchmarks.peers.serve import answers, serve

WINDOW = 10_000


def main(file: str, core: str) -> None:
    """For each line of standard input, decode `file` with eventcv, count its events in frames with NumPy, and write the events/s.

    Runs on processor core `core`. What the lines contain has no effect.
    """
    stream = answers()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core)})
    import eventcv
    import numpy as np

    def frames() -> tuple[int, Any]:
        events = eventcv.load(file)
        width, height = events.sensor_size
        x, y, t, p = events.numpy().astype(np.int64).T
        edges = np.searchsorted(t, np.arange(t[0], t[-1] + WINDOW, WINDOW))
        counted = np.empty((len(edges), 2, height, width), np.uint16)
        place = (p * height + y) * width + x
        for window, (start, stop) in enumerate(zip(edges, [*edges[1:], len(t)], strict=True)):
            counts = np.bincount(place[start:stop], minlength=2 * height * width)
            counted[window] = counts.reshape(2, height, width)
        return len(t), counted

    def rate() -> float:
        began = time.perf_counter()
        count, _ = frames()
        return count / (time.perf_counter() - began)

    count, counted = frames()
    facts = {"events": count, "non_zeros": int(np.count_nonzero(counted)), "total": int(counted.sum())}
    del counted
    serve(stream, rate, **facts)


if __name__ == "__main__":
    main(*sys.argv[1:])
