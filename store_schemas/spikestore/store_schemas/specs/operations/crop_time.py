"""CropTime: keep the events of one span of time."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from spikestore.store_schemas.specs.model import Real, Spec


class CropTime(Spec):
    """Keep events with ``min <= t <= max`` (µs, both ends inclusive), as ``tonic.transforms.CropTime``.

    ``max`` is required: Tonic takes it from the first recording that it sees, and cuts all later ones with it.
    """

    op: Literal["crop_time"] = "crop_time"
    version: Literal[1] = 1
    """Version of the results, whoever executes the operation."""
    min: Real = 0.0
    """Earliest time stamp that is kept, in µs, inclusive."""
    max: Real
    """Latest time stamp that is kept, in µs, inclusive."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g} µs) lies before min ({self.min:g} µs)")
        return self
