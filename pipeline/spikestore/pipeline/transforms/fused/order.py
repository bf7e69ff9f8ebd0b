"""Sorting of the events of unsorted recordings, before the compiled pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock


def in_order(block: EventBlock, table: npt.NDArray[np.int64] | None) -> EventBlock:
    """Return the block with the events of each recording sorted by time (stable).

    If ``block.t`` has time codes (see `EventBlock`), `table` has the time of each code. If ``block.t`` has times, `table` is None. If all recordings
    are sorted already, `block` itself is returned.
    """
    offsets = block.offsets
    t = block.t if table is None else table[block.t]
    falls = np.flatnonzero(t[1:] < t[:-1]) + 1
    recordings = np.searchsorted(offsets, falls, side="right") - 1
    within = falls != offsets[recordings]
    order: npt.NDArray[np.int64] | None = None
    for recording in np.unique(recordings[within]).tolist():
        events = slice(int(offsets[recording]), int(offsets[recording + 1]))
        if order is None:
            order = np.arange(len(t))
        order[events] = events.start + np.argsort(t[events], kind="stable")
    if order is None:
        return block
    return replace(
        block,
        t=block.t[order],
        x=block.x[order],
        y=None if block.y is None else block.y[order],
        p=None if block.p is None else block.p[order],
    )
