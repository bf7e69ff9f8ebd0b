"""Atomic and durable writes of files, in folders with the permissions of the store."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from spikestore.store.storage.durable_files import make_folder, open_new, sync_folder, write_synced

TEMPORARY = ".tmp"
"""Folder of incomplete objects, beside ``features`` and ``refs``."""

_ATTEMPTS = 20

Result = TypeVar("Result")


class Publisher:
    """Writes files below a root and creates their folders; remembers which folders are synced.

    Parameters
    ----------
    root : Path
        The store's root; created at the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._synced: dict[Path, tuple[int, int] | None] = {}  # folders whose names this process has synced

    @classmethod
    @functools.lru_cache(maxsize=64)
    def of(cls, root: Path) -> Publisher:
        """Return the publisher of a root; a process has one publisher per root. The tasks of a build share it, although each task has its own copy of the storage."""
        return cls(root)

    def forget(self, folder: Path) -> None:
        """Call this after a folder was removed: if the folder is created again, it is synced again."""
        self._synced.pop(folder, None)

    def publish(self, target: Path, data: bytes, name: Callable[[Path, Path], bool]) -> bool:
        """Write data to a temporary file, call `name` with this file and `target`, and return the result."""
        temporary, handle = self.temporary()
        try:
            write_synced(handle, data)
            return self.give_name(temporary, target, name)
        finally:
            with contextlib.suppress(OSError):  # an earlier error takes precedence
                temporary.unlink(missing_ok=True)

    def temporary(self) -> tuple[Path, int]:
        """Return a new temporary file and a handle to it."""
        place = self._root / TEMPORARY / secrets.token_hex(16)

        def begin() -> int:
            mode = self._make_folders([place.parent])
            return open_new(place, None if mode is None else mode & 0o644 | 0o600)

        return place, self._again(begin)

    def give_name(
        self, temporary: Path, target: Path, name: Callable[[Path, Path], bool], *, sync: bool = True
    ) -> bool:
        """Create missing folders, then give a temporary file the name `target`: call ``name(temporary, target)`` and return its result."""

        def give() -> bool:
            self._make_folders([target.parent])
            named = name(temporary, target)
            try:
                if sync:
                    sync_folder(target.parent)
            except FileNotFoundError:  # another process deleted the object, and then the empty folder
                if temporary.exists():
                    raise
                # The file was renamed, so there is nothing to repeat.
            return named

        return self._again(give)

    def _again(self, step: Callable[[], Result]) -> Result:
        """Run `step`; repeat it if another process removed an empty folder that `step` had just created."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):
                return step()
            self._synced.clear()
        return step()

    def make_folders(self, folders: Iterable[Path]) -> None:
        """Create folders and their parents; then fsync each folder in which a folder was created, once."""
        wanted = [*folders]
        if wanted:
            self._again(lambda: self._make_folders(wanted))

    def _make_folders(self, folders: Iterable[Path]) -> int | None:
        """Create folders and their parents; return the permissions of the top folder if a group shares the store, else None.

        A group shares the store if the top folder is setgid and group-writable. The caller derives the permissions of new files
        from the result.
        """
        if _identity(self._root) is None:
            self.make_root()
        mode = stat.S_IMODE(self._root.stat().st_mode)
        shared = mode if mode & stat.S_ISGID and mode & stat.S_IWGRP else None
        new: dict[Path, tuple[int, int] | None] = {}  # each after its parents
        for folder in folders:
            if self._is_synced(folder):  # so are its parents
                continue
            for each in reversed([folder, *folder.parents]):
                if not each.is_relative_to(self._root) or each == self._root or each in new:
                    continue
                if self._is_synced(each):
                    continue
                if not each.is_dir():
                    workshop = self._root if each.name == TEMPORARY else self._root / TEMPORARY
                    make_folder(each, mode=shared, workshop=workshop)
                new[each] = _identity(each)
        # Also if another process created the folder: it may have crashed before its fsync.
        for parent in dict.fromkeys(each.parent for each in new):
            sync_folder(parent)
        self._synced.update(new)
        return shared

    def _is_synced(self, folder: Path) -> bool:
        """Return whether this process has synced the name of a folder. A folder with another inode, because it was removed and created again, counts as another folder."""
        known = self._synced.get(folder)
        return known is not None and known == _identity(folder)

    def make_root(self) -> None:
        """Create the root if it does not exist."""
        missing = [folder for folder in (self._root, *self._root.parents) if not folder.is_dir()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
            sync_folder(folder.parent)


def rename(temporary: Path, target: Path) -> bool:
    """Rename a file, replacing a file or an empty folder at `target`. Return True, because the file always gets the name; compare `name_if_free`."""
    if target.is_dir() and not target.is_symlink():
        target.rmdir()
    temporary.replace(target)
    return True


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return the numbers of a folder's file system and inode; None if there is no such folder."""
    try:
        status = os.stat(folder)  # noqa: PTH116 - `Path.stat` takes longer than the call
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
