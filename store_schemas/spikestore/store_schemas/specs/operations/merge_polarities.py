"""MergePolarities: set all polarities to 0."""

from __future__ import annotations

from typing import Literal

from spikestore.store_schemas.specs.model import Spec


class MergePolarities(Spec):
    """Set the polarity of all events to 0, like ``tonic.transforms.MergePolarities``."""

    op: Literal["merge_polarities"] = "merge_polarities"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
