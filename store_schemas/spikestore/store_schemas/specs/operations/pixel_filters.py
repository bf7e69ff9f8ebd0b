"""Filters that drop events by their pixels: Decimation, Denoise, DropPixel and RefractoryPeriod."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from spikestore.store_schemas.specs.model import AsTuple, Count, Real, Size, Spec


class Decimation(Spec):
    """Keep each `n`-th event of every pixel, like ``tonic.transforms.Decimation``; events of all polarities are counted together."""

    op: Literal["decimation"] = "decimation"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    n: Size
    """The first ``n - 1`` events of a pixel are dropped, the next is kept, and so on; 1 keeps all."""


class Denoise(Spec):
    """Keep an event only if one of the four neighbouring pixels had an event less than ``filter_time`` before it, like ``tonic.transforms.Denoise``.

    Events need a field ``y``. As in Tonic, every pixel up to the largest x and y of the recording is treated as if it had an
    event at time 0. So all events before ``filter_time`` are kept, except if all events of the recording are at the pixel (0, 0).
    """

    op: Literal["denoise"] = "denoise"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    filter_time: Annotated[Real, Field(gt=0)]
    """An event is kept if a neighbouring pixel had its last event less than this time before it, in µs."""


class DropPixel(Spec):
    """Drop all events of given pixels, like ``tonic.transforms.DropPixel`` with ``coordinates``.

    Events need a field ``y``. Tonic's parameter ``hot_pixel_frequency`` is not supported: it finds different pixels in each recording.
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


class RefractoryPeriod(Spec):
    """Drop events that follow another event of their pixel within `delta`, like ``tonic.transforms.RefractoryPeriod``.

    Events need a field ``y``. As in Tonic, a dropped event also starts a new period, and the first event of a pixel is dropped
    if its time is 0 or negative. In Tonic, a pair as ``delta`` is a range for random values; this operation rejects pairs.
    """

    op: Literal["refractory_period"] = "refractory_period"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    delta: Annotated[Real, Field(ge=0)]
    """An event is kept if the previous event of its pixel was more than this time before it, in µs."""
