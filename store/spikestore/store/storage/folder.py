"""Storage in a local or shared folder.

An object is written under a temporary name outside the tree, fsynced, given its name in one step that fails if the name
is taken, and its folder is fsynced (`durable_files`). obstore's local store does the same without any fsync, hence
``os`` here; and nothing of Rust is alive in a process that only reads a folder, so that it may fork.

Nothing is read or written through a link that leads out of the folder: a store may have been unpacked from anywhere.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spikestore.store.machine import absolute_path
from spikestore.store.storage.bounds import bound_of, refuse_larger
from spikestore.store.storage.durable_files import (
    make_folder,
    name_if_free,
    open_new,
    sync_folder,
    write_synced,
)
from spikestore.store.storage.protocol import PIECE, StoredObject, path_parts
from spikestore.store.storage.system_calls import error_numbers, open_to_read, read_at
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    ReadOnlyStoreError,
    StorageFullError,
    StoreError,
)

if TYPE_CHECKING:
    from zarr.storage import StorePath

TEMPORARY = ".tmp"
"""Folder for half-written objects, beside ``features`` and ``refs``."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_LOST = error_numbers(
    "ESTALE", "ENOTCONN", "EIO", "ENODEV", "ENXIO", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO"
)  # fmt: skip
_NO_LINKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}
_ATTEMPTS = 20

Result = TypeVar("Result")


class FolderStorage:
    """A folder as storage.

    A root with the setgid bit and the right to write for its group (``spikestore init --shared group``) is shared: what
    is written into it can be read, and its folders written to, by the group, whatever the umask of who writes.

    Parameters
    ----------
    root : Path
        The store's root; made at the first write.
    follow_links : bool
        Read and write through links that lead out of the root: for one's own store, parts of which lie on another
        disk. Anybody else's may hold links to whatever its reader may read.
    """

    def __init__(self, root: Path | str, *, follow_links: bool = False) -> None:
        self.root = absolute_path(root)
        self.follow_links = follow_links
        self.url = str(self.root)
        self._begin()

    def _begin(self) -> None:
        self._device: int | None = None  # of the file system that the root was first seen on
        self._synced: set[Path] = set()  # folders whose names this process knows to be on the disk

    def __getstate__(self) -> dict[str, Any]:
        # Another machine's numbers for devices are others.
        return {"root": self.root, "url": self.url, "follow_links": self.follow_links}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Return an object's bytes."""
        limit = bound_of(path) if limit is None else limit
        with self._clear_errors(path, "read"):
            handle = open_to_read(self._place(path))
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise DamagedError(f"{path} in {self.url} is no plain file", path=path, objects=(path,))
                refuse_larger(self.url, path, status.st_size, limit)
                with os.fdopen(handle, "rb", closefd=False) as file:
                    data = file.read(status.st_size + 1)
            finally:
                os.close(handle)
        refuse_larger(self.url, path, len(data), limit)  # it may have grown
        return data

    def buffer(self, path: str, *, limit: int | None = None) -> memoryview:
        """Return an object's bytes, as `get` does."""
        return memoryview(self.get(path, limit=limit))

    def pieces(self, path: str, *, limit: int | None = None) -> Iterator[memoryview]:
        """Yield an object's bytes, piece by piece."""
        whole = self.buffer(path, limit=limit)
        yield from (whole[at : at + PIECE] for at in range(0, len(whole), PIECE))

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of an object's bytes."""
        with self._clear_errors(path, "read"):
            handle = open_to_read(self._place(path))
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise DamagedError(f"{path} in {self.url} is no plain file", path=path, objects=(path,))
                parts, at = [], start
                while at < stop and (part := read_at(handle, stop - at, at)):
                    parts.append(part)
                    at += len(part)
                return parts[0] if len(parts) == 1 else b"".join(parts)
            finally:
                os.close(handle)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object durably unless there is one; tell whether it was written."""
        with self._clear_errors(path, "write"):
            target = self._place(path)
            if os.path.lexists(target):
                sync_folder(target.parent)  # whoever relies on it must not outlive it
                return False
            return self._publish(target, data, name_if_free)

    def replace(self, path: str, data: bytes) -> None:
        """Write an object durably, in one step, in the place of a damaged one."""
        with self._clear_errors(path, "write"):
            self._publish(self._place(path), data, _rename)

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
        """Remove an object if it is there, and the folders that are empty without it."""
        with self._clear_errors(path, "delete"):
            place = self._place(path, follow=False)
            if not os.path.lexists(place):
                return
            place.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                sync_folder(place.parent)
            for folder in place.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError:  # not empty
                    break
                self._synced.discard(folder)

    def zarr_store(self, prefix: str) -> StorePath:
        """Return a folder as a place in a read-only Zarr store."""
        from zarr.storage import StorePath

        from spikestore.store.storage.zarr_folder import LocalStore

        return StorePath(LocalStore(self._place(prefix), self._guard))

    def free_bytes(self) -> int | None:
        """Return the free space of the file system that the root is on, or will be on."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    def _place(self, path: str, *, follow: bool = True) -> Path:
        """Return where an object lies, once that is known to be inside the root, on the disk it was on."""
        parts = path_parts(path)
        try:
            status = self.root.stat()
        except FileNotFoundError:
            return self.root.joinpath(*parts)
        if not stat.S_ISDIR(status.st_mode):
            raise StoreError(f"{self.url} is a file: a store is a folder", path=self.url)
        if self._device is None:
            self._device = status.st_dev
        elif self._device != status.st_dev:
            # An unmounted disk leaves an empty folder: nothing is missing from it, and nothing belongs there.
            raise OSError(errno.ESTALE, "another file system is in its place")
        place = self.root.joinpath(*parts)
        self._refuse_outside(place if follow else place.parent, path)
        return place

    def _refuse_outside(self, place: Path, path: str) -> None:
        if self.follow_links:
            return
        # os.path and not Path.resolve, which costs ten times as much.
        root = os.path.realpath(self.root)
        if os.path.commonpath([root, os.path.realpath(place)]) != root:
            raise DamagedError(
                f"{path} in {self.url} is a link that leads out of the store", path=path, objects=(path,)
            )

    def _guard(self, place: Path) -> None:
        """Refuse a file that Zarr is about to read: one outside the store, or a pipe, which never ends."""
        path = place.relative_to(self.root).as_posix()
        self._refuse_outside(place, path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG(place.stat().st_mode) and not place.is_dir():
                raise DamagedError(f"{path} in {self.url} is no plain file", path=path, objects=(path,))

    def _publish(self, target: Path, data: bytes, name: Callable[[Path, Path], bool]) -> bool:
        """Write data under a temporary name, then `name` it; return what that returns."""
        temporary, handle = self._temporary()
        try:
            write_synced(handle, data)
            return self._give_name(temporary, target, name)
        finally:
            with contextlib.suppress(OSError):  # what went wrong before is what matters
                temporary.unlink(missing_ok=True)

    def _temporary(self) -> tuple[Path, int]:
        """Return a new file without a name that counts, and a handle to it."""
        place = self.root / TEMPORARY / secrets.token_hex(16)

        def begin() -> int:
            mode = self._make_folder(place.parent)
            return open_new(place, None if mode is None else mode & 0o644 | 0o600)

        return place, self._again(begin)

    def _give_name(
        self, temporary: Path, target: Path, name: Callable[[Path, Path], bool], *, sync: bool = True
    ) -> bool:
        def give() -> bool:
            self._make_folder(target.parent)
            named = name(temporary, target)
            if sync:
                sync_folder(target.parent)
            return named

        return self._again(give)

    def _again(self, step: Callable[[], Result]) -> Result:
        """Do a step, again if somebody removed a folder that had become empty, between our making and our using it."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):
                return step()
            self._synced.clear()
        return step()

    def _make_folder(self, folder: Path) -> int | None:
        """Make a folder and those above it; return the permissions that folders of this store have, if it is shared."""
        if not self.root.is_dir():
            self._make_root()
        mode = stat.S_IMODE(self.root.stat().st_mode)
        shared = mode if mode & stat.S_ISGID and mode & stat.S_IWGRP else None
        if folder in self._synced and folder.is_dir():  # and so were those above it, before it
            return shared
        missing = [
            one for one in (folder, *folder.parents) if one.is_relative_to(self.root) and one != self.root
        ]
        for one in reversed(missing):
            if one in self._synced and one.is_dir():
                continue
            if not one.is_dir():
                workshop = self.root if one.name == TEMPORARY else self.root / TEMPORARY
                make_folder(one, mode=shared, workshop=workshop)
            sync_folder(one.parent)  # also where somebody else made it, and may have crashed before this
            self._synced.add(one)
        return shared

    def make(self) -> None:
        """Make the root, if it is not there."""
        with self._clear_errors("the store itself", "write"):
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"{self.url} is a file: a store is a folder", path=self.url)
            self._make_root()

    def _make_root(self) -> None:
        missing = [one for one in (self.root, *self.root.parents) if not one.is_dir()]
        for one in reversed(missing):
            with contextlib.suppress(FileExistsError):
                one.mkdir()
            sync_folder(one.parent)

    def _walk(self, folder: Path, prefix: str) -> Iterator[StoredObject]:
        if not folder.is_dir():
            return
        try:
            with os.scandir(folder) as entries:
                # As a bucket sorts whole keys: "a/b" comes after "a.json", so folders sort with their slash.
                found = sorted(entries, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False))
        except FileNotFoundError:  # it was removed since
            return
        for entry in found:
            path = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), path)
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)  # of a link itself, which may lead anywhere
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
            what = "quota used up" if error.errno == errno.EDQUOT else "no space left"
            return StorageFullError(
                f"{what} for {path} in {self.url} ({error.strerror}): make room and run again, "
                "finished fragments are kept",
                path=path,
            )
        if error.errno in _LOST:
            return StoreError(
                f"the file system of {self.url} has gone ({error.strerror}), at {path}: mount it again and run the same "
                "command, finished fragments are kept",
                path=path,
            )
        if error.errno in _NO_LINKS and verb == "write":
            return StoreError(
                f"the file system of {self.url} can't put an object in place in one step ({error.strerror}), "
                "which a store needs to be written safely: use another one, or a bucket",
                path=path,
            )
        if error.errno in _READ_ONLY and verb in {"write", "delete"}:
            return ReadOnlyStoreError(
                f"the store {self.url} can't be written to ({error.strerror})", path=path
            )
        return StoreError(f"can't {verb} {path} in {self.url}: {error.strerror or error}", path=path)


def _rename(temporary: Path, target: Path) -> bool:
    temporary.replace(target)
    return True
