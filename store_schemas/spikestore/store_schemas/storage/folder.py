"""Storage in a local or shared folder.

An object is written under a temporary name outside the tree, fsynced, hard-linked to its name (which fails if the
name exists: put-if-absent), and its folder is fsynced. obstore's local store does the same without any fsync,
hence ``os`` here; and nothing of Rust is alive in a process that only reads a folder, so that it may fork.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spikestore.store_schemas.errors import (
    MissingObjectError,
    ReadOnlyStoreError,
    StorageFullError,
    StoreError,
)
from spikestore.store_schemas.storage.storage import StoredObject, path_parts

if TYPE_CHECKING:
    from zarr.storage import StorePath

TEMPORARY = ".tmp"
"""Folder for half-written objects, beside ``features`` and ``refs``."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LINKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


class FolderStorage:
    """A folder as storage.

    Parameters
    ----------
    root : Path
        The store's root; made at the first write.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        with self._clear_errors(path, "read"):
            return self._place(path).read_bytes()

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of an object's bytes."""
        with self._clear_errors(path, "read"):
            handle = os.open(self._place(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                parts, at = [], start
                while at < stop and (part := os.pread(handle, stop - at, at)):
                    parts.append(part)
                    at += len(part)
                return parts[0] if len(parts) == 1 else b"".join(parts)
            finally:
                os.close(handle)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object durably unless there is one; tell whether it was written."""
        with self._clear_errors(path, "write"):
            target = self._place(path)
            if target.exists():
                _sync_folder(target.parent)  # whoever relies on it must not outlive it
                return False
            self._make_folder(target.parent)
            self._make_folder(self.root / TEMPORARY)
            temporary = self.root / TEMPORARY / secrets.token_hex(16)
            try:
                _write_durably(temporary, data)
                os.link(temporary, target)
            except FileExistsError:
                return False
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(target.parent)
        return True

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below a folder, sorted by path."""
        with self._clear_errors(prefix, "list"):
            yield from self._walk(self._place(prefix), prefix)

    def folders(self, prefix: str) -> builtins.list[str]:  # `list` is a verb here
        """Return the names of the folders directly below a folder, sorted."""
        with self._clear_errors(prefix, "list"):
            if not self._place(prefix).is_dir():
                return []
            with os.scandir(self._place(prefix)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def delete(self, path: str) -> None:
        """Remove an object if it is there."""
        with self._clear_errors(path, "delete"):
            place = self._place(path)
            if place.exists():
                place.unlink(missing_ok=True)
                _sync_folder(place.parent)

    def zarr_store(self, prefix: str) -> StorePath:
        """Return a folder as a place in a read-only Zarr store."""
        from zarr.storage import LocalStore, StorePath

        return StorePath(LocalStore(self._place(prefix), read_only=True))

    def free_bytes(self) -> int | None:
        """Return the free space of the file system that the root is on, or will be on."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    def _place(self, path: str) -> Path:
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.url} is a file: a store is a folder", path=self.url)
        return self.root.joinpath(*path_parts(path))

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != folder.parent:
            self._make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        _sync_folder(folder.parent)

    def _walk(self, folder: Path, prefix: str) -> Iterator[StoredObject]:
        if not folder.is_dir():
            return
        with os.scandir(folder) as entries:
            # As a bucket sorts whole keys: "a/b" comes after "a.json", so folders sort with their slash.
            found = sorted(entries, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False))
        for entry in found:
            path = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), path)
            else:
                status = entry.stat()
                yield StoredObject(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    @contextlib.contextmanager
    def _clear_errors(self, path: str, verb: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (FileNotFoundError, NotADirectoryError) as error:
            if verb == "write":
                raise StoreError(f"can't write {path} in {self.url}: {error.strerror}", path=path) from error
            raise MissingObjectError(f"{path} is not in the store {self.url}", path=path) from error
        except OSError as error:
            raise self._named(error, path, verb) from error

    def _named(self, error: OSError, path: str, verb: str) -> StoreError:
        if error.errno in _FULL:
            return StorageFullError(
                f"no space left for {path} in {self.url} ({error.strerror}): make room and run again, "
                "finished fragments are kept",
                path=path,
            )
        if error.errno in _NO_LINKS and verb == "write":
            return StoreError(
                f"the file system of {self.url} has no hard links ({error.strerror}), "
                "which a store needs to write safely: use another one, or a bucket",
                path=path,
            )
        if error.errno in _READ_ONLY and verb in {"write", "delete"}:
            return ReadOnlyStoreError(
                f"the store {self.url} can't be written to ({error.strerror})", path=path
            )
        return StoreError(f"can't {verb} {path} in {self.url}: {error.strerror or error}", path=path)


def _write_durably(place: Path, data: bytes) -> None:
    with place.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
