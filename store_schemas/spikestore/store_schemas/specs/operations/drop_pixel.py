"""DropPixel: drop all events of given pixels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from spikestore.store_schemas.specs.model import AsTuple, Count, Spec


class DropPixel(Spec):
    """Drop all events of given pixels, as ``tonic.transforms.DropPixel`` with ``coordinates``.

    Events need a field ``y``. Tonic's ``hot_pixel_frequency`` has no spec: it finds other pixels in each recording.
    """

    op: Literal["drop_pixel"] = "drop_pixel"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    coordinates: Annotated[tuple[Annotated[tuple[Count, Count], AsTuple], ...], AsTuple, Field(min_length=1)]
    """Pixels (x, y). They are stored sorted and without repetitions, so that their order does not change the key."""

    @field_validator("coordinates", mode="after")
    @classmethod
    def _sorted(cls, coordinates: Any) -> Any:
        return tuple(sorted(set(coordinates)))
