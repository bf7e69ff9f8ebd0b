"""Specs of the data set ``folder``: the labels and columns of the files, and how files are decoded to events.

These specs contain only what determines the samples. The files and their labels are part of the key. The table, the
pattern or the shares of splits, with which a recipe chooses files and labels, are not part of the key
(docs/decisions/0057-a-folder-is-its-labels.md).
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spikestore.store_schemas.specs.column_values import Values, values_of
from spikestore.store_schemas.specs.model import AsTuple, Count, Name, Size, Spec
from spikestore.store_schemas.wording import plural

EventField = Literal["t", "x", "y", "p"]
"""A field of an event: time, coordinates, polarity."""

TimeUnit = Literal["s", "ms", "us", "ns"]
"""Unit of the times in files."""

ClockBits = Annotated[int, Field(ge=8, le=62)]
"""Number of bits of the clock of a recording: after 2^bits ticks, the times start again from 0."""

Integer32 = Annotated[int, Field(ge=-(2**31) + 1, le=2**31 - 1)]
"""A value of a column: any int32 except the fill value."""

RESERVED_COLUMNS = frozenset(
    [
        "allow_pickle",
        "check",
        "classes",
        "file",
        "frames",
        "index",
        "label",
        "n_bins",
        "n_cropped",
        "n_dropped",
        "n_events",
        "nnz",
        "offsets",
        "row",
        "start",
        "value",
        "zarr.json",
    ]
)
"""Names that a requested column cannot have: names of a set's other columns, and names that have another meaning in exports."""

_FIELDS = (("t", "x"), ("t", "x", "p"), ("t", "x", "y"), ("t", "x", "y", "p"))


class Decoding(Spec):
    """Parameters that determine which events are decoded from the files of a folder."""

    formats: dict[Name, Size]
    """Version of each file format, by the name of the format."""
    fields: Annotated[tuple[EventField, ...], AsTuple]
    """Fields that the events of all files have, in the order t, x, y, p."""
    order: Annotated[tuple[str, ...], AsTuple] = ()
    """Field in each column of a file that does not name its columns; ``-`` for a column that is not used."""
    names: dict[EventField, str] = Field(default_factory=dict)
    """Names of fields in the files, if these are not the usual names."""
    time_unit: TimeUnit = "us"
    """Unit of the times in the files."""
    offset: Literal["first_event"] | None = None
    """Time that is subtracted from all times of a recording: the time of its earliest event; None subtracts nothing."""
    clock_bits: ClockBits | None = None
    """Number of bits of the clock, which starts again from 0 after 2^bits ticks; each restart adds 2^bits ticks to all times after it."""

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        if self.fields not in _FIELDS:
            raise ValueError("fields must contain t and x, and may contain y and p, in the order t, x, y, p")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        mapping: dict[str, Any] = handler(self)
        return {name: value for name, value in mapping.items() if value not in ([], {}, (), None)}


class FolderContent(Spec):
    """Labels and columns of a source's files, and the parameters that turn files into events."""

    decoding: Decoding
    """Parameters of the decoding of files to events."""
    classes: Annotated[tuple[str, ...], AsTuple, Field(min_length=1)]
    """Class names; label i means ``classes[i]``."""
    labels: Annotated[tuple[Count, ...], AsTuple]
    """Label of each file."""
    columns: dict[Name, Annotated[tuple[Integer32, ...], AsTuple]] = Field(default_factory=dict)
    """Columns that were requested: a value for each file, by the name of the column. Texts and real numbers are
    encoded as parts, which `values` decodes."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must not list a class twice")
        largest = max(self.labels, default=0)
        if largest >= len(self.classes):
            raise ValueError(
                f"labels must be below {len(self.classes)} (the number of classes), got {largest}"
            )
        for name, values in self.columns.items():
            if len(values) != len(self.labels):
                raise ValueError(
                    f"{name} has {plural(len(values), 'value')}, but there are {plural(len(self.labels), 'label')}"
                )
            if name in RESERVED_COLUMNS:
                raise ValueError(
                    f"a requested column cannot be called {name}, because spikestore uses this name itself"
                )
        return self

    @cached_property
    def values(self) -> dict[str, Values]:
        """Requested columns by name, sorted by name. Each has one value per file: whole numbers, real numbers or texts."""
        return values_of(self.columns, RESERVED_COLUMNS)

    def part(self, rows: slice) -> FolderContent:
        """Return a copy that has the labels and columns of only these rows."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        part = self.model_copy(update={"labels": self.labels[rows], "columns": columns})
        part.__dict__.pop("values", None)  # a copy has the cached values of all files
        return part
