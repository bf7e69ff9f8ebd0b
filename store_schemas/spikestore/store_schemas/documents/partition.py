"""The partition: a named, immutable division of a source's rows into parts, such as ``train`` and ``valid``.

It is stored as ``partitions/<source key>/<name>.json``. The rows of a source are recordings, so a partition applies to
the feature sets of all transforms. Versions of spikestore without partitions ignore the file.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from spikestore.store_schemas.specs.canonical import FORMAT
from spikestore.store_schemas.specs.model import AsTuple, Count, Document, Name, Sha256, Size

Rows = npt.NDArray[np.int64]
_Bounds = Annotated[tuple[Count, ...], AsTuple]


class Partition(Document):
    """Stored division of a source's rows into named parts."""

    format: Literal[1] = FORMAT
    name: Name
    source_key: Sha256
    samples: Size
    """Number of rows of the source."""
    parts: Annotated[dict[Name, _Bounds], Field(min_length=1)]
    """Row ranges of each part: start, stop, start, stop …, ascending; no row is in two parts."""

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Self:
        starts, stops = [], []
        for name, bounds in self.parts.items():
            edges = np.array(bounds, np.int64)
            if len(edges) % 2 or (len(edges) and edges[-1] > self.samples) or (np.diff(edges) <= 0).any():
                raise ValueError(
                    f"the rows of {name} must be ascending ranges, written as start, stop, start, stop …; the last stop must be at most {self.samples}"
                )
            starts.append(edges[::2])
            stops.append(edges[1::2])
        # Compared range by range: `samples` comes from a store, so no array of this size is allocated.
        start, stop = np.sort(np.concatenate(starts))[1:], np.sort(np.concatenate(stops))[:-1]
        if (twice := start < stop).any():
            raise ValueError(f"row {start[twice][0]} belongs to two parts, but should belong to only one")
        return self

    def count(self, part: str) -> int:
        """Return the number of rows of the part with this name."""
        return sum(self.parts[part][1::2]) - sum(self.parts[part][::2])

    def rows(self, part: str) -> Rows:
        """Return the rows of a part: int64, ascending.

        Before the call, compare ``self.samples`` with the source, because a malicious document may have so many rows that they
        fill the memory.
        """
        edges = np.array(self.parts[part], np.int64).reshape(-1, 2)
        lengths = edges[:, 1] - edges[:, 0]
        before = np.cumsum(lengths) - lengths
        rows: Rows = np.repeat(edges[:, 0] - before, lengths) + np.arange(lengths.sum())
        return rows


def runs_of(rows: Rows) -> tuple[int, ...]:
    """Return ascending rows as ranges: start, stop, start, stop and so on."""
    breaks = np.flatnonzero(np.diff(rows) != 1)
    starts = rows[np.concatenate([[0], breaks + 1])] if len(rows) else rows
    stops = rows[np.concatenate([breaks, [len(rows) - 1]])] + 1 if len(rows) else rows
    return tuple(np.stack([starts, stops], axis=1).ravel().tolist())
