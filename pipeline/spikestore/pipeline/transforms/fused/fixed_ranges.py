"""The events of each bin of ``fixed_duration`` and ``fixed_frames_number``, compiled.

Times are integers: in µs, or, for files with float16 times, as multiples of `UNIT`. For such files, `_half` rounds each result to float16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikestore.pipeline.compiled import inner
from spikestore.pipeline.transforms.fused.parameters import (
    BY_NUMBER,
    DURATION,
    HALF_BY_TIME,
    HALF_DURATION,
    LARGEST_HALF,
    LARGEST_WHOLE_HALF,
    FusedParameters,
)
from spikestore.pipeline.transforms.fused.search import Array, search


@inner
def _half(units: Any) -> Any:
    """Return the float16 that is nearest to `units` · `UNIT`, as a multiple of `UNIT`; `units` must be at least 0.

    If two float16 are equally near, return the one whose last bit is 0.
    """
    if units < LARGEST_WHOLE_HALF:
        return np.rint(units)
    spacing = math.ldexp(1.0, math.frexp(units)[1] - 11)
    return np.rint(units / spacing) * spacing


@inner
def _is_half(parameters: FusedParameters) -> Any:
    return parameters.rule == HALF_DURATION or parameters.rule == HALF_BY_TIME


@inner
def _number_of_bins(parameters: FusedParameters, counts: Array, span: Any) -> Any:
    if parameters.rule == DURATION:
        return (span + parameters.duration - 1) // parameters.duration
    if parameters.rule == HALF_DURATION:
        # A loop of our own: numba needs more than a second to compile np.searchsorted.
        low, high = 0, len(counts)
        while low < high:
            middle = (low + high) // 2
            if counts[middle] <= span:
                low = middle + 1
            else:
                high = middle
        return low
    return parameters.bins


@inner
def fixed_ranges(
    parameters: FusedParameters,
    edges: Array,
    counts: Array,
    t: Array,
    table: Array | None,
    factors: Array,
    low: Any,
    high: Any,
    first: Any,
    last: Any,
) -> tuple[Array, Array]:
    """Return the start and the end of each bin, as positions in `t`; empty if the compiled pass cannot transform the recording.

    Parameters
    ----------
    parameters : FusedParameters
        The transform; its `rule` is not `TONIC`.
    edges, counts : int64 array
        Tables for the rule `HALF_DURATION`. All times in these tables are times after the first event, as multiples of `UNIT`. ``edges[k]`` is
        the smallest time of an event in bin k. If the time of the last event is at least ``counts[k]``, there are more than k bins.
    t : array
        Times of the events as they were read, in µs. If `table` is given, codes of these times instead.
    table : int64 array or None
        Time of each code, after all time factors: as a multiple of `UNIT` for the rules ``HALF_…``, else in µs.
    factors : float64 array
        Factors by which times in `t` are multiplied, one after the other; not used with `table`.
    low, high : int
        Position of the first event, and the end (exclusive) of the events.
    first, last : int
        Times of the first and the last event, after all time factors, in the unit of `table`; in µs without `table`.
    """
    none = np.zeros(0, np.int64)
    span = last - first
    if _is_half(parameters) and (first < 0 or span > LARGEST_HALF or last > LARGEST_HALF):
        return none, none
    n_bins = max(_number_of_bins(parameters, counts, span), 1)
    if n_bins > parameters.most_bins:
        return none, none
    starts, ends = np.empty(n_bins, np.int64), np.empty(n_bins, np.int64)
    if parameters.rule == BY_NUMBER:
        length = (high - low) // n_bins
        for i in range(n_bins):
            starts[i] = low + i * length
            ends[i] = starts[i] + length
    elif parameters.rule == HALF_BY_TIME:
        width = _half(_half(np.float64(span)) / n_bins)
        start = end = low
        for i in range(n_bins):
            edge = _half(_half(width * i) + first)
            start = search(t, table, factors, np.int64(edge), start, high)
            end = search(t, table, factors, np.int64(_half(edge + width)), max(start, end), high)
            starts[i], ends[i] = start, end
    else:
        length = parameters.duration if parameters.rule == DURATION else span // n_bins
        end = low
        for i in range(n_bins):
            starts[i] = end
            after = i + 1
            if parameters.rule == HALF_DURATION:
                edge = first + (edges[after] if after < len(edges) else LARGEST_HALF + 1)
            else:
                edge = first + after * length
            end = search(t, table, factors, edge, end, high)
            ends[i] = end
    ends[n_bins - 1] = high
    return starts, ends
