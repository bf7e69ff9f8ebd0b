"""The record: what one finished fragment leaves, after its objects are stored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spikestore.store_schemas.specs.canonical import FORMAT
from spikestore.store_schemas.specs.model import AsTuple, Count, Document, Sha256, Size, Spec


class ObjectEntry(Spec):
    """One stored object of a fragment."""

    path: Annotated[str, Field(pattern=r"^[a-z_]+/c/[0-9]+$")]
    """Path below ``data.zarr``."""
    size: Size
    """Bytes."""
    sha256: Sha256
    """SHA-256 of the stored bytes."""


class SkippedRow(Spec):
    """A row whose recording was skipped."""

    row: Count
    """Row in the whole set."""
    reason: Annotated[str, Field(max_length=2000)]
    """Why, as the error said."""


class EventCounts(Spec):
    """What happened to the events of some samples."""

    n_events: Count = 0
    """Events as read."""
    n_cropped: Count = 0
    """Events removed before framing."""
    n_dropped: Count = 0
    """Events in no time bin."""
    lossy_samples: Count = 0
    """Samples that lost more than 5 % of their events because these lay in no time bin."""

    def plus(self, other: EventCounts) -> EventCounts:
        """Return the sums."""
        return EventCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )


class Record(Document):
    """What one finished fragment consists of. Equal builds leave equal records, byte for byte."""

    format: Literal[1] = FORMAT
    plan: Sha256
    """SHA-256 of the plan that the fragment belongs to."""
    fragment: Count
    """Number of the fragment."""
    objects: Annotated[tuple[ObjectEntry, ...], AsTuple]
    """Objects of the fragment; without non-zeros there are none of ``index`` and ``value``."""
    samples: Size
    nnz: Count
    n_bins: Count
    """Largest number of time bins."""
    max_index: Count
    max_value: Annotated[float, Field(ge=0)]
    blocks: Annotated[tuple[Sha256, ...], AsTuple, Field(min_length=1)]
    """SHA-256 of the canonical bytes of each block."""
    skipped: Annotated[tuple[SkippedRow, ...], AsTuple] = ()
    """Rows that were skipped, ascending."""
    events: EventCounts = EventCounts()
    """What happened to the events."""
