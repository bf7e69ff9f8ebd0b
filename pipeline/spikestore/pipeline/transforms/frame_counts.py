"""Functions that count the events of each cell (bin, polarity, y, x), from dense frames or directly from events."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events

Ints = npt.NDArray[np.int64]
"""One-dimensional int64 array."""

_BLOCK = 2**22
"""Largest number of events of a block of the sparse count; a bin with more events is a block of its own. If bins overlap, an event counts
once for each of its bins."""


def count_covered(starts: Ints, ends: Ints, n_events: int) -> int:
    """Return the number of events that are in at least one bin, given the ranges [start, end) of all bins."""
    change = np.bincount(starts, minlength=n_events + 1) - np.bincount(ends, minlength=n_events + 1)
    return int(np.count_nonzero(np.cumsum(change)[:n_events]))


def non_zeros(frames: npt.NDArray[np.int16]) -> tuple[Ints, Ints]:
    """Return the index (row-major, increasing) and value of each non-zero of dense frames; int64, shape (nnz,)."""
    cells = frames.reshape(-1)
    index = np.flatnonzero(cells).astype(np.int64, copy=False)
    return index, cells[index].astype(np.int64)


def count_sparsely(events: Events, starts: Ints, ends: Ints, sites: tuple[int, ...]) -> tuple[Ints, Ints]:
    r"""Count the events in each cell that has events; no dense frame is made. A cell is a pair of time bin and site.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Events inside the sensor.
    starts, ends : int64 array, shape (n_bins,)
        The events of bin i are ``events[starts[i]:ends[i]]``.
    sites : tuple of int
        Sizes of the axes after time: (P, Y, X) or (P, X).

    Returns
    -------
    index, value : int64 array, shape (nnz,)
        `index` has the index of each non-zero, row-major over (bin, \*sites), in ascending order; `value` has its count.
    """
    fields = ("p", "y", "x") if len(sites) == 3 else ("p", "x")
    site = np.zeros(len(events), np.int64)
    for field, size in zip(fields, sites, strict=True):
        site = site * size + events[field]
    filled = np.flatnonzero(ends > starts)
    counts = (ends - starts)[filled]
    behind = np.cumsum(counts)
    pieces, done = [], 0
    while done < len(filled):
        taken = behind[done - 1] if done else 0
        stop = max(int(np.searchsorted(behind, taken + _BLOCK, side="right")), done + 1)
        block, lengths = filled[done:stop], counts[done:stop]
        # 0 1 2 | 0 1 | 0 1 2 3 …, shifted to the start of each bin's events
        offsets = np.repeat(starts[block] - (behind[done:stop] - lengths), lengths)
        members = np.arange(taken, behind[stop - 1]) + offsets
        pieces.append(
            np.unique(np.repeat(block, lengths) * math.prod(sites) + site[members], return_counts=True)
        )
        done = stop
    if not pieces:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    index, value = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
    return index, value.astype(np.int64, copy=False)
