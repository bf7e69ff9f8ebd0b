"""Compiled search among the times of a recording; only the times that the search reads are scaled by the time factors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import inner

Array = npt.NDArray[Any]

_LAST_STEP = 8
"""If at most this many events remain, a search compares all of them instead of halving the range again."""


@inner
def raw(t: Array, table: Array | None, i: int) -> Any:
    """Return the time of event i in µs, before all time factors; if `table` is given, ``t[i]`` is a position in `table`, where the time is."""
    return np.int64(t[i]) if table is None else table[t[i]]


@inner
def scaled(t: Array, table: Array | None, factors: Array, i: int) -> Any:
    """Return the time of event i after all time factors; as in Tonic, the time is truncated after each factor."""
    if table is not None:
        return table[t[i]]
    time = np.int64(t[i])
    for factor in factors:
        time = np.int64(np.float64(time) * factor)
    return time


@inner
def search(t: Array, table: Array | None, factors: Array, key: Any, low: Any, high: Any) -> Any:
    """Return the number of the first event from `low` to `high` - 1 with a time (see `scaled`) of at least `key`; `high` if there is none."""
    place, step = low, _LAST_STEP
    while place < high and scaled(t, table, factors, place) < key:
        low = place + 1
        place += step
        step *= 2
    high = min(place, high)
    while high - low > _LAST_STEP or (high > low and low + _LAST_STEP > len(t)):
        middle = (low + high) // 2
        if scaled(t, table, factors, middle) < key:
            low = middle + 1
        else:
            high = middle
    if high == low:
        return low
    # Compare all remaining events, without a branch. Events from `high` on are excluded by the min below.
    before = 0
    for k in range(_LAST_STEP):
        before += scaled(t, table, factors, low + k) < key
    return min(low + before, high)
