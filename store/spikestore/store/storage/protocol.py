"""The storage protocol: the only operations that other modules may use."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from spikestore.store_schemas.errors import StoreError

if TYPE_CHECKING:
    from zarr.storage import StorePath

PIECE = 2**18
"""Size of a piece in a folder, and minimum size in a bucket, in bytes; the last piece may be smaller. Small enough to be hashed and written from the processor's cache."""


def path_parts(path: str) -> list[str]:
    """Return the parts of a path below a store's root.

    Raises
    ------
    StoreError
        The path could lead out of the root, or does not have the same meaning in all storages.
    """
    if not is_object_path(path):
        raise StoreError(f"{path!r} is not a valid path in a store", path=path)
    return path.split("/")


def is_object_path(path: str) -> bool:
    """Return whether an object can have this path; a folder may also contain files of other programs."""
    return not any(
        part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in path.split("/")
    )


class StoredObject(NamedTuple):
    """Path, size and time of an object in a listing."""

    path: str
    """Path below the storage's root, with ``/``."""
    size: int
    """Bytes."""
    modified: datetime
    """Time of the last write, UTC."""


@runtime_checkable
class Storage(Protocol):
    """Objects below a root, each written once and atomically; only a damaged object is ever replaced.

    Paths are relative, with ``/``. Methods raise `ReadOnlyStoreError`, `StorageFullError`, `MissingObjectError`, `DamagedError`,
    or `StoreError` for other failures. ``tests/store/storage/test_storage.py`` tests every implementation against
    this contract.
    """

    url: str
    """Location of the root, without credentials."""

    def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Return an object's bytes; raise `MissingObjectError` if it does not exist.

        If the object has more than `limit` bytes (by default, the limit of its kind), raise `DamagedError` without reading
        it. In a folder, also raise `DamagedError` if the path is not a regular file, or is a link that leads out of the store.
        """

    def buffer(self, path: str, *, limit: int | None = None) -> memoryview:
        """Return an object's bytes as `get` does, but without copying them: a copy of a large shard costs time and memory."""

    def pieces(self, path: str, *, limit: int | None = None) -> Iterator[memoryview]:
        """Yield an object's bytes piece by piece; from a bucket, it is never in memory as a whole. Raises the errors of `get`."""

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` (exclusive) of an object; fewer bytes if the object ends before `stop`. May raise `MissingObjectError`."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object atomically and durably unless it exists; return whether it was written."""

    def replace(self, path: str, data: bytes) -> None:
        """Overwrite an object atomically and durably. Call this only for a damaged object: other objects never change."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below the folder `prefix` (no trailing ``/``), at any depth, sorted by path."""

    def folders(self, prefix: str) -> builtins.list[str]:  # the method `list` hides the type
        """Return the names of the folders directly below the folder `prefix`, sorted."""

    def delete(self, path: str) -> None:
        """Remove an object if it exists."""

    def zarr_store(self, prefix: str) -> StorePath:
        """Return a `StorePath` with which Zarr can read, but not write, the folder `prefix`."""

    def free_bytes(self) -> int | None:
        """Return the free space in bytes, or None for a storage without a limit."""
