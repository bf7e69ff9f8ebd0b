"""ClipCounts: limit the counts of a frame."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.specs.model import Spec


class ClipCounts(Spec):
    """Limit counts to ``max``, after ``to_frame``; with ``max = 1`` frames are binary.

    Tonic has no such transform; scripts apply ``frames.clip(max=…)`` themselves.
    """

    op: Literal["clip_counts"] = "clip_counts"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    max: Annotated[int, Field(ge=1, le=2**32 - 2)]
    """Largest count; larger counts are set to it."""
