"""A storage that somebody else may have written: what is read from it is bounded, and lies inside it.

A folder can hold links to anything its reader may read, and a pipe or a device that never ends; a bucket can hold an
object of any size. So the size is looked at before the bytes are, and a link that leads out of the folder is refused.
"""

from __future__ import annotations

import builtins
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spikestore.store.storage.bounds import bound_of, refuse_larger
from spikestore.store.storage.folder import FolderStorage
from spikestore.store.storage.protocol import Storage, StoredObject
from spikestore.store_schemas.errors import ReadOnlyStoreError, StoreError

if TYPE_CHECKING:
    from zarr.storage import StorePath

PIECE = 2**18
"""Bytes that come at once, at least: they are hashed and written while they are in the processor's cache."""


class UntrustedStorage:
    """A read-only view of a storage, with bounds.

    Parameters
    ----------
    inner : Storage
        Where to read.
    follow_links : bool
        Read through links that lead out of a folder: for one's own store, parts of which may lie on another disk.
    """

    def __init__(self, inner: Storage, *, follow_links: bool = False) -> None:
        self._inner = inner
        self._follow_links = follow_links
        self.url = inner.url

    def get(self, path: str) -> bytes:
        """Return an object's bytes; `DamagedError` if it is larger than any of its kind can be."""
        return self.get_at_most(path, bound_of(path))

    def get_at_most(self, path: str, limit: int) -> bytes:
        """Return an object's bytes.

        Raises
        ------
        DamagedError, StoreError
            As `buffer_at_most`.
        """
        return bytes(self.buffer_at_most(path, limit))

    def buffer_at_most(self, path: str, limit: int) -> memoryview:
        """Return an object's bytes where they are, not copied once more: shards are large.

        Raises
        ------
        DamagedError
            It has more than `limit` bytes; then none of them was read.
        StoreError
            It is no plain file, or a link that leads out of the folder.
        """
        if isinstance(self._inner, FolderStorage):
            return memoryview(self._from_folder(self._inner, path, limit))
        from spikestore.store.storage.objects import ObjectStorage

        if isinstance(self._inner, ObjectStorage):
            with self._inner._clear_errors(path, "read"):
                answer = self._inner._store.get(path)
            refuse_larger(self.url, path, answer.meta["size"], limit)
            with self._inner._clear_errors(path, "read"):
                return memoryview(answer.bytes())
        data = self._inner.get(path)
        refuse_larger(self.url, path, len(data), limit)
        return memoryview(data)

    def pieces_at_most(self, path: str, limit: int) -> Iterator[memoryview]:
        """Yield an object's bytes as they come, so that few of them are in memory at once.

        Raises
        ------
        DamagedError, StoreError
            As `buffer_at_most`, at the first piece.
        """
        from spikestore.store.storage.objects import ObjectStorage

        if not isinstance(self._inner, ObjectStorage):
            whole = self.buffer_at_most(path, limit)
            yield from (whole[at : at + PIECE] for at in range(0, len(whole), PIECE))
            return
        with self._inner._clear_errors(path, "read"):
            answer = self._inner._store.get(path)
        refuse_larger(self.url, path, answer.meta["size"], limit)
        with self._inner._clear_errors(path, "read"):
            for piece in answer.stream(min_chunk_size=PIECE):
                yield memoryview(piece)

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of an object's bytes: never more than were asked for. Links are looked at as with `get`."""
        if isinstance(self._inner, FolderStorage) and not self._follow_links:
            with self._inner._clear_errors(path, "read"):
                real = self._inner._place(path).resolve()
                if not real.is_relative_to(self._inner.root.resolve()):
                    raise StoreError(f"{path} in {self.url} is a link that leads out of the store", path=path)
        return self._inner.get_range(path, start, stop)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below a folder, sorted by path."""
        return self._inner.list(prefix)

    def folders(self, prefix: str) -> builtins.list[str]:  # `list` is a verb here
        """Return the names of the folders directly below a folder, sorted."""
        return self._inner.folders(prefix)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Refuse: this view only reads."""
        raise ReadOnlyStoreError(f"{self.url} is only read here, {path} is not written", path=path)

    def replace(self, path: str, data: bytes) -> None:
        """Refuse: this view only reads."""
        raise ReadOnlyStoreError(f"{self.url} is only read here, {path} is not replaced", path=path)

    def delete(self, path: str) -> None:
        """Refuse: this view only reads."""
        raise ReadOnlyStoreError(f"{self.url} is only read here, {path} is not deleted", path=path)

    def zarr_store(self, prefix: str) -> StorePath:
        """Return a prefix as a place in a read-only Zarr store, without bounds."""
        return self._inner.zarr_store(prefix)

    def free_bytes(self) -> int | None:
        """Return the free space."""
        return self._inner.free_bytes()

    def is_absent(self) -> bool:
        """Tell whether this is a folder that does not exist; a bucket is asked nothing."""
        return isinstance(self._inner, FolderStorage) and not self._inner.root.exists()

    def _from_folder(self, folder: FolderStorage, path: str, limit: int) -> bytes:
        with folder._clear_errors(path, "read"):
            place = folder._place(path)
            real, root = place.resolve(), folder.root.resolve()
            if not self._follow_links and not real.is_relative_to(root):
                raise StoreError(f"{path} in {self.url} is a link that leads out of the store", path=path)
            status = real.stat()
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                raise StoreError(f"{path} in {self.url} is no plain file", path=path)
            refuse_larger(self.url, path, status.st_size, limit)
            with real.open("rb") as file:
                data = file.read(min(limit, status.st_size) + 1)
        refuse_larger(self.url, path, len(data), limit)  # it may have grown
        return data
