"""ToFrame: count events in bins of time or of events."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spikestore.store_schemas.specs.model import AsTuple, Real, Size, Spec

SLICING_MODES = ("time_window", "event_count", "n_time_bins", "n_event_bins")
"""Tonic's four ways to slice a recording; a spec sets exactly one of these parameters."""


class ToFrame(Spec):
    """Count events per (time bin, polarity, y, x), like ``tonic.transforms.ToFrame``.

    ``sensor_size`` is required, because Tonic would infer a missing ``sensor_size`` from each recording separately. A parameter
    without effect is rejected, because it would change the key.
    """

    op: Literal["to_frame"] = "to_frame"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    sensor_size: Annotated[tuple[Size, Size, Size], AsTuple]
    """Size (x, y, p) of the sensor after the preceding operations."""
    time_window: Annotated[Real, Field(gt=0)] | None = None
    """Length of a bin, in µs."""
    event_count: Size | None = None
    """Events in a bin."""
    n_time_bins: Size | None = None
    """Bins of equal duration in a recording."""
    n_event_bins: Size | None = None
    """Bins of equal numbers of events in a recording."""
    overlap: Annotated[Real, Field(ge=0)] = 0.0
    """Overlap of adjacent bins: in µs with ``time_window``, in events with ``event_count``, otherwise as a fraction of a bin."""
    include_incomplete: bool = False
    """Keep a shorter last bin; allowed only with ``time_window`` or ``event_count``."""
    start_time: Real | None = None
    """Start of the first bin in µs, by default at the first event; only with ``time_window``."""
    end_time: Real | None = None
    """End of the recording in µs, by default at the last event; only with ``time_window``."""

    @model_validator(mode="after")
    def _one_way_of_slicing(self) -> Self:
        modes = [mode for mode in SLICING_MODES if getattr(self, mode) is not None]
        if len(modes) != 1:
            raise ValueError(
                f"exactly one of {', '.join(SLICING_MODES)} must be set, got {' and '.join(modes) or 'none'}"
            )
        mode = modes[0]
        if mode != "time_window" and (self.start_time is not None or self.end_time is not None):
            raise ValueError(f"start_time and end_time have no effect with {mode}: remove them")
        if mode.startswith("n_") and self.include_incomplete:
            raise ValueError(f"include_incomplete has no effect with {mode}: remove it")
        if self.start_time is not None and self.end_time is not None and self.end_time < self.start_time:
            raise ValueError(
                f"end_time ({self.end_time:g} µs) must not be below start_time ({self.start_time:g} µs)"
            )
        self._check_overlap(mode)
        return self

    def _check_overlap(self, mode: str) -> None:
        limit: float = {"time_window": self.time_window, "event_count": self.event_count}.get(mode) or 1.0
        if self.overlap >= limit:
            raise ValueError(f"overlap must be below {limit:g} with {mode}, got {self.overlap:g}")
        if mode == "event_count" and self.overlap != int(self.overlap):
            raise ValueError(f"with event_count, overlap must be an integer, got {self.overlap:g}")

    @property
    def frame_size(self) -> tuple[int, int, int]:
        """Size (x, y, p) of a frame: the size of the sensor."""
        return self.sensor_size

    @property
    def mode(self) -> str:
        """Name of the only parameter of `SLICING_MODES` that is set."""
        return next(mode for mode in SLICING_MODES if getattr(self, mode) is not None)

    @property
    def bins(self) -> int | None:
        """Number of bins of every recording; None if this number depends on the recording."""
        return self.n_time_bins or self.n_event_bins

    @property
    def non_zeros_per_event(self) -> int:
        """Largest number of bins that can contain the same event."""
        if self.overlap == 0:
            # Tonic rounds a window's end and the next one's start differently: with windows of 0.4 µs both can
            # contain the same event. Integers are exact.
            edges = (self.time_window or 0.0, self.start_time or 0.0)
            return 1 if all(edge.is_integer() for edge in edges) else 2
        if self.time_window is not None:
            return math.ceil(self.time_window / (self.time_window - self.overlap)) + 1
        if self.event_count is not None:
            return math.ceil(self.event_count / (self.event_count - self.overlap))
        if self.n_time_bins is not None:
            return min(self.n_time_bins, math.ceil(1 / (1 - self.overlap)) + 1)
        # Tonic rounds the stride down, to 0 for few events: then all bins contain the same events.
        return self.n_event_bins or 1
