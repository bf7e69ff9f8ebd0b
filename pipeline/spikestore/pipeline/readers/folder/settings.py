"""The table ``[source.folder]`` of a recipe: it selects the recordings, and determines their labels, splits and columns."""

from __future__ import annotations

import math
from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from spikestore.pipeline.readers.folder.pattern import Pattern, is_field
from spikestore.store_schemas.specs.folder import ClockBits, EventField, TimeUnit
from spikestore.store_schemas.specs.model import AsTuple, Name, Real, Spec

FOLDER = "folder"
"""Name of the data set."""

_NOT_USED = "-"


class FolderSettings(Spec):
    """The table ``[source.folder]``."""

    pattern: str | None = None
    """Pattern of the paths of recordings, such as ``{split}/{label}/user{user}_*.npy``; by default ``{label}/*``. If there is a table, there is no default."""
    table: str | None = None
    """Path, relative to the data folder, of a CSV file with a line per recording."""
    file: str = "file"
    """Column of the table with the paths of recordings, relative to the data folder."""
    label: str = "label"
    """Field of the pattern or column of the table with the class names."""
    split: str = "split"
    """Field of the pattern or column of the table with the names of splits."""
    classes: Annotated[tuple[str, ...], AsTuple] = ()
    """Class names in the order of their labels; by default the class names of all recordings, sorted. If all consist of digits, they are sorted as numbers."""
    shares: dict[Name, Real] = Field(default_factory=dict)
    """Share of the recordings that each split gets, if neither pattern nor table has splits."""
    group: str | None = None
    """Recordings with the same value of this field or column stay in one split; by default, the split of each recording is chosen separately."""
    formats: Annotated[tuple[str, ...], AsTuple] = ()
    """Formats of the recordings; by default the only format that the folder has."""
    exclude: Annotated[tuple[str, ...], AsTuple] = ()
    """Patterns of files that are not recordings."""
    unlisted: Literal["error", "ignore"] = "error"
    """What to do with recordings that have no line in the table."""
    fields: Annotated[tuple[str, ...], AsTuple] = ()
    """Field in each column of files that do not name their columns: t, x, y, p, or ``-`` for a column that is not used."""
    names: dict[EventField, str] = Field(default_factory=dict)
    """Names of fields in the files, if these are not the usual ones."""
    time_unit: TimeUnit = "us"
    """Unit of the times in the files."""
    offset: Literal["first_event"] | None = None
    """Subtract the time of the earliest event of each recording."""
    clock_bits: ClockBits | None = None
    """Number of bits of the clock of the recordings, which starts again from 0 after 2^bits ticks; each restart adds 2^bits ticks to all times after it."""

    @property
    def effective_pattern(self) -> str | None:
        """The pattern of paths, by default one folder per class; None if there is only a table."""
        return self.pattern or (None if self.table is not None else f"{{{self.label}}}/*")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for text in (*self.exclude, *([self.pattern] if self.pattern is not None else ())):
            Pattern(text)
        if self.pattern is None and self.table is None and not is_field(self.label):
            raise ValueError(
                f"the value of label is the name of a field in the default pattern, so it must start with a letter and consist of letters, digits and _; got {self.label!r}: "
                "change this value, or set pattern or table"
            )
        used = [field for field in self.fields if field != _NOT_USED]
        if self.fields and (
            not {"t", "x"} <= set(used) <= {"t", "x", "y", "p"} or len(set(used)) < len(used)
        ):
            raise ValueError(
                f'fields must contain "t" and "x", may contain "y", "p" and "-", and must not repeat t, x, y or p; got {", ".join(self.fields)}'
            )
        twice = [name for name, count in Counter(self.classes).items() if count > 1]
        if twice:
            raise ValueError(f"classes must list each class once, got {twice[0]!r} more than once")
        if self.shares and not math.isclose(sum(self.shares.values()), 1, abs_tol=1e-9):
            raise ValueError(f"shares must add up to 1, got {sum(self.shares.values()):g}")
        if any(share <= 0 for share in self.shares.values()):
            raise ValueError("shares must be above 0")
        if self.group is not None and not self.shares:
            raise ValueError(
                "group needs shares: set shares too, such as shares = { train = 0.8, test = 0.2 }"
            )
        if self.unlisted == "ignore" and self.table is None:
            raise ValueError('unlisted = "ignore" has no effect without a table: set table, or omit unlisted')
        return self
