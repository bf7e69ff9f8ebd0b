"""NumPy implementation of the operations that return events, and the conditions that events must meet for each operation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms import event_guards as guards
from spikestore.pipeline.transforms.frame_bins import FrameBins, exact
from spikestore.pipeline.transforms.integrating_pixels import downsampled, steps_of
from spikestore.pipeline.transforms.own_operations import CheckedFunction
from spikestore.pipeline.transforms.pixel_filters import LARGEST_COORDINATE, kept_by
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.operations import (
    CenterCrop,
    CropTime,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    EventOperation,
    MergePolarities,
    OwnOperation,
    PixelFilter,
    RefractoryPeriod,
    TimeAlignment,
    TimeSkew,
)

_NEED_Y = CenterCrop | Denoise | DropPixel | EventDownsampling | RefractoryPeriod


class EventStep:
    """Applies one operation to the events of single recordings.

    Parameters
    ----------
    operation : EventOperation
        The operation.
    has_y : bool
        Whether events have a field ``y``.
    max_bins : int
        Maximum number of time steps of ``event_downsampling``.

    Raises
    ------
    UsageError
        The operation needs events with ``y``, but the events have no ``y``; or the function of an ``OwnOperation`` cannot be used (`CheckedFunction`).
    """

    def __init__(self, operation: EventOperation, *, has_y: bool, max_bins: int) -> None:
        if not has_y and isinstance(operation, _NEED_Y):
            raise UsageError(
                f"{operation.op} needs events with y, but these recordings have no y: remove {operation.op}"
            )
        self.operation = operation
        self.has_y = has_y
        self.makes_new_events = isinstance(operation, EventDownsampling | OwnOperation)
        self.function = CheckedFunction(operation) if isinstance(operation, OwnOperation) else None
        self.steps: FrameBins | None = None
        if isinstance(operation, EventDownsampling):
            self.steps = steps_of(operation, max_bins=max_bins)

    def check(self, events: Events, *, origin: guards.Origin) -> None:
        """Raise `RecordingError` if the result of the operation is not defined for these events; `events` must not be empty."""
        operation = self.operation
        if isinstance(operation, Downsample):
            x, y = operation.spatial_factor
            guards.check_scaling(events, {"t": exact(operation.time_factor), "x": x, "y": y}, origin=origin)
        elif isinstance(operation, TimeSkew):
            factor, offset = exact(operation.coefficient), exact(operation.offset)
            guards.check_scaling(events, {"t": factor}, origin=origin, offset=offset)
        elif isinstance(operation, TimeAlignment):
            guards.check_times(events, origin=origin)
        elif isinstance(operation, EventDownsampling):
            guards.check_integrable(events, operation, origin=origin)
            assert self.steps is not None  # noqa: S101 - the constructor set it
            self.steps.count(events["t"], name=origin.name)
        elif isinstance(operation, PixelFilter):
            guards.check_times(events, origin=origin)
            guards.check_pixels(events, LARGEST_COORDINATE, origin=origin)

    def kept(self, events: Events) -> npt.NDArray[np.bool_] | None:
        """Return a bool for each event, true if the operation keeps it. Return None if `changed` alone applies the operation."""
        operation = self.operation
        with np.errstate(all="ignore"):
            if isinstance(operation, CropTime):
                t = events["t"]
                kept: npt.NDArray[np.bool_] = (t >= exact(operation.min)) & (t <= exact(operation.max))
                return kept
            if isinstance(operation, CenterCrop):
                return _inside(operation, events)
        return kept_by(operation, events) if isinstance(operation, PixelFilter) else None

    def changed(self, events: Events, *, name: str) -> Events:
        """Return `events` after the operation has changed their values; the array `events` itself may be modified.

        `events` must have only the events that the method `kept` keeps. `name` is the name of the recording in messages.
        Errors are those of `CheckedFunction`, if the operation is an `OwnOperation`.
        """
        operation = self.operation
        if isinstance(operation, Downsample):
            x, y = operation.spatial_factor
            # Floating-point times may become infinite, which `check_frameable` rejects.
            with np.errstate(all="ignore"):
                events["t"] = events["t"] * exact(operation.time_factor)
                events["x"] = events["x"] * x
                if self.has_y:
                    events["y"] = events["y"] * y
        elif isinstance(operation, TimeSkew):
            with np.errstate(all="ignore"):
                events["t"] = events["t"] * exact(operation.coefficient) + exact(operation.offset)
        elif isinstance(operation, TimeAlignment):
            events["t"] -= events["t"][0]
        elif isinstance(operation, MergePolarities):
            events["p"] = 0
        elif isinstance(operation, CenterCrop):
            x_offset, y_offset = operation.offset
            events["x"] -= x_offset
            events["y"] -= y_offset
        elif isinstance(operation, EventDownsampling):
            assert self.steps is not None  # noqa: S101 - the constructor set it
            return downsampled(events, operation, self.steps)
        elif self.function is not None:
            return self.function(events, name=name)
        return events


def _inside(crop: CenterCrop, events: Events) -> npt.NDArray[np.bool_]:
    kept = np.ones(len(events), np.bool_)
    for field, offset, size in zip("xy", crop.offset, crop.size, strict=True):
        first = max(offset, 0)
        kept &= (events[field] >= first) & (events[field] < first + size)
    return kept
