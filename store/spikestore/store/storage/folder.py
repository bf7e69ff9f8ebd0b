"""Storage in a local or shared folder.

An object is written to a temporary file in ``.tmp`` and fsynced. Then the file gets the object's name, in one step that fails
if the name is taken. Then the folder that contains the name is fsynced (`durable_files`). This module uses ``os`` instead of obstore,
whose local store does not fsync. Without obstore, a process that only reads a folder runs no Rust threads, and may fork.

Links that lead out of the folder are not followed, because a malicious user may have written the store.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikestore.store.machine import absolute_path
from spikestore.store.storage.bounds import bound_of, refuse_larger
from spikestore.store.storage.durable_files import (
    name_if_free,
    sync_folder,
)
from spikestore.store.storage.folder_errors import clear_errors, out_of_place
from spikestore.store.storage.folder_walk import kind_of, kind_of_mode, walk
from spikestore.store.storage.links import Links
from spikestore.store.storage.protocol import PIECE, StoredObject, path_parts
from spikestore.store.storage.publishing import Publisher, rename
from spikestore.store.storage.system_calls import open_to_read, path_of_open_file, read_at
from spikestore.store_schemas.errors import StoreError

if TYPE_CHECKING:
    from zarr.storage import StorePath


class FolderStorage:
    """Storage in a folder.

    A root with the setgid bit and group write permission (``spikestore init --shared group``) is shared: the group can
    read new files and write to new folders, whatever the umask of the writer.

    Parameters
    ----------
    root : Path or str
        The store's root; created at the first write. ``~`` is the user's home folder.
    follow_links : bool
        Follow links that lead out of the root. Set this for your own store, if parts of it are on another disk. A store of
        other users may contain links to any file that you may read.
    """

    def __init__(self, root: Path | str, *, follow_links: bool = False) -> None:
        self.root = absolute_path(root)
        self.follow_links = follow_links
        self.url = str(self.root)
        self._begin()

    def _begin(self) -> None:
        self._links = Links(self.root, follow=self.follow_links)
        self.publisher = Publisher.of(self.root)

    def __getstate__(self) -> dict[str, Any]:
        # Numbers of devices differ between machines.
        return {"root": self.root, "url": self.url, "follow_links": self.follow_links}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Return an object's bytes."""
        limit = bound_of(path) if limit is None else limit
        with clear_errors(self.url, path, "read"):
            handle = self._open(path)
            try:
                status = os.fstat(handle)
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
        """Return bytes `start` to `stop` (exclusive) of an object; fewer bytes if the object ends before `stop`."""
        with clear_errors(self.url, path, "read"):
            handle = self._open(path)
            try:
                parts, at = [], start
                while at < stop and (part := read_at(handle, stop - at, at)):
                    parts.append(part)
                    at += len(part)
                return parts[0] if len(parts) == 1 else b"".join(parts)
            finally:
                os.close(handle)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object durably unless it exists; return whether it was written."""
        with clear_errors(self.url, path, "write"):
            target = self.place(path)
            if os.path.lexists(target):
                # If the folder is missing, another process deleted the object meanwhile, and it is written again.
                with contextlib.suppress(FileNotFoundError):
                    sync_folder(target.parent)  # the process that wrote the object may not have synced it
                    return False
            return self.publisher.publish(target, data, name_if_free)

    def replace(self, path: str, data: bytes) -> None:
        """Overwrite a damaged object durably and in one step."""
        with clear_errors(self.url, path, "write"):
            self.publisher.publish(self.place(path, follow=False), data, rename)  # a link itself is replaced

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below a folder, sorted by path."""
        with clear_errors(self.url, prefix, "list"):
            folder = self.place(prefix)
            if _is_folder(folder, self.url, prefix):
                yield from walk(folder, prefix)

    def folders(self, prefix: str) -> builtins.list[str]:  # the method `list` hides the type
        """Return the names of the folders directly below a folder, sorted."""
        with clear_errors(self.url, prefix, "list"):
            folder = self.place(prefix)
            if not _is_folder(folder, self.url, prefix):
                return []
            with os.scandir(folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def delete(self, path: str) -> None:
        """Remove an object if it exists, and the folders that become empty."""
        with clear_errors(self.url, path, "delete"):
            place = self.place(path, follow=False)
            if not os.path.lexists(place):
                return
            if place.is_dir() and not place.is_symlink():
                place.rmdir()  # a folder in the place of an object; it stays if it is not empty
            else:
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
                self.publisher.forget(folder)

    def zarr_store(self, prefix: str) -> StorePath:
        """Return the folder `prefix` as a read-only path for Zarr."""
        from zarr.storage import StorePath

        from spikestore.store.storage.zarr_folder import LocalStore

        return StorePath(LocalStore(self.place(prefix), self._guard))

    def free_bytes(self) -> int | None:
        """Return the free space of the root's file system in bytes, also before the root exists."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        return shutil.disk_usage(place).free

    def place(self, path: str, *, follow: bool = True) -> Path:
        """Return the path of an object in the file system, after checks of the root and of links.

        Parameters
        ----------
        path : str
            Path of the object in the store.
        follow : bool
            If False, the object itself may be a link to any place: only the folders in its path are checked.

        Raises
        ------
        DamagedError
            A link leads out of the root, and `follow_links` is not set.
        StoreError
            The path is not valid, or the root is a file.
        OSError
            The root is on another file system than when this `FolderStorage` first used it.
        """
        place = self.root.joinpath(*path_parts(path))
        if self._links.root() is not None:
            self._links.refuse_outside(place if follow else place.parent, path)
        return place

    def _guard(self, place: Path) -> None:
        """Raise `DamagedError` for a path that Zarr must not read: it leads out of the store, or to a pipe, a device or the like."""
        path = place.relative_to(self.root).as_posix()
        self._links.refuse_outside(place, path)
        kind = kind_of(place)
        if kind and not place.is_dir():
            raise out_of_place(self.url, path, kind)

    def _open(self, path: str) -> int:
        """Return a handle to an object. What is not a regular file is refused before opening, because opening a device may have side effects.

        No link may lead out of the store, unless `follow_links` is set. This is checked after opening, because one system call
        then returns the file's path with all links resolved. Resolving links before opening would take one system call for each
        folder, and a training run opens many objects.
        """
        # Text, because paths of pathlib take longer than these calls.
        place = os.path.join(self.url, *path_parts(path))  # noqa: PTH118
        try:
            kind = kind_of_mode(os.stat(place).st_mode)  # noqa: PTH116
            handle = None if kind else open_to_read(place)
        except OSError:
            self._links.root()  # first: if the disk was unmounted, nothing is missing
            self._links.refuse_outside(place, path)
            raise
        if handle is None:
            self._links.root()
            self._links.refuse_outside(place, path)
            raise out_of_place(self.url, path, kind)
        try:
            status = os.fstat(handle)
            if kind := kind_of_mode(status.st_mode):  # something else has replaced the file since
                raise out_of_place(self.url, path, kind)
            if not self._links.contains(path_of_open_file(handle), status.st_dev):
                self._links.refuse_outside(place, path)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def make(self) -> None:
        """Create the root if it does not exist; raise `StoreError` if it is a file."""
        with clear_errors(self.url, "the store itself", "write"):
            if self.root.exists() and not self.root.is_dir():
                raise StoreError(f"{self.url} is a file, but a store must be a folder", path=self.url)
            self.publisher.make_root()


def _is_folder(folder: Path, url: str, path: str) -> bool:
    """Return whether a folder exists; raise the error of `out_of_place` if its path is something else, such as a file."""
    if folder.is_dir():
        return True
    if os.path.lexists(folder):
        if folder.is_dir():  # another process has made it since
            return True
        raise out_of_place(url, path, kind_of(folder) or "a file", wanted="folder")
    return False
