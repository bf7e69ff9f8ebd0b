"""Files of a store get their names: whole, durable, in folders with the permissions of the store."""

from __future__ import annotations

import contextlib
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from spikestore.store.storage.durable_files import make_folder, open_new, sync_folder, write_synced

TEMPORARY = ".tmp"
"""Folder for half-written objects, beside ``features`` and ``refs``."""

_ATTEMPTS = 20

Result = TypeVar("Result")


class Publisher:
    """Writes files under a root and makes the folders above them; knows which of these are on the disk.

    Parameters
    ----------
    root : Path
        The store's root; made at the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._synced: set[Path] = set()  # folders whose names this process knows to be on the disk

    def forget(self, folder: Path) -> None:
        """Take note that a folder was removed."""
        self._synced.discard(folder)

    def publish(self, target: Path, data: bytes, name: Callable[[Path, Path], bool]) -> bool:
        """Write data under a temporary name, then `name` it; return what that returns."""
        temporary, handle = self.temporary()
        try:
            write_synced(handle, data)
            return self.give_name(temporary, target, name)
        finally:
            with contextlib.suppress(OSError):  # what went wrong before is what matters
                temporary.unlink(missing_ok=True)

    def temporary(self) -> tuple[Path, int]:
        """Return a new file without a name that counts, and a handle to it."""
        place = self._root / TEMPORARY / secrets.token_hex(16)

        def begin() -> int:
            mode = self._make_folder(place.parent)
            return open_new(place, None if mode is None else mode & 0o644 | 0o600)

        return place, self._again(begin)

    def give_name(
        self, temporary: Path, target: Path, name: Callable[[Path, Path], bool], *, sync: bool = True
    ) -> bool:
        """Give a temporary file its name by `name`; return what that returns."""

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
        if not self._root.is_dir():
            self.make_root()
        mode = stat.S_IMODE(self._root.stat().st_mode)
        shared = mode if mode & stat.S_ISGID and mode & stat.S_IWGRP else None
        if folder in self._synced and folder.is_dir():  # and so were those above it, before it
            return shared
        missing = [
            one for one in (folder, *folder.parents) if one.is_relative_to(self._root) and one != self._root
        ]
        for one in reversed(missing):
            if one in self._synced and one.is_dir():
                continue
            if not one.is_dir():
                workshop = self._root if one.name == TEMPORARY else self._root / TEMPORARY
                make_folder(one, mode=shared, workshop=workshop)
            sync_folder(one.parent)  # also where somebody else made it, and may have crashed before this
            self._synced.add(one)
        return shared

    def make_root(self) -> None:
        """Make the root, if it is not there."""
        missing = [one for one in (self._root, *self._root.parents) if not one.is_dir()]
        for one in reversed(missing):
            with contextlib.suppress(FileExistsError):
                one.mkdir()
            sync_folder(one.parent)


def rename(temporary: Path, target: Path) -> bool:
    """Give a file its name, whatever had it."""
    temporary.replace(target)
    return True
