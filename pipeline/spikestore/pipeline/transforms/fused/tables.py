"""Tables that apply a transform to raw events: ranges of raw times, and one table per coordinate.

Each scaling multiplies by a positive factor and truncates, so it keeps the order of its inputs. Therefore
a CropTime at any position in the transform keeps one range of raw times. The raw coordinates inside the sensor are a range that starts at 0.

Whole numbers up to `EXACT`, and the sum of two of them, are exact in float64. So integer and floating-point arithmetic have the
same result. Tonic uses integers if all parameters are whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.specs.operations import CropTime, Downsample, FrameOperation, ToFrame
from spikestore.store_schemas.specs.transform import Transform

EXACT = 2**50
"""Largest whole number with which the fused pass computes; a time of this many µs is 35 years."""

RAW = 2**16
"""Number of values of a raw coordinate or time code, which have 16 bits; the largest coordinate marks values that do not fit."""

_INT64_END = 2.0**63


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Ranges of raw times, in µs.

    Attributes
    ----------
    low, high : int
        Smallest and largest raw time that stays within ± `EXACT` after every scaling.
    first, last : int
        Smallest and largest raw time that all crops keep; if `last` is below `first`, the crops keep no time.
    """

    low: int
    high: int
    first: int
    last: int


def time_factors(transform: Transform) -> tuple[float, ...]:
    """Return the factors by which the ``downsample`` operations of a transform multiply times, in the order of the operations."""
    return tuple(
        operation.time_factor for operation in transform.on_events if isinstance(operation, Downsample)
    )


def time_span(transform: Transform) -> TimeSpan:
    """Return two ranges of raw times in µs: the times that the fused pass supports, and the times that ``crop_time`` keeps."""
    factors = time_factors(transform)
    # Truncation is symmetric, and so is this bound.
    high = _last(0, EXACT, lambda t: all(_scaled(t, factors[: k + 1]) <= EXACT for k in range(len(factors))))
    first, last, before = -high, high, 0
    for operation in transform.on_events:
        if isinstance(operation, Downsample):
            before += 1
        elif isinstance(operation, CropTime):
            first = max(first, 1 + _last(-high - 1, high, _is_before(operation, factors[:before])))
            last = min(last, _last(-high - 1, high, _is_not_after(operation, factors[:before])))
    return TimeSpan(-high, high, first, last)


def _is_before(crop: CropTime, factors: Sequence[float]) -> Callable[[int], bool]:
    return lambda t: _scaled(t, factors) < crop.min


def _is_not_after(crop: CropTime, factors: Sequence[float]) -> Callable[[int], bool]:
    return lambda t: _scaled(t, factors) <= crop.max


def _last(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the largest number from `low` to `high` for which `holds` is true, by bisection.

    `holds` must be true from `low` up to the result, and false above it.
    """
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _scaled(time: int, factors: Sequence[float]) -> int:
    for factor in factors:
        product = time * factor
        if not abs(product) < _INT64_END:
            return math.copysign(1, time) * 2**63  # type: ignore[return-value]
        time = int(product)
    return time


def scaled_times(table: npt.NDArray[np.int64], span: TimeSpan, factors: Sequence[float]) -> npt.NDArray[Any]:
    """Return a table's times, first clipped to `span`, then multiplied by each factor in turn: int64, each product truncated."""
    times = np.clip(table, span.low, span.high)
    for factor in factors:
        times = (times * factor).astype(np.int64)
    return times


def coordinate_table(
    transform: Transform, axis: int, *, size: int, step: int
) -> tuple[npt.NDArray[np.uint32], int]:
    """Return the number that each raw coordinate adds to the site of an event. A site is a linear index over the axes after time.

    Parameters
    ----------
    transform : Transform
        The operations.
    axis : int
        0 for x, 1 for y.
    size : int
        Size of the sensor along this axis.
    step : int
        Difference of the sites of two neighbours along this axis.

    Returns
    -------
    table : uint32 array, shape (65536,)
        Number to add for each raw coordinate; 0 outside the sensor.
    last : int
        Largest raw coordinate inside the sensor.
    """
    place = np.arange(RAW - 1, dtype=np.int64)
    fits = np.ones(len(place), np.bool_)
    for operation in transform.on_events:
        if isinstance(operation, Downsample):
            with np.errstate(over="ignore"):
                product = place * operation.spatial_factor[axis]
            # Otherwise Tonic's product overflows, also if later factors reduce it.
            fits &= product < _INT64_END
            place = np.where(fits, product, 0).astype(np.int64)
    fits &= place < size
    table = np.zeros(RAW, np.uint32)
    table[:-1] = np.where(fits, place, 0) * step
    return table, int(np.count_nonzero(fits)) - 1


def empty_bins(spec: FrameOperation) -> float:
    """Return the number of bins of a recording without events: the fixed number of bins, if there is one.

    Otherwise, the number is 1 for ``fixed_duration``. For ``to_frame``, Tonic's formula gives the number. The duration
    in this formula is ``end_time - start_time``, or 0 if one of these two times is None.
    """
    if not isinstance(spec, ToFrame):
        return spec.bins or 1
    if spec.n_time_bins is not None:
        return spec.n_time_bins
    start, end = spec.start_time, spec.end_time
    window = spec.time_window or math.inf
    duration = 0.0 if start is None or end is None else end - start
    strides = (duration - window) / (window - spec.overlap)
    if not math.isfinite(strides):
        return math.inf
    return max((math.ceil(strides) if spec.include_incomplete else math.floor(strides)) + 1, 1)
