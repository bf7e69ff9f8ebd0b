"""Compiled operations that drop events, on a copy of the events of a block.

Each operation writes the events that it keeps over the events that it has read. Times are computed in float64, because
Tonic keeps the last time of each pixel in a float64 array. float64 represents whole times up to `EXACT` exactly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import compiled, inner
from spikestore.pipeline.transforms.fused.kernels import TODO, UNUSUAL, is_sorted, largest
from spikestore.pipeline.transforms.fused.tables import EXACT, RAW

Array = npt.NDArray[Any]

DOWNSAMPLE, CROP_TIME, CENTER_CROP, DENOISE, REFRACTORY_PERIOD = 0, 1, 2, 3, 4
"""Kinds of operations."""

MOST_PIXELS = 2**24
"""Largest number of pixels of a recording for which a table of times is made: 128 MiB in total."""

_FAILED = -1
"""Result of an operation that cannot be computed exactly for the events of a recording."""


@inner
def _copy(old: Array, new: Array) -> None:
    for i in range(len(new)):
        new[i] = old[i]


@inner
def is_ordinary(t: Array, x: Array, y: Array, p: Array, x_last: Any, y_last: Any, p_last: Any) -> Any:
    """Return whether times are sorted and within ± `EXACT`, and x, y and p are at most `x_last`, `y_last` and `p_last`.

    There must be at least one event.
    """
    inside = largest(x) <= x_last and largest(y) <= y_last and largest(p) <= p_last
    return inside and t[0] >= -EXACT and t[-1] <= EXACT and is_sorted(t, None, 0)


@inner
def _downsample(t: Array, x: Array, y: Array, n: Any, numbers: Array) -> Any:
    time_factor, x_factor, y_factor = numbers[0], numbers[1], numbers[2]
    if time_factor != 1:
        largest = max(abs(np.float64(t[0])), abs(np.float64(t[n - 1])))
        if not largest * time_factor < EXACT:
            return _FAILED
        for i in range(n):
            t[i] = np.int64(np.float64(t[i]) * time_factor)
    fits = True
    for i in range(n):
        new_x, new_y = np.float64(x[i]) * x_factor, np.float64(y[i]) * y_factor
        fits &= new_x < RAW and new_y < RAW
        x[i], y[i] = np.uint16(min(new_x, RAW - 1)), np.uint16(min(new_y, RAW - 1))
    return n if fits else _FAILED


@inner
def _keep(t: Array, x: Array, y: Array, p: Array, i: Any, to: Any) -> None:
    t[to], x[to], y[to], p[to] = t[i], x[i], y[i], p[i]


@inner
def _crop_time(t: Array, x: Array, y: Array, p: Array, n: Any, numbers: Array) -> Any:
    kept: Any = 0
    for i in range(n):
        _keep(t, x, y, p, i, kept)
        time = np.float64(t[i])
        kept += (time >= numbers[0]) & (time <= numbers[1])
    return kept


@inner
def _center_crop(
    old_t: Array,
    old_x: Array,
    old_y: Array,
    old_p: Array,
    t: Array,
    x: Array,
    y: Array,
    p: Array,
    numbers: Array,
) -> Any:
    """Write the events inside the crop to `t`, `x`, `y` and `p`, with coordinates from the corner of the crop; return their number.

    If ``center_crop`` is the first operation, it needs no copy of the recording.
    """
    x_offset, y_offset = np.int32(numbers[0]), np.int32(numbers[1])
    x_first, y_first = max(x_offset, np.int32(0)), max(y_offset, np.int32(0))
    width, height = np.uint32(numbers[2]), np.uint32(numbers[3])
    kept = np.uint64(0)
    for i in range(len(old_t)):
        # Positions from the first kept one. Smaller coordinates become large numbers, so one comparison is enough.
        across, down = np.int32(old_x[i]) - x_first, np.int32(old_y[i]) - y_first
        t[kept], p[kept] = old_t[i], old_p[i]
        x[kept], y[kept] = np.uint16(across + (x_first - x_offset)), np.uint16(down + (y_first - y_offset))
        kept += np.uint64((np.uint32(across) < width) & (np.uint32(down) < height))
    return np.int64(kept)


@inner
def _denoise(t: Array, x: Array, y: Array, p: Array, n: Any, filter_time: Any, table: Array) -> Any:
    # A border of pixels around the sensor, which never have a recent event.
    row, rows = np.int64(largest(x[:n])) + 3, np.int64(largest(y[:n])) + 3
    table[: row * rows] = -math.inf
    for line in range(1, rows - 1):
        table[line * row + 1 : (line + 1) * row - 1] = filter_time
    kept: Any = 0
    for i in range(n):
        place = (np.int64(y[i]) + 1) * row + np.int64(x[i]) + 1
        time = np.float64(t[i])
        _keep(t, x, y, p, i, kept)
        table[place] = time + filter_time
        recent = (table[place - 1] > time) | (table[place + 1] > time)
        kept += recent | (table[place - row] > time) | (table[place + row] > time)
    return kept


@inner
def _refractory_period(t: Array, x: Array, y: Array, p: Array, n: Any, delta: Any, table: Array) -> Any:
    row = np.int64(largest(x[:n])) + 1
    table[: row * (np.int64(largest(y[:n])) + 1)] = 0.0 - delta
    kept: Any = 0
    for i in range(n):
        place = np.int64(y[i]) * row + np.int64(x[i])
        time = np.float64(t[i])
        _keep(t, x, y, p, i, kept)
        kept += time - table[place] > delta
        table[place] = time
    return kept


@compiled
def filter_recordings(
    kinds: Array,
    numbers: Array,
    all_t: Array,
    all_x: Array,
    all_y: Array,
    all_p: Array,
    x_last: int,
    y_last: int,
    p_last: int,
    offsets: Array,
    state: Array,
    new_t: Array,
    new_x: Array,
    new_y: Array,
    new_p: Array,
    new_offsets: Array,
) -> None:
    """Copy the events that operations keep, with their values after the operations.

    Parameters
    ----------
    kinds : int64 array, shape (operations,)
        Kind of each operation, in the order of the operations.
    numbers : float64 array, shape (operations, 4)
        Parameters of each operation.
    all_t, all_x, all_y, all_p : int64, uint16, uint16, uint8 arrays, shape (events,)
        Times in µs, coordinates and polarities.
    x_last, y_last, p_last : int
        Largest valid values; a recording with a larger value is not ordinary.
    offsets : int64 array, shape (recordings + 1,)
        Start of each recording's events, and the end of the last recording.
    state : uint8 array, shape (recordings,)
        Only recordings with `TODO` are copied. A recording that the function `is_ordinary` or an operation rejects gets `UNUSUAL`.
    new_t, new_x, new_y, new_p : as the events
        Output: the events that are kept, in arrays of the same dtypes.
    new_offsets : int64 array, shape (recordings + 1,)
        Output: start of each recording's new events, and the end of the last recording.
    """
    filled = 0
    table = np.empty(0, np.float64)
    for row in range(len(state)):
        new_offsets[row] = filled
        first, end = offsets[row], offsets[row + 1]
        n = end - first
        if state[row] != TODO or n == 0:
            continue
        old = slice(first, end)
        if not is_ordinary(all_t[old], all_x[old], all_y[old], all_p[old], x_last, y_last, p_last):
            state[row] = UNUSUAL
            continue
        t, x = new_t[filled : filled + n], new_x[filled : filled + n]
        y, p = new_y[filled : filled + n], new_p[filled : filled + n]
        first_step = 0
        if kinds[0] == CENTER_CROP:
            n = _center_crop(all_t[old], all_x[old], all_y[old], all_p[old], t, x, y, p, numbers[0])
            first_step = 1
        else:
            _copy(all_t[old], t)
            _copy(all_x[old], x)
            _copy(all_y[old], y)
            _copy(all_p[old], p)
        for step in range(first_step, len(kinds)):
            kind = kinds[step]
            if n <= 0:
                break
            if kind == DOWNSAMPLE:
                n = _downsample(t, x, y, n, numbers[step])
            elif kind == CROP_TIME:
                n = _crop_time(t, x, y, p, n, numbers[step])
            elif kind == CENTER_CROP:
                n = _center_crop(t[:n], x[:n], y[:n], p[:n], t, x, y, p, numbers[step])
            else:
                pixels = (np.int64(largest(x[:n])) + 3) * (np.int64(largest(y[:n])) + 3)
                if pixels > MOST_PIXELS:
                    n = _FAILED
                    break
                if pixels > len(table):
                    table = np.empty(pixels, np.float64)
                if kind == DENOISE:
                    n = _denoise(t, x, y, p, n, numbers[step, 0], table)
                else:
                    n = _refractory_period(t, x, y, p, n, numbers[step, 0], table)
        if n < 0:
            state[row] = UNUSUAL
        else:
            filled += n
    new_offsets[len(state)] = filled
