"""A transform, run by Tonic's own classes, with guards where Tonic is ill-defined.

For legal recordings the frames are Tonic's, integer for integer; that is what every faster executor is compared
with. One call goes so:

1. Guard and widen the events (`event_guards`); no array of the caller's is written to.
2. Apply each operation before ``to_frame`` through Tonic, without ``tonic.transforms.Compose``, which stops at an
   empty array and hands the raw events on. Positive factors keep times sorted, and a crop keeps one run of them.
3. Compute the number of bins by the formula of Tonic's slicers, before anything of that size is allocated.
4. Let Tonic's slicer say which events each bin holds; those in no bin are counted.
5. Let ``ToFrame`` count, unless its int16 cells could wrap or its dense frame is large: then count the same bins
   sparsely, in int64.

Whole parameters go to Tonic as integers and other ones as floats: its integer arithmetic is exact beyond 2^53,
and below the two agree.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tonic.slicers
import tonic.transforms

from spikestore.pipeline.readers.recording import Events, Sample
from spikestore.pipeline.transforms import event_guards as guards
from spikestore.pipeline.transforms.frame_counts import Ints, count_covered, count_sparsely, non_zeros
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.specs.operations import CropTime, Downsample, ToFrame
from spikestore.store_schemas.specs.transform import Transform

DENSE_LIMIT = 64 * 2**20
"""Largest dense frame, in bytes, that ``ToFrame`` is asked for."""

INT16_LIMIT = 2**15 - 1
"""Most events in one bin for which no int16 cell can wrap."""


class TonicChain:
    """Turns recordings into samples through Tonic.

    Parameters
    ----------
    transform : Transform
        The operations, ``to_frame`` last.
    has_y : bool
        Whether events have a field ``y``. Frames are (T, P, Y, X) with it and (T, P, X) without.

    Raises
    ------
    UsageError
        The transform can't fit any recording of this kind: a sensor with rows for events without ``y``, or more
        bins than ``max_bins`` whatever the recording.
    """

    def __init__(self, transform: Transform, *, has_y: bool) -> None:
        x, y, p = transform.to_frame.sensor_size
        if not has_y and y != 1:
            raise UsageError(
                f"sensor_size ({x}, {y}, {p}): events without y need a sensor with one row, ({x}, 1, {p})"
            )
        self.transform = transform
        self.has_y = has_y
        self._sites = transform.sites(has_y=has_y)
        self._steps = [(operation, _in_tonic(operation)) for operation in transform.on_events]
        self._to_frame = _in_tonic(transform.to_frame)
        self._slicer = _slicer(transform.to_frame)
        if transform.to_frame.mode.startswith("n_") or _has_fixed_span(transform.to_frame):
            try:
                self._count_bins(0, None, name="every recording")
            except RecordingError as error:
                raise UsageError(error.message) from None

    def __call__(self, events: Events, *, name: str, sort: bool = False) -> Sample:
        """Return the sample of one recording.

        Parameters
        ----------
        events : structured array, shape (n_events,)
            Fields ``t`` (µs), ``x``, ``y`` (where the chain has it) and ``p``, integers of any width; ``t`` may be
            floating point.
        name : str
            How to call the recording in messages, such as ``recording 17 of ssc_train.h5``.
        sort : bool
            Sort events by time first (stable), instead of refusing what is not sorted.

        Raises
        ------
        RecordingError
            The recording is ill-formed or would get more than ``max_bins`` bins.
        """
        framed, origin = self._before_frames(events, name=name, sort=sort)
        n_events, n_framed = len(events), len(framed)
        if n_framed == 0:
            n_bins = self._count_bins(0, None, name=name)
            empty = np.empty(0, np.int64)
            return Sample(empty, empty, n_bins, n_events, n_cropped=n_events, n_dropped=0)
        to_frame = self.transform.to_frame
        guards.check_frameable(framed, to_frame.sensor_size, origin=origin)
        if to_frame.sensor_size[2] == 1:
            framed["p"] = 0  # as Tonic does, in our copy
        n_bins = self._count_bins(n_framed, framed["t"], name=name)
        starts, ends = self._windows(framed, name=name)
        dense_bytes = n_bins * math.prod(self._sites) * np.dtype(np.int16).itemsize
        if dense_bytes <= DENSE_LIMIT and (ends - starts).max(initial=0) <= INT16_LIMIT:
            index, value = non_zeros(self._run(self._to_frame, framed, name=name))
        else:
            index, value = count_sparsely(framed, starts, ends, self._sites)
        if self.transform.max_count is not None:
            value = np.minimum(value, self.transform.max_count)
        dropped = n_framed - count_covered(starts, ends, n_framed)
        return Sample(index, value, n_bins, n_events, n_cropped=n_events - n_framed, n_dropped=dropped)

    def _before_frames(self, events: Events, *, name: str, sort: bool) -> tuple[Events, guards.Origin]:
        """Apply all operations before ``to_frame``; return a private array and where its events come from."""
        now = guards.widen(events, name=name, has_y=self.has_y)
        now, order = guards.put_in_order(now, name=name, sort=sort)
        origin = guards.Origin(name, events, order)
        guards.check_not_negative(now, origin=origin)
        for operation, tonic_transform in self._steps:
            if len(now) == 0:
                break
            if isinstance(operation, Downsample):
                x, y = operation.spatial_factor
                guards.check_scaling(now, {"t": tonic_transform.time_factor, "x": x, "y": y}, origin=origin)
            after = self._run(tonic_transform, now, name=name)
            if isinstance(operation, CropTime):
                # Times are sorted: what is cropped in front moves the numbers of all that follow.
                with np.errstate(all="ignore"):
                    in_front = int(np.count_nonzero(now["t"] < tonic_transform.min))
                origin = guards.Origin(name, events, order, origin.first + in_front)
            now = after
        return now, origin

    def _count_bins(self, n_events: int, times: npt.NDArray[Any] | None, *, name: str) -> int:
        """Return the number of bins by the formulas of tonic 1.7.0 ``slicers``; without events at duration 0.

        `times` has shape (n_events,), or is None where there are none.
        """
        spec, slicer = self.transform.to_frame, self._slicer
        n_bins: float
        if spec.time_window is not None:
            with np.errstate(all="ignore"):
                # numpy's scalars, not Python's: Tonic divides in the type of the times.
                first = times[0] if times is not None else 0
                last = times[-1] if times is not None else 0
                start = first if slicer.start_time is None else slicer.start_time
                end = last if slicer.end_time is None else slicer.end_time
                if times is None and not _has_fixed_span(spec):
                    start = end = 0
                strides = (end - start - slicer.time_window) / (slicer.time_window - slicer.overlap)
            n_bins = max(_rounded(float(strides), up=spec.include_incomplete) + 1, 1)
        elif spec.event_count is not None:
            strides = (n_events - min(spec.event_count, n_events)) / (slicer.event_count - slicer.overlap)
            n_bins = _rounded(strides, up=spec.include_incomplete) + 1
        else:
            n_bins = slicer.bin_count
            if times is not None and spec.n_time_bins is not None:
                with np.errstate(all="ignore"):
                    width = float((times[-1] - times[0]) // slicer.bin_count * (1 + slicer.overlap))
                n_bins = n_bins if math.isfinite(width) else math.inf
        if times is not None and not math.isfinite(n_bins):
            raise RecordingError(f"{name}: its time bins can't be computed in {times.dtype}", recording=name)
        most = self.transform.max_bins
        if n_bins > most:
            many = f"{n_bins:,}" if n_bins <= 10**15 else f"{n_bins:.0e}"
            problem = f"would get {many} time bins, more than max_bins = {most:,}"
            raise RecordingError(f"{name} {problem}", recording=name, n_bins=n_bins, max_bins=most)
        if n_bins * math.prod(self._sites) >= 2**63:
            problem = f"{n_bins:,} bins of {self._sites} have no 64-bit index"
            raise RecordingError(f"{name}: {problem}", recording=name)
        return int(n_bins)

    def _windows(self, events: Events, *, name: str) -> tuple[Ints, Ints]:
        """Return where each bin's events start and end, by Tonic's slicer; int64, shape (n_bins,) each."""
        metadata = self._run(lambda data: self._slicer.get_slice_metadata(data, None), events, name=name)
        bounds = np.asarray(metadata, dtype=np.int64).reshape(-1, 2)
        bounds = np.minimum(bounds, len(events))  # a slice may end behind the last event
        return bounds[:, 0], bounds[:, 1]

    def _run(self, call: Any, events: Events, *, name: str) -> Any:
        """Run a piece of Tonic; what it raises becomes a `RecordingError`."""
        try:
            with np.errstate(all="ignore"):  # what overflows to infinity is found by the guards
                return call(events)
        except MemoryError:
            raise  # not the recording's fault
        except Exception as error:
            raise RecordingError(
                f"{name}: Tonic failed with {type(error).__name__}: {error}", recording=name
            ) from error


def _exact(value: float) -> int | float:
    """Return a whole number as int, anything else as it is."""
    return int(value) if value.is_integer() and abs(value) <= 2**53 else value


def _optional(value: float | None) -> int | float | None:
    return None if value is None else _exact(value)


def _has_fixed_span(spec: ToFrame) -> bool:
    return spec.start_time is not None and spec.end_time is not None


def _rounded(strides: float, *, up: bool) -> float:
    if not math.isfinite(strides):
        return math.inf
    return math.ceil(strides) if up else math.floor(strides)


def _in_tonic(operation: Downsample | CropTime | ToFrame) -> Any:
    """Return Tonic's transform for a spec, with every argument explicit."""
    if isinstance(operation, Downsample):
        return tonic.transforms.Downsample(
            time_factor=_exact(operation.time_factor),
            spatial_factor=operation.spatial_factor,
            sensor_size=None,
            target_size=None,
        )
    if isinstance(operation, CropTime):
        return tonic.transforms.CropTime(min=_exact(operation.min), max=_exact(operation.max))
    return tonic.transforms.ToFrame(
        sensor_size=operation.sensor_size,
        time_window=_optional(operation.time_window),
        event_count=operation.event_count,
        n_time_bins=operation.n_time_bins,
        n_event_bins=operation.n_event_bins,
        overlap=_exact(operation.overlap),
        include_incomplete=operation.include_incomplete,
        start_time=_optional(operation.start_time),
        end_time=_optional(operation.end_time),
    )


def _slicer(spec: ToFrame) -> Any:
    """Return the slicer that ``ToFrame`` uses for this spec (tonic 1.7.0 ``functional.to_frame_numpy``)."""
    frames, overlap = _in_tonic(spec), _exact(spec.overlap)
    if spec.time_window is not None:
        return tonic.slicers.SliceByTime(
            frames.time_window, overlap, spec.include_incomplete, frames.start_time, frames.end_time
        )
    if spec.event_count is not None:
        return tonic.slicers.SliceByEventCount(spec.event_count, overlap, spec.include_incomplete)
    if spec.n_time_bins is not None:
        return tonic.slicers.SliceByTimeBins(spec.n_time_bins, overlap)
    return tonic.slicers.SliceByEventBins(spec.n_event_bins, overlap)
