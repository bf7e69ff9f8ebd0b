"""The time bins of ``to_frame``: how many bins a recording has, and which events each bin has.

The formulas are those of ``tonic.slicers`` (1.7.0). The order of operations is the same, and the dtype is that of the times, so
that rounding is the same. A recording with too many bins is rejected before memory for its bins is allocated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.transforms.frame_counts import Ints
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.operations import ToFrame


class FrameBins:
    """Computes the time bins of recordings for one ``to_frame``.

    Parameters
    ----------
    spec : ToFrame
        The operation that defines the bins.
    sites : tuple of int
        Sizes of the axes after time: (P, Y, X) or (P, X).
    max_bins : int
        Maximum number of bins of a recording.
    """

    def __init__(self, spec: ToFrame, sites: tuple[int, ...], *, max_bins: int) -> None:
        self.spec = spec
        self.sites = sites
        self.max_bins = max_bins
        self.has_fixed_span = spec.start_time is not None and spec.end_time is not None
        self.are_fixed = spec.bins is not None or self.has_fixed_span
        """Whether all recordings have the same number of bins."""
        self._overlap = exact(spec.overlap)
        self._window = optional(spec.time_window)
        self._start = optional(spec.start_time)
        self._end = optional(spec.end_time)

    def count(self, times: npt.NDArray[Any] | None, *, name: str) -> int:
        """Return the number of bins of a recording.

        Parameters
        ----------
        times : array, shape (n_events,), or None
            Sorted times in µs of at least one event. None for a recording without events: its duration is ``end_time -
            start_time`` of the transform, or 0 if one of these two is None.
        name : str
            Name of the recording in messages.

        Raises
        ------
        RecordingError
            There are more bins than `max_bins`, the cells of the frames are too many for a 64-bit index, or the number of
            bins overflows in the dtype of the times.
        """
        return checked_bins(self._formula(times), times, self.sites, self.max_bins, name=name)

    def ranges(self, times: npt.NDArray[Any]) -> tuple[Ints, Ints]:
        """Return the range of events of each bin, as two int64 arrays of shape (n_bins,), ``starts`` and ``ends``.

        Bin i has the events ``starts[i]`` to ``ends[i]`` (exclusive). `times` has shape (n_events,), and is sorted and not
        empty. `count` must have accepted these times.
        """
        spec = self.spec
        with np.errstate(all="ignore"):
            if self._window is not None:
                starts, ends = self._by_time_window(times, self._window)
            elif spec.event_count is not None:
                starts, ends = self._by_event_count(len(times), spec.event_count)
            elif spec.n_time_bins is not None:
                starts, ends = self._by_time_bins(times, spec.n_time_bins)
            else:
                assert spec.n_event_bins is not None  # noqa: S101 - the spec has exactly one mode
                starts, ends = self._by_event_bins(len(times), spec.n_event_bins)
        # A range of event bins may start or end after the last event.
        return np.minimum(starts, len(times)), np.minimum(ends, len(times))

    def _formula(self, times: npt.NDArray[Any] | None) -> float:
        spec = self.spec
        n_events = 0 if times is None else len(times)
        with np.errstate(all="ignore"):
            if self._window is not None:
                strides = self._strides(times, self._window)
                whole = np.ceil(strides) if spec.include_incomplete else np.floor(strides)
                # Tonic adds the 1 in the dtype of the times as well: 32768 + 1 is 32768 in float16.
                bins = max(float(whole + 1), 1.0)
                return int(bins) if math.isfinite(bins) else math.inf
            if spec.event_count is not None:
                strides = (n_events - min(spec.event_count, n_events)) / (spec.event_count - self._overlap)
                return _rounded(strides, up=spec.include_incomplete) + 1
            n_bins: float = spec.n_time_bins or spec.n_event_bins or 0
            if times is not None and spec.n_time_bins is not None:
                width = float((times[-1] - times[0]) // spec.n_time_bins * (1 + self._overlap))
                n_bins = n_bins if math.isfinite(width) else math.inf
            return n_bins

    def _strides(self, times: npt.NDArray[Any] | None, window: float) -> Any:
        """Return the number, not rounded, of strides (``time_window - overlap``) from the end of the first window to the last time.

        The last time is `end_time`, by default the time of the last event. If times are floating-point numbers, the result is a scalar of their dtype.
        """
        # NumPy's scalars, not Python's: Tonic divides in the type of the times.
        first = times[0] if times is not None else 0
        last = times[-1] if times is not None else 0
        start = first if self._start is None else self._start
        end = last if self._end is None else self._end
        if times is None and not self.has_fixed_span:
            start = end = 0
        return (end - start - window) / (window - self._overlap)

    def _by_time_window(self, times: npt.NDArray[Any], window: float) -> tuple[Ints, Ints]:
        n_bins = int(self._formula(times))
        start = times[0] if self._start is None else self._start
        starts = np.arange(n_bins) * (window - self._overlap) + start
        return np.searchsorted(times, starts), np.searchsorted(times, starts + window)

    def _by_time_bins(self, times: npt.NDArray[Any], n_bins: int) -> tuple[Ints, Ints]:
        width = (times[-1] - times[0]) // n_bins * (1 + self._overlap)
        starts = np.arange(n_bins) * (width * (1 - self._overlap)) + times[0]
        return np.searchsorted(times, starts), np.searchsorted(times, starts + width)

    def _by_event_count(self, n_events: int, count: int) -> tuple[Ints, Ints]:
        taken = min(count, n_events)
        n_bins = int(
            _rounded((n_events - taken) / (count - self._overlap), up=self.spec.include_incomplete) + 1
        )
        starts = (np.arange(n_bins) * (count - self._overlap)).astype(np.int64)
        return starts, starts + taken

    def _by_event_bins(self, n_events: int, n_bins: int) -> tuple[Ints, Ints]:
        taken = int(n_events // n_bins * (1 + self._overlap))
        starts = np.arange(n_bins, dtype=np.int64) * int(taken * (1 - self._overlap))
        return starts, starts + taken


def checked_bins(
    n_bins: float, times: npt.NDArray[Any] | None, sites: tuple[int, ...], max_bins: int, *, name: str
) -> int:
    """Return a number of time bins; raise `RecordingError` if it is infinite or NaN, if it is above `max_bins`, or if it is too large for an index."""
    if times is not None and not math.isfinite(n_bins):
        problem = f"{name}: the number of time bins overflows in the dtype of the times, {times.dtype}"
        raise RecordingError(problem, recording=name)
    if n_bins > max_bins:
        many = f"{n_bins:,}" if n_bins <= 10**15 else f"{n_bins:.0e}"
        problem = f"would get {many} time bins, more than max_bins = {max_bins:,}"
        raise RecordingError(f"{name} {problem}", recording=name, n_bins=n_bins, max_bins=max_bins)
    if n_bins * math.prod(sites) >= 2**63:
        problem = f"frames of {n_bins:,} bins × {sites} are too large for a 64-bit index"
        raise RecordingError(f"{name}: {problem}", recording=name)
    return int(n_bins)


def exact(value: float) -> int | float:
    """Return a whole number up to 2^53 as int, and any other value unchanged.

    Calculations with integers are exact also above 2^53; calculations with floats are not.
    """
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value


def optional(value: float | None) -> int | float | None:
    """Return ``exact(value)`` for a number, and None for None."""
    return None if value is None else exact(value)


def _rounded(strides: float, *, up: bool) -> float:
    if not math.isfinite(strides):
        return math.inf
    return math.ceil(strides) if up else math.floor(strides)
