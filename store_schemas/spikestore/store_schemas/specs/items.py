"""Recordings of the data set ``items``. They come from an object in Python: a subset of a data set, for example, or an object of the user's own class.

The recordings come from one or more parts. A part identifies its recordings in one of three ways: by files and a reader, by a Python class
and a version that the user states, or by a hash of each recording (docs/decisions/0063-objects-state-a-version.md). Each row of the source
is one recording of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.folder import EventField, TimeUnit
from spikestore.store_schemas.specs.model import AsTuple, Count, Name, Sha256, Size, Spec

if TYPE_CHECKING:
    Text = str
else:
    Text = Annotated[str, Field(min_length=1, max_length=1024)]


class FilePart(Spec):
    """A split of a data set that a reader of spikestore reads."""

    kind: Literal["files"] = "files"
    reader: Name
    """Name of the reader."""
    reader_version: Size
    """Version of the reader's results."""
    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    """Name of the data set."""
    split: Name
    """Name of the split."""
    length: Size
    """Number of recordings."""
    files: Annotated[tuple[SourceFile, ...], AsTuple, Field(min_length=1)]
    """The files, sorted by name."""


class VersionPart(Spec):
    """A data set in Python whose user states a version of its recordings."""

    kind: Literal["version"] = "version"
    name: Text
    """Module and name of the class."""
    version: Text
    """The version."""
    length: Size
    """Number of items."""
    time_unit: TimeUnit = "us"
    """Unit of the times of its events."""
    target: Text | Count | None = None
    """Which part of each target is the label: a key or a position; absent if the target is the label itself."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        mapping: dict[str, Any] = handler(self)
        if self.time_unit == "us":
            mapping.pop("time_unit", None)
        if self.target is None:
            mapping.pop("target", None)
        return mapping


class HashPart(Spec):
    """Recordings of a data set in Python that are identified by their events and classes."""

    kind: Literal["hash"] = "hash"
    hashes: Annotated[tuple[Sha256, ...], AsTuple, Field(min_length=1)]
    """SHA-256 of each recording."""

    @property
    def length(self) -> int:
        """Number of recordings."""
        return len(self.hashes)


Part = Annotated[FilePart | VersionPart | HashPart, Field(discriminator="kind")]
"""Recordings with one kind of identity."""


class ItemContent(Spec):
    """Recordings of a source that was made from a data set object in Python."""

    parts: Annotated[tuple[Part, ...], AsTuple, Field(min_length=1)]
    """Data sets; their recordings are numbered from 0, part after part."""
    rows: Annotated[tuple[Count, ...], AsTuple] = ()
    """The recording of each row of the source; left out if the rows are the recordings of all parts, in order."""
    classes: Annotated[tuple[str, ...], AsTuple, Field(min_length=1)]
    """Class names; label i means ``classes[i]``."""
    fields: Annotated[tuple[EventField, ...], AsTuple]
    """Fields of the events, in the order t, x, y, p."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must not list a class twice")
        if any(row >= self.recordings for row in self.rows):
            raise ValueError(f"rows must be below the number of recordings, {self.recordings}")
        if self.fields not in (("t", "x"), ("t", "x", "p"), ("t", "x", "y"), ("t", "x", "y", "p")):
            raise ValueError(
                "fields must contain t and x, may contain y and p, and must be in the order t, x, y, p"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_rows(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        mapping: dict[str, Any] = handler(self)
        if not self.rows:
            mapping.pop("rows", None)
        return mapping

    @property
    def recordings(self) -> int:
        """Number of recordings of all parts."""
        return sum(part.length for part in self.parts)

    @property
    def row_numbers(self) -> Sequence[int]:
        """For each row, the number of its recording. The recordings of all `parts` are numbered one part after another."""
        return self.rows or range(self.recordings)
