"""EventDownsampling: sum events in larger pixels; a pixel gives an event when its sum reaches a threshold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from spikestore.store_schemas.specs.model import AsTuple, PlaneSize, Real, Size, Spec


class EventDownsampling(Spec):
    """Replace the events by new events of a smaller sensor whose pixels integrate, like ``tonic.transforms.EventDownsampling``.

    Each pixel of the smaller sensor has a sum: an event with p = 1 adds 1, and an event with p = 0 subtracts 1. At the end of
    each integrating step, a pixel whose sum is at least `noise_threshold` gives one event with p = 1. A pixel whose sum is at
    most minus `noise_threshold` gives one event with p = 0. After such an event, the sum begins again from 0. If
    `differentiator_time_bins` is set, these events are only counted; the docstring of this field states which events are returned.
    The new events have the times 0, dt, 2 dt …, counted from the first event of the recording.

    Events need a field ``y``, whole times, and p of 0 or 1. If `differentiator_time_bins` is set, the last time must be above
    `step`, as in Tonic. A recipe may contain Tonic's ``downsampling_method``, but it is not stored. It must be
    "differentiator" if `differentiator_time_bins` is set, else "integrator".
    """

    op: Literal["event_downsampling"] = "event_downsampling"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    sensor_size: PlaneSize
    """Size (x, y) of the sensor before the operation; a third size, as in Tonic, has no effect and is not stored."""
    target_size: Annotated[tuple[Size, Size], AsTuple]
    """Size (x, y) of the sensor after the operation."""
    dt: Annotated[Real, Field(gt=0)]
    """Length of a step, in **ms** as in Tonic; all other times are in µs."""
    noise_threshold: Size
    """Sum at which a pixel gives an event. Tonic also accepts 0. This operation rejects 0: with 0, pixels without events would give events."""
    differentiator_time_bins: Size | None = None
    """For the differentiator: the number of parts into which each step of `dt` is divided. Pixels integrate in these parts. For
    each pixel and polarity, a step has one event if the pixel reaches the threshold of the polarity more often in the next step than
    in this step. For the integrator: None; a pixel gives an event each time that it reaches the threshold."""

    @model_validator(mode="before")
    @classmethod
    def _method_follows(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or "downsampling_method" not in fields:
            return fields
        fields = dict(fields)
        method = fields.pop("downsampling_method")
        expected = "integrator" if fields.get("differentiator_time_bins") is None else "differentiator"
        if method != expected:
            raise ValueError(
                'downsampling_method must be "differentiator" if differentiator_time_bins is set, and "integrator" if it is not set; '
                f"got {method!r}"
            )
        return fields

    @property
    def step(self) -> float:
        """Time in µs between two comparisons of the pixels' sums with the threshold."""
        return self.dt / (self.differentiator_time_bins or 1) * 1000
