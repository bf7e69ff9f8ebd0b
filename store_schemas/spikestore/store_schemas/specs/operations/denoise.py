"""Denoise: drop events without a recent event in a neighbouring pixel."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.specs.model import Real, Spec


class Denoise(Spec):
    """Drop events without a recent event in one of the four neighbouring pixels, as ``tonic.transforms.Denoise``.

    Events need a field ``y``. As in Tonic, each pixel between 0 and the largest x and y of the recording counts as
    having an event at time 0, so events before ``filter_time`` are kept.
    """

    op: Literal["denoise"] = "denoise"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    filter_time: Annotated[Real, Field(gt=0)]
    """The neighbour's last event must be less than this long ago, in µs."""
