"""A transform that Tonic's own classes compute (``executor = "tonic"``); tests compare the other executors with it.

Checks, numbers of bins and messages are those of `NumpyChain`. Tonic applies its operations, finds the events of each bin, and
counts the events. `NumpyChain` takes over a step where Tonic would fail or its integers could overflow. It also counts the events if
the dense frames of a recording are large. ``tonic.transforms.Compose`` is not used, because it stops at an empty array and returns the raw events.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tonic.slicers
import tonic.transforms

from spikestore.pipeline.readers.recording import Events, Sample
from spikestore.pipeline.transforms.event_operations import EventStep
from spikestore.pipeline.transforms.frame_bins import exact, optional
from spikestore.pipeline.transforms.frame_counts import Ints, non_zeros
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.operations import (
    CenterCrop,
    CropTime,
    Decimation,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    EventOperation,
    MergePolarities,
    OwnOperation,
    RefractoryPeriod,
    TimeAlignment,
    TimeSkew,
    ToFrame,
)
from spikestore.store_schemas.specs.transform import Transform

DENSE_LIMIT = 64 * 2**20
"""Largest dense frame, in bytes, to compute with ``ToFrame``."""

INT16_LIMIT = 2**15 - 1
"""Largest number of events in a bin for which no int16 cell can overflow."""


class TonicChain(NumpyChain):
    """Computes the samples of single recordings with Tonic. Parameters and errors are those of `NumpyChain`."""

    def __init__(self, transform: Transform, *, has_y: bool) -> None:
        super().__init__(transform, has_y=has_y)
        self._in_tonic = {
            operation: _in_tonic(operation)
            for operation in transform.on_events
            if not isinstance(operation, OwnOperation)
        }
        spec = transform.to_frame
        assert isinstance(spec, ToFrame)  # noqa: S101 - `executor_for` rejects others
        self._to_frame = _in_tonic(spec)
        self._slicer = _slicer(spec)

    def __call__(
        self,
        events: Events,
        *,
        name: str,
        sort: bool = False,
        seconds: npt.NDArray[np.float16] | None = None,
    ) -> Sample:
        """Return the sample of one recording; raise errors of Tonic as `RecordingError`."""
        try:
            return super().__call__(events, name=name, sort=sort, seconds=seconds)
        except _TonicFailedError as failure:
            error = failure.__cause__
            message = f"{name}: Tonic failed with {type(error).__name__}: {error}"
            raise RecordingError(message, recording=name) from error

    def _applied(
        self, events: Events, step: EventStep, kept: npt.NDArray[np.bool_] | None, *, name: str
    ) -> Events:
        if isinstance(step.operation, OwnOperation):
            return super()._applied(events, step, kept, name=name)
        if step.steps is not None:
            ours = super()._applied(events, step, kept, name=name)
            starts, ends = step.steps.ranges(events["t"])
            fits = (ends - starts).max() <= INT16_LIMIT and np.ptp(events["t"]) < 2**31
            if len(ours) == 0 or not fits:  # Tonic fails, or its types overflow
                return ours
        result = _run(self._in_tonic[step.operation], events)
        if len(result) == 0:
            return events[:0]  # Decimation then returns an array without fields
        new: Events = np.empty(len(result), events.dtype)  # EventDownsampling returns narrower types
        for field in events.dtype.names or ():
            new[field] = result[field]
        return new

    def _ranges(self, events: Events) -> tuple[Ints, Ints]:
        metadata = _run(lambda data: self._slicer.get_slice_metadata(data, None), events)
        bounds = np.asarray(metadata, dtype=np.int64).reshape(-1, 2)
        bounds = np.minimum(bounds, len(events))  # a slice may end after the last event
        return bounds[:, 0], bounds[:, 1]

    def _counted(self, events: Events, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        dense_bytes = len(starts) * math.prod(self._sites) * np.dtype(np.int16).itemsize
        if dense_bytes <= DENSE_LIMIT and (ends - starts).max(initial=0) <= INT16_LIMIT:
            return non_zeros(_run(self._to_frame, events))
        return super()._counted(events, starts, ends)


class _TonicFailedError(Exception):
    """Tonic raised an error, which is the ``__cause__`` of this exception."""


def _run(call: Any, events: Events) -> Any:
    """Call a function of Tonic; raise its errors as `_TonicFailedError`."""
    try:
        with np.errstate(all="ignore"):  # infinite values are rejected by `check_frameable`
            return call(events)
    except MemoryError:
        raise  # not the recording's fault
    except Exception as error:
        raise _TonicFailedError from error


def _in_tonic(operation: EventOperation | ToFrame) -> Any:
    """Return Tonic's transform for a spec; no argument is left at Tonic's default."""
    if isinstance(operation, Downsample):
        return tonic.transforms.Downsample(
            time_factor=exact(operation.time_factor),
            spatial_factor=operation.spatial_factor,
            sensor_size=None,
            target_size=None,
        )
    if isinstance(operation, CropTime):
        return tonic.transforms.CropTime(min=exact(operation.min), max=exact(operation.max))
    if isinstance(operation, Decimation):
        return tonic.transforms.Decimation(n=operation.n)
    if isinstance(operation, Denoise):
        return tonic.transforms.Denoise(filter_time=exact(operation.filter_time))
    if isinstance(operation, DropPixel):
        return tonic.transforms.DropPixel(coordinates=operation.coordinates, hot_pixel_frequency=None)
    if isinstance(operation, RefractoryPeriod):
        return tonic.transforms.RefractoryPeriod(delta=exact(operation.delta))
    if isinstance(operation, MergePolarities):
        return tonic.transforms.MergePolarities()
    if isinstance(operation, CenterCrop):
        return tonic.transforms.CenterCrop(sensor_size=(*operation.sensor_size, 2), size=operation.size)
    if isinstance(operation, TimeAlignment):
        return tonic.transforms.TimeAlignment()
    if isinstance(operation, TimeSkew):
        return tonic.transforms.TimeSkew(
            coefficient=exact(operation.coefficient), offset=exact(operation.offset)
        )
    if isinstance(operation, EventDownsampling):
        bins = operation.differentiator_time_bins
        return tonic.transforms.EventDownsampling(
            sensor_size=(*operation.sensor_size, 2),
            target_size=operation.target_size,
            downsampling_method="integrator" if bins is None else "differentiator",
            dt=exact(operation.dt),
            noise_threshold=operation.noise_threshold,
            differentiator_time_bins=bins,
        )
    assert isinstance(operation, ToFrame)  # noqa: S101 - the constructor leaves out operations of packages
    return tonic.transforms.ToFrame(
        sensor_size=operation.sensor_size,
        time_window=optional(operation.time_window),
        event_count=operation.event_count,
        n_time_bins=operation.n_time_bins,
        n_event_bins=operation.n_event_bins,
        overlap=exact(operation.overlap),
        include_incomplete=operation.include_incomplete,
        start_time=optional(operation.start_time),
        end_time=optional(operation.end_time),
    )


def _slicer(spec: ToFrame) -> Any:
    """Return the slicer that ``ToFrame`` uses for this spec (tonic 1.7.0 ``functional.to_frame_numpy``)."""
    frames, overlap = _in_tonic(spec), exact(spec.overlap)
    if spec.time_window is not None:
        return tonic.slicers.SliceByTime(
            frames.time_window, overlap, spec.include_incomplete, frames.start_time, frames.end_time
        )
    if spec.event_count is not None:
        return tonic.slicers.SliceByEventCount(spec.event_count, overlap, spec.include_incomplete)
    if spec.n_time_bins is not None:
        return tonic.slicers.SliceByTimeBins(spec.n_time_bins, overlap)
    return tonic.slicers.SliceByEventBins(spec.n_event_bins, overlap)
