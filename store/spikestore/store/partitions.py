"""Functions that store, read and list the partitions of a store."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping

import numpy as np

from spikestore.store.storage import Storage
from spikestore.store.trust.documents import partition_of, partition_path
from spikestore.store_schemas.documents.partition import Partition, Rows, runs_of
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    MissingObjectError,
    StoreError,
    UnknownNameError,
)
from spikestore.store_schemas.specs.model import NAME

logger = logging.getLogger(__name__)

_PATH = re.compile(r"^partitions/([0-9a-f]{64})/([^/]+)\.json$")


def store_partition(
    storage: Storage, source_key: str, name: str, samples: int, parts: Mapping[str, Rows]
) -> Partition:
    """Store a partition and return it; if an equal partition exists, return the existing partition.

    Raises
    ------
    SpecError
        The name of the partition or of a part is invalid; `parts` is empty; the rows of a part do not ascend, or are not from 0 to `samples` - 1; or a row is in two parts.
    ConflictError, DamagedError, NewerFormatError, ReadOnlyStoreError
        The errors of `put_partition`.
    """
    bounds = {part: runs_of(np.asarray(rows, np.int64)) for part, rows in parts.items()}
    new = Partition(name=name, source_key=source_key, samples=samples, parts=bounds)
    put_partition(storage, new)
    return new


def put_partition(storage: Storage, new: Partition) -> None:
    """Store a partition; do nothing if an equal partition exists already.

    Raises
    ------
    ConflictError
        Another partition of the source has this name.
    DamagedError, NewerFormatError
        The stored partition of this name is damaged, or has a newer format.
    ReadOnlyStoreError
        The store is not writable.
    """
    path = partition_path(new.source_key, new.name)
    if not storage.put_if_absent(path, new.to_bytes()) and _read(storage, new.source_key, new.name) != new:
        raise ConflictError(
            f"{storage.url} has another partition {new.name!r} of this source; partitions never change: use another name",
            path=path,
        )


def load_partition(storage: Storage, source_key: str, name: str) -> Partition:
    """Return a partition of a source.

    Raises
    ------
    UnknownNameError
        The source has no partition of this name; the message lists the existing partitions.
    DamagedError
        The document is damaged, or belongs to another source or name.
    NewerFormatError
        The document has a newer format.
    """
    try:
        if NAME.match(name):
            return _read(storage, source_key, name)
    except MissingObjectError:
        pass
    known = ", ".join(partition_names(storage, source_key)) or "none"
    raise UnknownNameError(
        f"no partition {name!r} of this source in {storage.url}; partitions of this source: {known}",
        name=name,
    )


def partition_names(storage: Storage, source_key: str) -> list[str]:
    """Return the names of a source's partitions, sorted, including damaged partitions."""
    return [name for _, name in _listed(storage, f"partitions/{source_key}")]


def all_partitions(
    storage: Storage, source_key: str | None = None
) -> Iterator[tuple[str, str, Partition | StoreError]]:
    """Yield the source key, the name and the document of each partition of one source, or of all sources.

    If a document cannot be read, the error takes its place.
    """
    for key, name in _listed(storage, "partitions" if source_key is None else f"partitions/{source_key}"):
        try:
            yield key, name, _read(storage, key, name)
        except StoreError as error:
            yield key, name, error


def _listed(storage: Storage, folder: str) -> list[tuple[str, str]]:
    try:
        paths = [entry.path for entry in storage.list(folder)]
    except DamagedError as error:  # something else is in the place of their folder
        logger.warning("the partitions cannot be listed, so none are shown: %s", error)
        return []
    matches = map(_PATH.match, paths)
    return sorted((match[1], match[2]) for match in matches if match and NAME.match(match[2]))


def _read(storage: Storage, source_key: str, name: str) -> Partition:
    return partition_of(source_key, name, storage.get(partition_path(source_key, name)))
