"""CropTime: keep the events of one interval of time."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from spikestore.store_schemas.specs.model import Real, Spec


class CropTime(Spec):
    """Keep events with ``min <= t <= max`` (µs, both ends inclusive), like ``tonic.transforms.CropTime``.

    ``max`` is required, because Tonic's default is not usable: Tonic applies the last time stamp of the first recording to all
    later recordings.
    """

    op: Literal["crop_time"] = "crop_time"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    min: Real = 0.0
    """Earliest time stamp that is kept, in µs, inclusive."""
    max: Real
    """Latest time stamp that is kept, in µs, inclusive."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max:g} µs) must not be below min ({self.min:g} µs)")
        return self
