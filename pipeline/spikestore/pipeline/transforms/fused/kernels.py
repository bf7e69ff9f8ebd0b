"""The compiled pass over a block of recordings.

For each recording:

1. Check that it is ordinary: times are sorted and within ± `EXACT`, coordinates and polarities are inside the sensor.
   The compiler vectorises these checks over whole columns. The caller transforms recordings that are not ordinary.
2. Select the events that all crops keep. Scaling and truncating keep the order of times, so the events are one range,
   which a search finds.
3. Compute the edges of each bin in float64, as ``tonic.slicers`` does, and search for each edge among the scaled
   times, starting at the previous edge. For SpikingJelly's rules, `fixed_ranges` finds the events of each bin.
4. Count the events of a bin, with 2 or 4 bytes per site, and collect the non-zeros of 64 sites at a time: a vector comparison
   returns a mask of the non-zero sites. If there are many sites and few events, the count loop sets the mask itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikestore.pipeline.compiled import compiled, inlined, inner
from spikestore.pipeline.transforms.fused.fixed_ranges import fixed_ranges
from spikestore.pipeline.transforms.fused.parameters import TONIC, FusedParameters
from spikestore.pipeline.transforms.fused.search import Array, raw, scaled, search
from spikestore.store.bit_operations import compared, ones, trailing_zeros

TODO, SKIP, UNUSUAL = 0, 1, 2
"""States of a recording: transformed by the pass; skipped, because it has an error; left to the caller, because it is not ordinary."""

_FEW, _MANY = 4, 10
"""Number of sites that are written at once. A larger number means fewer branches, but more superfluous elements if few of
the 64 sites of a word have events."""

SLACK = _MANY
"""Number of elements that may be written after the last non-zero of the output; they are cut off or overwritten."""

_U64, _U32 = np.uint64, np.uint32
_non_zeros = compared("!=", 0)
_ZERO, _ONE, _SIX = np.uint64(0), np.uint64(1), np.uint64(6)
_LARGEST_COUNT = 2**32 - 1
_MOST_SMALL = 2**16 - 1
"""Largest number of events of a bin that is counted with 2 bytes per site; so the counts of most sensors fit the fastest cache."""
_SCAN_ALWAYS = 4
"""Largest number of words (of 64 sites) for which all sites are always compared instead of marked."""
_MANY_EVENTS = 5
"""Smallest number of events per word for which `_MANY` is faster than `_FEW` (measured)."""
_SCAN_SITES = 24
"""Largest number of sites per event of a bin for which comparing all sites is faster than marking (measured)."""


@inner
def is_sorted(t: Array, table: Array | None, rising: Any) -> Any:
    """Return whether raw times are sorted.

    With `table`, `t` has codes of times. Codes up to `rising` are in the order of their times; larger codes may be in another order.
    """
    falls = t.dtype.type(0)
    for i in range(len(t) - 1):
        falls |= t.dtype.type(t[i] > t[i + 1])
    if table is None:
        return falls == 0
    if falls == 0 and t[-1] <= rising:
        return True
    for i in range(len(t) - 1):  # noqa: SIM110 numba has no generator expressions
        if table[t[i]] > table[t[i + 1]]:
            return False
    return True


@inner
def largest(values: Array) -> Any:
    """Return the largest value; there must be at least one value."""
    found = values[0]
    for i in range(len(values)):
        found = max(found, values[i])
    return found


@inner
def _is_on_sensor(parameters: FusedParameters, x: Array, y: Array | None, p: Array | None) -> Any:
    if largest(x) > parameters.x_last:
        return False
    if y is not None and largest(y) > parameters.y_last:
        return False
    if p is not None:
        if largest(p) > parameters.p_last:
            return False
        if parameters.plane == 0:
            differs = p[0] ^ p[0]
            for i in range(len(p)):
                differs |= p[i] ^ p[0]
            return differs == 0
    return True


@inlined
def _emit(
    mask: Any, word: Any, base: Any, counts: Array, index: Array, value: Array, filled: Any, at_once: Any
) -> Any:
    """Append the non-zeros among 64 sites of a time bin to `index` and `value`, from position `filled` on; return the new end.

    `mask` has bit k set if site 64 · `word` + k of the time bin has a count; `base` is the index of the bin's first site. Each pass of
    the loop appends `at_once` sites.
    """
    after = filled + ones(mask)
    first = _U64(word) << _SIX
    while filled < after:
        # Superfluous elements are overwritten or cut off; they have site 64 of the word.
        for k in range(at_once):
            site = first + trailing_zeros(mask)
            to = _U64(filled + k)
            index[to] = base + site
            value[to] = counts[site]
            mask &= mask - _ONE
        filled += at_once
    return after


@inlined
def _count_bin(
    counts: Array,
    marks: Array,
    summary: Array,
    parameters: FusedParameters,
    x: Array,
    x_table: Array,
    y: Array | None,
    y_table: Array | None,
    p: Array | None,
    behind: Any,
    until: Any,
    base: Any,
    index: Array,
    value: Array,
    filled: Any,
) -> Any:
    """Append the non-zeros of one bin; return the new end of the output. The events of the bin have the positions `behind` to `until` - 1.

    All elements of `counts`, `marks` and `summary` must be 0 before the call, and are 0 after it. The dtype of `counts` must be large enough
    for all counts.
    """
    words = len(marks)
    plane, first_site = _U32(parameters.plane), _U32(parameters.first_site)
    one = counts.dtype.type(1)
    scan = words <= _SCAN_ALWAYS or parameters.sites <= _SCAN_SITES * (until - behind)
    for i in range(_U64(behind), _U64(until)):
        site = x_table[x[i]] + first_site
        if y is not None:
            site += y_table[y[i]]  # type: ignore[index]
        if p is not None:
            site += plane * _U32(p[i])
        counts[site] += one
        if not scan:
            marks[site >> _U32(6)] |= _ONE << _U64(site & _U32(63))
            summary[site >> _U32(12)] |= _ONE << _U64((site >> _U32(6)) & _U32(63))
    if scan:
        if until - behind >= _MANY_EVENTS * words:
            for word in range(words):
                mask = _non_zeros(counts, word * 64)
                filled = _emit(mask, word, base, counts, index, value, filled, _MANY)
        else:
            for word in range(words):
                mask = _non_zeros(counts, word * 64)
                filled = _emit(mask, word, base, counts, index, value, filled, _FEW)
        counts[: words * 64] = 0
        return filled
    for group in range(len(summary)):
        marked = summary[group]
        summary[group] = _ZERO
        while marked != _ZERO:
            place = group * 64 + np.int64(trailing_zeros(marked))
            filled = _emit(marks[place], place, base, counts, index, value, filled, _FEW)
            counts[place * 64 : place * 64 + 64] = 0
            marks[place] = _ZERO
            marked &= marked - _ONE
    return filled


@inner
def _bins(parameters: FusedParameters, first: Any, last: Any) -> tuple[Any, Any, Any, Any]:
    """Return the number of bins, the start of the first bin, the length of a bin, and the time from the start of a bin to the start of the next.

    These numbers are computed in the same way as by Tonic's slicers.

    `first` and `last` are the times of the first and last event. If the number of bins is too large or not finite, the first
    result is -1.
    """
    start = np.float64(first) if math.isnan(parameters.start) else parameters.start
    if parameters.bins > 0:
        window = np.float64((last - first) // parameters.bins) * parameters.grow
        return parameters.bins, start, window, window * parameters.shrink
    stop = np.float64(last) if math.isnan(parameters.end) else parameters.end
    strides = (stop - start - parameters.window) / parameters.stride
    strides = np.ceil(strides) if parameters.up else np.floor(strides)
    n_bins: Any = -1
    if math.isfinite(strides) and strides < parameters.most_bins:
        n_bins = np.int64(strides) + 1 if strides >= 0 else 1
    return n_bins, start, parameters.window, parameters.stride


@compiled
def bin_recordings(
    parameters: FusedParameters,
    factors: Array,
    all_t: Array,
    raw_table: Array | None,
    scaled_table: Array | None,
    rising: int,
    all_x: Array,
    x_table: Array,
    all_y: Any,
    y_table: Any,
    all_p: Any,
    edges: Array,
    counts_of_bins: Array,
    offsets: Array,
    first_row: int,
    state: Array,
    about: Array,
    index: Array,
    value: Array,
    filled: int,
) -> tuple[int, int]:
    """Transform recordings, one after another, until all recordings are transformed or the output is full.

    Parameters
    ----------
    parameters : FusedParameters
        The transform.
    factors : float64 array, shape (scalings,)
        Time factors, in the order in which they are applied.
    all_t : int64 or uint16 array, shape (events,)
        Raw times in µs as int64, or codes as uint16. A code is the bit pattern of a float16, and a position in the two tables.
    raw_table, scaled_table : int64 array, shape (65536,), or None
        The raw time of each code, and its time after all scalings, in µs; None if `all_t` has no codes. For the rules `HALF_DURATION`
        and `HALF_BY_TIME`, the second table has the float16 times, as multiples of `UNIT`.
    rising : int
        The times of the codes 0 to `rising` never decrease.
    all_x, all_y : uint16 array, shape (events,); `all_y` may be None
        Raw coordinates.
    x_table, y_table : uint32 array, shape (65536,)
        Number that each raw coordinate adds to the site of an event.
    all_p : uint8 array, shape (events,), or None
        Polarities.
    edges, counts_of_bins : int64 array
        Tables for the rule `HALF_DURATION`, as `fixed_ranges` describes them; empty for other rules.
    offsets : int64 array, shape (recordings + 1,)
        Start of each recording's events, and the end of the last recording.
    first_row : int
        The first recording to transform.
    state : uint8 array, shape (recordings,)
        State of each recording: recordings with `SKIP` are skipped, and unusual recordings get `UNUSUAL`.
    about : int64 array, shape (4, recordings)
        Output: ``nnz``, ``n_bins``, ``n_cropped`` and ``n_dropped`` of each recording.
    index : uint32 or uint64 array, shape (capacity,)
        Output: the indices of the non-zeros.
    value : uint32 array, shape (capacity,)
        Output: the values of the non-zeros.
    filled : int
        Number of elements of the output that are filled already.

    Returns
    -------
    row : int
        The first recording that did not fit into the output, or the number of recordings.
    filled : int
        Number of filled elements of the output.
    """
    words = (parameters.sites + 63) // 64
    # One word more than there are sites: see `_emit`.
    small_counts, counts = np.zeros(words * 64 + 64, np.uint16), np.zeros(0, np.uint32)
    marks = np.zeros(words, np.uint64)  # one bit per site
    summary = np.zeros((words + 63) // 64, np.uint64)  # one bit per word of marks
    sites, clip = _U64(parameters.sites), _U32(parameters.clip)
    unscaled = factors[:0]
    no_ranges = np.zeros(0, np.int64)

    for row in range(first_row, len(state)):
        about[:, row] = 0
        if state[row] == SKIP:
            continue
        # Views that start at 0: otherwise the compiler cannot exclude negative indices.
        events_of_row = slice(offsets[row], offsets[row + 1])
        t, x = all_t[events_of_row], all_x[events_of_row]
        y = None if all_y is None else all_y[events_of_row]
        p = None if all_p is None else all_p[events_of_row]
        low, high = 0, len(t)
        if high > 0:
            if (
                high >= 2**32 - 1
                or raw(t, raw_table, 0) < parameters.low
                or raw(t, raw_table, high - 1) > parameters.high
                or not _is_on_sensor(parameters, x, y, p)
                or not is_sorted(t, raw_table if parameters.rule == TONIC else scaled_table, rising)
            ):
                state[row] = UNUSUAL
                continue
            low = search(t, raw_table, unscaled, parameters.first, low, high)
            high = search(t, raw_table, unscaled, parameters.last + 1, low, high)
        about[2, row] = len(t) - (high - low)
        if low == high:
            about[1, row] = parameters.empty_bins
            continue

        first = scaled(t, scaled_table, factors, low)
        last = scaled(t, scaled_table, factors, high - 1)
        starts, ends = no_ranges, no_ranges
        if parameters.rule == TONIC:
            n_bins, start, window, stride = _bins(parameters, first, last)
        else:
            starts, ends = fixed_ranges(
                parameters, edges, counts_of_bins, t, scaled_table, factors, low, high, first, last
            )
            n_bins = len(starts) if len(starts) > 0 else -1
            start = window = stride = 0.0
        if n_bins < 0:
            state[row] = UNUSUAL
            continue
        about[1, row] = n_bins
        row_begins = filled
        behind, until = low, low  # of the bin before
        key_until: Any = np.iinfo(np.int64).min
        seen, covered = low, 0
        for time_bin in range(n_bins):
            if parameters.rule == TONIC:
                edge = np.float64(time_bin) * stride + start
                key, former = np.int64(np.ceil(edge)), key_until
                key_until = np.int64(np.ceil(edge + window))
                if key != former:
                    behind = search(t, scaled_table, factors, key, until if key > former else behind, high)
                else:
                    behind = until
                until = search(t, scaled_table, factors, key_until, max(behind, until), high)
            else:
                behind, until = starts[time_bin], ends[time_bin]
            if behind == high:
                break  # later bins have no events either
            if behind == until:
                continue
            covered += max(until - max(behind, seen), 0)
            seen = max(seen, until)
            events = until - behind
            if filled + min(events, parameters.sites) + SLACK > len(index):
                return row, row_begins
            base = _U64(time_bin) * sites
            if events <= _MOST_SMALL:
                filled = _count_bin(
                    small_counts, marks, summary, parameters, x, x_table, y, y_table, p, behind, until, base, index, value, filled
                )  # fmt: skip
                continue
            if len(counts) == 0:
                counts = np.zeros(words * 64 + 64, np.uint32)
            filled = _count_bin(
                counts, marks, summary, parameters, x, x_table, y, y_table, p, behind, until, base, index, value, filled
            )  # fmt: skip
        if parameters.clip < _LARGEST_COUNT:
            for k in range(row_begins, filled):
                value[k] = min(value[k], clip)
        about[0, row] = filled - row_begins
        about[3, row] = (high - low) - covered
    return len(state), filled
