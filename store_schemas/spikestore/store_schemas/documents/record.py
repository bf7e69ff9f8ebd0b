"""The record: the document that marks one fragment as complete."""

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
    """Message of the error."""


class EventCounts(Spec):
    """Numbers of events read, cropped and dropped in some samples, and the number of lossy samples."""

    n_events: Count = 0
    """Events as read."""
    n_cropped: Count = 0
    """Events removed before framing."""
    n_dropped: Count = 0
    """Events outside every time bin."""
    lossy_samples: Count = 0
    """Samples with more than 5 % of their events outside every time bin."""

    def plus(self, other: EventCounts) -> EventCounts:
        """Return the sums of two counts, field by field."""
        return EventCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in type(self).model_fields}
        )


class Record(Document):
    """Objects, sizes and hashes of one complete fragment. Equal builds write equal bytes."""

    format: Literal[1] = FORMAT
    plan: Sha256
    """SHA-256 of the plan that the fragment belongs to."""
    fragment: Count
    """Number of the fragment."""
    objects: Annotated[tuple[ObjectEntry, ...], AsTuple]
    """Objects of the fragment; a fragment without non-zeros has no objects of ``index`` and ``value``."""
    samples: Size
    nnz: Count
    n_bins: Count
    """Largest number of time bins of a sample."""
    max_index: Count
    max_value: Annotated[float, Field(ge=0)]
    blocks: Annotated[tuple[Sha256, ...], AsTuple, Field(min_length=1)]
    """SHA-256 of the canonical bytes of each block."""
    skipped: Annotated[tuple[SkippedRow, ...], AsTuple] = ()
    """Skipped rows, ascending."""
    events: EventCounts = EventCounts()
    """Numbers of events read, cropped and dropped, and of lossy samples."""
