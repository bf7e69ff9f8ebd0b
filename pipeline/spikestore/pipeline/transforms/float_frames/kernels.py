"""Compiled loops of time surfaces.

The loops release the GIL.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import compiled, inner

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
    """Return exp(x), 0 below -104 and infinity above 89, with additions and multiplications only.

    The exp of NumPy and of C libraries differs between processors in the last bits. A digest must not.
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
    place: npt.NDArray[np.int64],
    value: npt.NDArray[np.float32],
) -> int:
    """Compute a time surface at `time`; return the number of its non-zeros.

    Parameters
    ----------
    last : float64 array, shape (pixels,)
        Time of the last event of each pixel; -infinity before its first one.
    time : float
        Time of the surface, in µs.
    tau : float
        Time constant, in µs.
    place, value : int64 and float32 array, shape (pixels,)
        Output: pixel and value of each non-zero.
    """
    filled = 0
    for pixel in range(len(last)):
        if last[pixel] > -np.inf:
            decayed = np.float32(exponential(-(time - last[pixel]) / tau))
            if decayed != 0:
                place[filled], value[filled] = pixel, decayed
                filled += 1
    return filled


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
    """Add the time surface around each event of one cell and polarity.

    Parameters
    ----------
    t, x, y : float32, int64 and int64 array, shape (events,)
        Times in µs, sorted, and pixels.
    window : float32
        Events count if they are at most this long before an event, in µs.
    tau : float32
        Time constant in µs; three times the time constant if `is_linear`.
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
