"""A partition: a named, immutable division of a source's rows into parts, such as train and valid.

``partitions/<source key>/<name>.json``, put-if-absent. It belongs to the source, whose rows are recordings, so that one
partition serves the feature sets of all transforms. Readers that know nothing of it see the store as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from spikestore.store_schemas.canonical import FORMAT
from spikestore.store_schemas.errors import ConflictError, DamagedError, MissingObjectError, UnknownNameError
from spikestore.store_schemas.model import NAME, AsTuple, Count, Document, Name, Sha256, Size
from spikestore.store_schemas.storage import Storage

Rows = npt.NDArray[np.int64]
_Bounds = Annotated[tuple[Count, ...], AsTuple]


class Partition(Document):
    """The document."""

    format: Literal[1] = FORMAT
    name: Name
    source_key: Sha256
    samples: Size
    """Rows of the source."""
    parts: Annotated[dict[Name, _Bounds], Field(min_length=1)]
    """Of each part the runs of its rows: start, stop, start, stop …, ascending; no row is in two parts."""

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Self:
        taken = np.zeros(self.samples + 1, np.int64)
        for name, bounds in self.parts.items():
            edges = np.array(bounds, np.int64)
            if len(edges) % 2 or (len(edges) and edges[-1] > self.samples) or (np.diff(edges) <= 0).any():
                raise ValueError(f"the rows of {name} should be runs that ascend, up to row {self.samples}")
            taken[edges[::2]] += 1
            taken[edges[1::2]] -= 1
        if (np.cumsum(taken) > 1).any():
            raise ValueError("a row should be in one part only")
        return self

    def rows(self, part: str) -> Rows:
        """Return the rows of a part: int64, ascending."""
        edges = np.array(self.parts[part], np.int64).reshape(-1, 2)
        lengths = edges[:, 1] - edges[:, 0]
        before = np.cumsum(lengths) - lengths
        found: Rows = np.repeat(edges[:, 0] - before, lengths) + np.arange(lengths.sum())
        return found


def runs_of(rows: Rows) -> tuple[int, ...]:
    """Return ascending rows as runs: start, stop, start, stop and so on."""
    breaks = np.flatnonzero(np.diff(rows) != 1)
    starts = rows[np.concatenate([[0], breaks + 1])] if len(rows) else rows
    stops = rows[np.concatenate([breaks, [len(rows) - 1]])] + 1 if len(rows) else rows
    return tuple(np.stack([starts, stops], axis=1).ravel().tolist())


def store_partition(
    storage: Storage, source_key: str, name: str, samples: int, parts: Mapping[str, Rows]
) -> Partition:
    """Store a partition; where an equal one is there already, that is success.

    Raises
    ------
    SpecError
        A name breaks the rules, or a row is in two parts.
    ConflictError
        Another partition of the source has this name.
    ReadOnlyStoreError
        The store can't be written to.
    """
    bounds = {part: runs_of(np.asarray(rows, np.int64)) for part, rows in parts.items()}
    new = Partition(name=name, source_key=source_key, samples=samples, parts=bounds)
    path = _path(source_key, name)
    if not storage.put_if_absent(path, new.to_bytes()) and _read(storage, source_key, name) != new:
        raise ConflictError(
            f"{storage.url} has another partition {name!r} of this source, and none is ever changed: take another name",
            path=path,
        )
    return new


def load_partition(storage: Storage, source_key: str, name: str) -> Partition:
    """Return a partition of a source.

    Raises
    ------
    UnknownNameError
        The source has none of this name; the message lists those it has.
    DamagedError
        What is stored is none, or that of another source or name.
    """
    try:
        if NAME.match(name):
            return _read(storage, source_key, name)
    except MissingObjectError:
        pass
    known = ", ".join(partition_names(storage, source_key)) or "none"
    raise UnknownNameError(
        f"there is no partition {name!r} of this source in {storage.url}; it has {known}", name=name
    )


def partition_names(storage: Storage, source_key: str) -> list[str]:
    """Return the names of a source's partitions, sorted."""
    folder = f"partitions/{source_key}"
    names = (one.path.removeprefix(f"{folder}/").removesuffix(".json") for one in storage.list(folder))
    return [name for name in names if NAME.match(name)]


def _path(source_key: str, name: str) -> str:
    return f"partitions/{source_key}/{name}.json"


def _read(storage: Storage, source_key: str, name: str) -> Partition:
    path = _path(source_key, name)
    found = Partition.from_bytes(storage.get(path), path=path)
    if (found.source_key, found.name) != (source_key, name):
        message = f"{path} is damaged: it is {found.name!r} of the source {found.source_key[:12]}"
        raise DamagedError(message, path=path, objects=(path,))
    return found
