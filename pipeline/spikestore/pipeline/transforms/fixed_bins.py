"""The time bins of ``fixed_duration`` and ``fixed_frames_number``: how many bins a recording has, and which events each bin has.

The formulas are SpikingJelly's (2.0.0). The order of operations is the same, and the dtype is that of the times, so that
rounding is the same. Times are in µs; if `seconds` is true, they are float16 times in s, as files of SHD and SSC store them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.transforms.frame_bins import checked_bins
from spikestore.pipeline.transforms.frame_counts import Ints
from spikestore.store_schemas.specs.operations import FixedDuration, FixedFramesNumber


class FixedBins:
    """Computes the time bins of recordings for one ``fixed_duration`` or ``fixed_frames_number``.

    Parameters
    ----------
    spec : FixedDuration or FixedFramesNumber
        The operation that defines the bins.
    sites : tuple of int
        Sizes of the axes after time: (P, Y, X) or (P, X).
    max_bins : int
        Maximum number of bins of a recording.
    seconds : bool
        Whether times are float16 in s, instead of integers or floats in µs.
    """

    def __init__(
        self,
        spec: FixedDuration | FixedFramesNumber,
        sites: tuple[int, ...],
        *,
        max_bins: int,
        seconds: bool = False,
    ) -> None:
        self.spec = spec
        self.sites = sites
        self.max_bins = max_bins
        self.seconds = seconds
        self.are_fixed = spec.bins is not None
        """Whether all recordings have the same number of bins."""

    def count(self, times: npt.NDArray[Any] | None, *, name: str) -> int:
        """Return the number of bins of a recording, at least 1.

        Parameters
        ----------
        times : array, shape (n_events,), or None
            Sorted times, at least one; None for a recording without events.
        name : str
            Name of the recording in messages.

        Raises
        ------
        RecordingError
            There are more bins than `max_bins`, the frames are too large for a 64-bit index, or the number of bins overflows in
            the dtype of the times.
        """
        n_bins: float = self.spec.bins or 1
        if times is not None and isinstance(self.spec, FixedDuration):
            with np.errstate(all="ignore"):
                last, duration = self._from_first(times, self.spec)
                n_bins = max(float(np.ceil(last[-1] / duration)), 1.0)
        return checked_bins(n_bins, times, self.sites, self.max_bins, name=name)

    def ranges(self, times: npt.NDArray[Any]) -> tuple[Ints, Ints]:
        """Return the range of events of each bin, as two int64 arrays of shape (n_bins,), ``starts`` and ``ends``.

        Bin i has the events ``starts[i]`` to ``ends[i]`` (exclusive). `times` has shape (n_events,), and is sorted and not
        empty. `count` must have accepted these times.
        """
        with np.errstate(all="ignore"):
            if isinstance(self.spec, FixedDuration):
                return self._by_duration(times, self.spec)
            if self.spec.split_by == "number":
                starts = np.arange(self.spec.frames_number) * (len(times) // self.spec.frames_number)
                ends = starts + len(times) // self.spec.frames_number
            else:
                starts, ends = self._by_time(times, self.spec.frames_number)
        ends[-1] = len(times)
        return starts, ends

    def _from_first(self, times: npt.NDArray[Any], spec: FixedDuration) -> tuple[npt.NDArray[Any], Any]:
        """Return the times counted from the first event, and the length of a bin in the unit of these times."""
        if self.seconds:
            milliseconds = 1000 * times
            return milliseconds - milliseconds[0], np.float16(spec.duration / 1000)
        return times - times[0], times.dtype.type(spec.duration)

    def _by_duration(self, times: npt.NDArray[Any], spec: FixedDuration) -> tuple[Ints, Ints]:
        n_bins = self.count(times, name="")
        after_first, duration = self._from_first(times, spec)
        edges = np.searchsorted(after_first // duration, np.arange(1, n_bins))
        return np.concatenate([[0], edges]), np.concatenate([edges, [len(times)]])

    def _by_time(self, times: npt.NDArray[Any], n_bins: int) -> tuple[Ints, Ints]:
        span, number = times[-1] - times[0], np.arange(n_bins)
        if times.dtype.kind == "f":
            number = number.astype(times.dtype)  # NumPy rounds each factor to the type of the times
        divisor = times.dtype.type(n_bins)
        length = span / divisor if self.seconds else span // divisor
        first = length * number + times[0]
        return np.searchsorted(times, first), np.searchsorted(times, first + length)
