"""Partitions in a store: stored once, read by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.partition import Partition, Rows, runs_of
from spikestore.store_schemas.errors import ConflictError, DamagedError, MissingObjectError, UnknownNameError
from spikestore.store_schemas.specs.model import NAME


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
