"""Compiled loops of voxel grids and time surfaces.

The loops release the GIL.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import compiled, inner
from spikestore.store.bit_operations import trailing_zeros

_NONE, _ONE = np.uint64(0), np.uint64(1)

_PER_LN_2 = 1.4426950408889634
_LN_2_HIGH, _LN_2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
"""ln 2 as a sum of two numbers, as in fdlibm (``e_exp.c``). The last bits of the first are 0, so its products with whole numbers are exact."""

_C = tuple(1 / math.factorial(n) for n in range(14))
"""Coefficients of the series of exp: 14 terms have a relative error below 2^-56 within ± ln 2 / 2."""

_TWOS = np.array([2.0**n for n in range(-151, 130)])
"""Powers of 2 from 2^-151."""


_LOWEST, _HIGHEST = -104.0, 89.0
"""Below the first number, exp is 0 as float32; above the second, it is infinite."""


@inner
def exponential(x: float) -> float:
    """Return exp(x), computed with additions and multiplications only; 0 for x below -104, and infinity for x above 89.

    The exp of NumPy and of C libraries differs between processors in the last bits, but digests must be the same on all
    processors.
    """
    if x < _LOWEST:
        return 0.0
    if x > _HIGHEST:
        return np.inf
    twos = math.floor(x * _PER_LN_2 + 0.5)
    r = (x - twos * _LN_2_HIGH) - twos * _LN_2_LOW
    s = r * r
    even = (((((_C[12] * s + _C[10]) * s + _C[8]) * s + _C[6]) * s + _C[4]) * s + _C[2]) * s + _C[0]
    odd = (((((_C[13] * s + _C[11]) * s + _C[9]) * s + _C[7]) * s + _C[5]) * s + _C[3]) * s + _C[1]
    return (even + odd * r) * _TWOS[int(twos) + 151]  # type: ignore[no-any-return]


@compiled
def surface(
    last: npt.NDArray[np.float64],
    time: float,
    tau: float,
    pixels: npt.NDArray[np.int64],
    first_index: int,
    index: npt.NDArray[np.int64],
    value: npt.NDArray[np.float32],
) -> int:
    """Compute the time surface ``exp(-(time - last) / tau)``; return the number of its non-zeros.

    Parameters
    ----------
    last : float64 array, shape (pixels,)
        Time of the last event of each pixel; -infinity for a pixel that has had no event yet.
    time : float
        Time of the surface.
    tau : float
        Time constant, in the unit of `time`.
    pixels : int64 array, shape (pixels,)
        Place of each pixel within the surface, ascending.
    first_index : int
        Index of the first place of the surface.
    index, value : int64 and float32 array, shape (pixels,)
        Output: index and value of each non-zero.
    """
    decayed = np.empty(len(last), np.float32)
    for pixel in range(len(last)):
        decayed[pixel] = exponential(-(time - last[pixel]) / tau)
    filled = 0
    for pixel in range(len(last)):
        index[filled], value[filled] = first_index + pixels[pixel], decayed[pixel]
        filled += decayed[pixel] != 0
    return filled


@inner
def _add(
    grid: npt.NDArray[np.float64],
    marks: npt.NDArray[np.uint64],
    summary: npt.NDArray[np.uint64],
    pixel: int,
    number: float,
) -> None:
    grid[pixel] += number
    marks[pixel >> 6] |= _ONE << np.uint64(pixel & 63)
    summary[pixel >> 12] |= _ONE << np.uint64((pixel >> 6) & 63)


@compiled
def voxels(
    t: npt.NDArray[np.float64],
    first: float,
    duration: float,
    n_bins: int,
    place_of: npt.NDArray[np.int64],
    is_on: npt.NDArray[np.bool_],
    pixels: npt.NDArray[np.int64],
    sites: int,
    index: npt.NDArray[np.int64],
    value: npt.NDArray[np.float32],
) -> tuple[int, int]:
    """Compute a voxel grid; return the number of its non-zeros, and the number of events that are in no bin.

    An event counts in its bin and in the next one. Bins are computed one after another. For each bin, its own events are added
    first, and then the events of the bin before. This is the order in which Tonic adds; another order would round sums in
    another way.

    Parameters
    ----------
    t : float64 array, shape (events,)
        Times, sorted.
    first, duration : float
        Time of the first event, and time from the first to the last event, which must be above 0.
    n_bins : int
        Number of bins.
    place_of : int64 array, shape (events,)
        For each event, the position of its pixel in `pixels`.
    is_on : bool array, shape (events,)
        True if an event counts as +1, False if it counts as -1.
    pixels : int64 array, shape (pixels,)
        ``y * width + x`` of all pixels that have events, and possibly of other pixels, ascending.
    sites : int
        Number of pixels of the sensor.
    index, value : int64 and float32 array, shape (2 events,)
        Output: index and value of each non-zero.
    """
    grid = np.zeros(len(pixels), np.float64)
    marks = np.zeros((len(pixels) + 63) // 64, np.uint64)  # one bit per pixel that has a sum
    summary = np.zeros((len(marks) + 63) // 64, np.uint64)  # one bit per word of marks
    former, start, filled = 0, 0, 0
    for time_bin in range(n_bins):
        end = start
        while end < len(t):
            position = n_bins * (t[end] - first) / duration
            before = np.int64(position)
            if before > time_bin:
                break
            share = position - before
            _add(grid, marks, summary, place_of[end], (1.0 - share) if is_on[end] else -(1.0 - share))
            end += 1
        for event in range(former, start):
            position = n_bins * (t[event] - first) / duration
            before = np.int64(position)
            if before + 1 == time_bin:
                share = position - before
                _add(grid, marks, summary, place_of[event], share if is_on[event] else -share)
        former, start = start, end
        for group in range(len(summary)):
            marked = summary[group]
            summary[group] = _NONE
            while marked != _NONE:
                word = group * 64 + np.int64(trailing_zeros(marked))
                mask = marks[word]
                marks[word] = _NONE
                while mask != _NONE:
                    pixel = word * 64 + np.int64(trailing_zeros(mask))
                    rounded = np.float32(grid[pixel])
                    index[filled], value[filled] = time_bin * sites + pixels[pixel], rounded
                    filled += rounded != 0
                    grid[pixel] = 0
                    mask &= mask - _ONE
                marked &= marked - _ONE
    return filled, len(t) - start


@compiled
def add_surfaces(
    t: npt.NDArray[np.float32],
    x: npt.NDArray[np.int64],
    y: npt.NDArray[np.int64],
    window: np.float32,
    tau: np.float32,
    is_linear: bool,
    total: npt.NDArray[np.float32],
) -> None:
    """Compute the time surface around each event of one cell (`ToAveragedTimesurface`) and one polarity, and add it to `total`.

    Parameters
    ----------
    t, x, y : float32, int64 and int64 array, shape (events,)
        `t`: times of the events in µs, sorted. `x`, `y`: coordinates of the events.
    window : float32
        The surface around an event is computed from the events that are at most this many µs earlier, and from the event itself. As
        in Tonic, earlier events with a time below 0 do not count.
    tau : float32
        If `is_linear`, the age in µs at which the decay reaches 0; otherwise the age at which the decay is 1/e.
    is_linear : bool
        Whether the decay is linear.
    total : float32 array, shape (side, side)
        Output: the sum; `side` is odd.
    """
    side = len(total)
    middle = side // 2
    own = np.empty((side, side), np.float32)
    first = 0
    for event in range(len(t)):
        earliest = max(np.float32(0), t[event] - window)
        while first < event and t[first] < earliest:
            first += 1
        own[:] = 0
        for other in range(first, event):
            column, row = x[other] - x[event] + middle, y[other] - y[event] + middle
            if 0 <= column < side and 0 <= row < side:
                exponent = -(t[event] - t[other]) / tau
                if is_linear:
                    own[row, column] += exponent + np.float32(1)
                else:
                    own[row, column] += np.float32(exponential(np.float64(exponent)))
        own[middle, middle] += np.float32(1)
        for row in range(side):
            for column in range(side):
                total[row, column] += own[row, column]
