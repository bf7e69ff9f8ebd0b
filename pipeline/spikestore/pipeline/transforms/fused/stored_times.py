"""Tables for SpikingJelly's time bins, if times are stored as float16. NumPy computes the tables, so each rounding is NumPy's."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import NO_TIME
from spikestore.pipeline.transforms.fused.parameters import UNIT
from spikestore.pipeline.transforms.fused.tables import RAW

SHORTEST = 1000
"""Shortest bins, in µs, for which `duration_tables` works: with bins of 1 ms, every number of bins is a finite
float16."""

_FINITE = 0x7C00
"""Number of finite float16 from 0; they are in the order of their bit patterns."""

_TOO_LATE = 2**60
"""Entry for times that exceed float16 in ms; differences of two such entries fit int64."""


@functools.cache
def float16_units(factor: int) -> npt.NDArray[np.int64]:
    """Return each float16 number multiplied by `factor`, rounded to float16, as a multiple of `UNIT`.

    Returns
    -------
    int64 array, shape (65536,)
        The result for each bit pattern; `NO_TIME` for a bit pattern that is not finite. The array is not writable.
    """
    seconds = np.arange(RAW, dtype=np.uint16).view(np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        times = (factor * seconds).astype(np.float64)
    units = np.full(RAW, NO_TIME, np.int64)
    finite = np.isfinite(seconds)
    units[finite] = np.clip(times[finite] / UNIT, -_TOO_LATE, _TOO_LATE)
    units.flags.writeable = False
    return units


def duration_tables(duration: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the tables `edges` and `counts` that `fixed_ranges` needs for bins of `duration` µs; `duration` must be at least `SHORTEST`."""
    times = np.arange(_FINITE, dtype=np.uint16).view(np.float16)
    length = np.float16(duration / 1000)
    bins, numbers = times // length, np.ceil(times / length)
    return _thresholds(bins), _thresholds(numbers)[1:]


def _thresholds(values: npt.NDArray[np.float16]) -> npt.NDArray[np.int64]:
    """Return the smallest time differences for which a function is at least 0, 1, 2, …; the function gets the difference rounded to float16.

    Parameters
    ----------
    values : float16 array, shape (31744,)
        Result of the function for each finite float16 from 0; the results do not decrease.

    Returns
    -------
    int64 array
        Entry k is the smallest time difference for which the function is at least k, as a multiple of `UNIT`.
    """
    times = (np.arange(_FINITE, dtype=np.uint16).view(np.float16).astype(np.float64) / UNIT).astype(np.int64)
    code = np.searchsorted(values, np.arange(int(values[-1]) + 1))
    before = times[np.maximum(code - 1, 0)]
    middle = (before + times[code] + 1) // 2
    # A difference in the middle is rounded to the even one of its neighbours.
    is_middle = (before + times[code]) % 2 == 0
    return np.where(is_middle & (code % 2 == 1), middle + 1, middle)
