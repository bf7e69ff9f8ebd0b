"""The time axis of frames: in ms if the transform gives all bins the same length in time, else the numbers of the bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spikestore.store_schemas.specs.operations import (
    Downsample,
    EventDownsampling,
    FixedDuration,
    FixedFramesNumber,
    TimeAlignment,
    TimeSkew,
    ToAveragedTimesurface,
    ToBinaRep,
    ToTimesurface,
    ToVoxelGrid,
)
from spikestore.store_schemas.specs.transform import Transform

_US_PER_MS = 1000


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """Positions of time bins on an axis.

    Attributes
    ----------
    unit : {"ms", "bins"}
        Unit of `start` and `step`.
    start : float
        Beginning of the first bin.
    step : float
        Distance from the beginning of a bin to the beginning of the next bin.
    label : str
        Label of the axis, with its unit.
    """

    unit: Literal["ms", "bins"]
    start: float
    step: float
    label: str

    def at(self, position: float) -> float:
        """Return where bin number `position` begins, in `unit`; if `position` is the number of bins, return where the last bin ends."""
        return self.start + position * self.step


BINS = TimeAxis("bins", 0.0, 1.0, "time bin")
"""Axis of frames whose transform is not known."""


def time_axis(transform: Transform) -> TimeAxis:
    """Return the time axis of the frames of a transform.

    If all bins have the same known length, the axis has times in ms, as they were in the recording (before ``downsample`` and
    ``time_skew``). Such an axis begins with 0 at the first event if the frames have no ``start_time``.

    If the length of the bins varies or is not known, the axis has the numbers of the bins. For ``ToAveragedTimesurface``, the
    axis has the numbers of the cells of the sensor.
    """
    frame, last = transform.to_frame, transform.operations[-1]
    if isinstance(frame, FixedDuration):
        return TimeAxis("ms", 0.0, frame.duration / _US_PER_MS, "time after the first event (ms)")
    if isinstance(last, ToBinaRep):
        return TimeAxis("bins", 0.0, 1.0, f"frame (n_frames = {last.n_frames:,})")
    if isinstance(frame, ToAveragedTimesurface):
        return TimeAxis("bins", 0.0, 1.0, f"cell of the sensor (cell_size = {frame.cell_size:,})")
    if isinstance(frame, ToVoxelGrid):
        return TimeAxis("bins", 0.0, 1.0, f"time bin (n_time_bins = {frame.n_time_bins:,})")
    if isinstance(frame, FixedFramesNumber):
        return TimeAxis("bins", 0.0, 1.0, f"time bin (frames_number = {frame.frames_number:,})")
    window = frame.dt if isinstance(frame, ToTimesurface) else frame.time_window
    if window is None:
        return TimeAxis("bins", 0.0, 1.0, f"time bin ({frame.mode} = {getattr(frame, frame.mode):,})")
    factor, shift, is_relative = 1.0, 0.0, False  # a time in the frames is factor · time + shift
    for operation in transform.on_events:
        if isinstance(operation, Downsample):
            factor, shift = factor * operation.time_factor, shift * operation.time_factor
        elif isinstance(operation, TimeSkew):
            factor, shift = factor * operation.coefficient, shift * operation.coefficient + operation.offset
        elif isinstance(operation, TimeAlignment | EventDownsampling):
            shift, is_relative = 0.0, True
    unit = _US_PER_MS * factor
    step = (window - frame.overlap) / unit
    if frame.start_time is None:
        return TimeAxis("ms", 0.0, step, "time after the first event (ms)")
    label = "time after the first event (ms)" if is_relative else "time (ms)"
    return TimeAxis("ms", (frame.start_time - shift) / unit, step, label)
