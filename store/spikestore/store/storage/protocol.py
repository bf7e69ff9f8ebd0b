"""What a store needs of its storage: the verbs that modules may use, and no others."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from spikestore.store_schemas.errors import StoreError

if TYPE_CHECKING:
    from zarr.storage import StorePath

PIECE = 2**18
"""Bytes that come at once, at least: they are hashed and written while they are in the processor's cache."""


def path_parts(path: str) -> list[str]:
    """Return the parts of a path below a store's root.

    Raises
    ------
    StoreError
        The path could leave the root, or means different things to different storages.
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} or "\\" in part or not part.isprintable() for part in parts):
        raise StoreError(f"{path!r} is no path inside a store", path=path)
    return parts


class StoredObject(NamedTuple):
    """An object as a listing shows it."""

    path: str
    """Path below the storage's root, with ``/``."""
    size: int
    """Bytes."""
    modified: datetime
    """When it was written, UTC."""


@runtime_checkable
class Storage(Protocol):
    """Objects under a root: written once, whole or not at all, never changed.

    Paths are relative, with ``/``. Every method raises subclasses of `StoreError`: `ReadOnlyStoreError`,
    `StorageFullError`, `MissingObjectError`, or `StoreError` itself for what else can go wrong.
    ``tests/store/storage/test_storage.py`` is the contract, run against every adaptor.
    """

    url: str
    """Where the root is, without credentials."""

    def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Return an object's bytes; `MissingObjectError` if there is none.

        `DamagedError` if it has more than `limit` bytes (by default, what its kind can have at most): then none of
        them was read; in a folder also if it is no plain file, or a link that leads out of the store.
        """

    def buffer(self, path: str, *, limit: int | None = None) -> memoryview:
        """Return an object's bytes where they are, as `get` does, and not copied once more: shards are large."""

    def pieces(self, path: str, *, limit: int | None = None) -> Iterator[memoryview]:
        """Yield an object's bytes as they come, so that few of them are in memory at once; errors as `get`."""

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` (exclusive) of an object, fewer where it ends; `MissingObjectError`."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object, atomically and durably, unless there is one; tell whether it was written."""

    def replace(self, path: str, data: bytes) -> None:
        """Write an object, atomically and durably, over a damaged one: for repair alone, all else is immutable."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below the folder `prefix` (no trailing ``/``), at any depth, sorted by path."""

    def folders(self, prefix: str) -> builtins.list[str]:  # `list` is a verb here
        """Return the names of the folders directly below the folder `prefix`, sorted."""

    def delete(self, path: str) -> None:
        """Remove an object; nothing happens if there is none."""

    def zarr_store(self, prefix: str) -> StorePath:
        """Return `prefix` as a place in a read-only Zarr store."""

    def free_bytes(self) -> int | None:
        """Return the free space in bytes, or None where that has no meaning."""
