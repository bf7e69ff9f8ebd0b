"""ClipCounts: limit the counts of a frame."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.specs.model import Spec


class ClipCounts(Spec):
    """Limit the counts of frames to ``max``; with ``max = 1`` frames are binary.

    In a transform, ClipCounts follows an operation that counts events, such as ``to_frame``. Tonic has no such transform;
    scripts that use Tonic call ``frames.clip(max=…)``.
    """

    op: Literal["clip_counts"] = "clip_counts"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    max: Annotated[int, Field(ge=1, le=2**32 - 2)]
    """Largest count; larger counts become this count."""
