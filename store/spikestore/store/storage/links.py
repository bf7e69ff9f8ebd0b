"""Links in a folder store: links that lead out of the store are refused, because anybody may have written the store."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from spikestore.store_schemas.errors import DamagedError, StoreError


class Links:
    """The root of a folder store and the links below it.

    Parameters
    ----------
    root : Path
        The store's root, which need not exist yet.
    follow : bool
        Whether links may lead out of the root.
    """

    def __init__(self, root: Path, *, follow: bool) -> None:
        self._root = root
        self._follow = follow
        self._device: int | None = None  # number of the file system on which the root was first seen
        self._resolved: tuple[int, str] | None = None  # the root's inode and its path without links

    def root(self) -> str | None:
        """Return the root's path with all links resolved; None if the root does not exist yet.

        Raises
        ------
        StoreError
            The root is a file.
        OSError
            Since this object first used the root, another file system was mounted or unmounted at its path.
        """
        try:
            status = self._root.stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            raise StoreError(f"{self._root} is a file, but a store must be a folder", path=str(self._root))
        if self._device is None:
            self._device = status.st_dev
        elif self._device != status.st_dev:
            # An unmounted disk leaves an empty folder, which is neither a damaged store nor a new one.
            raise OSError(errno.ESTALE, "another file system is mounted there")
        if self._resolved is None or self._resolved[0] != status.st_ino:
            self._resolved = (status.st_ino, os.path.realpath(self._root))
        return self._resolved[1]

    def contains(self, opened: str | None, device: int) -> bool:
        """Return whether an open file is certainly below the root.

        Parameters
        ----------
        opened : str, optional
            Path of the file after all links are resolved; None if it is unknown.
        device : int
            Number of the file's file system.

        Raises
        ------
        StoreError, OSError
            See `root`.
        """
        # Usually the root need not be looked at: the file is where the root was, on the root's file system.
        if device != self._device or not self._begins(opened):
            self.root()
        return self._begins(opened)

    def _begins(self, opened: str | None) -> bool:
        """Return whether `opened`, a path without links, is below the path that `root` found last; False if `opened` is None."""
        return (
            opened is not None
            and self._resolved is not None
            and opened.startswith(self._resolved[1].rstrip(os.sep) + os.sep)
        )

    def refuse_outside(self, place: Path | str, path: str) -> None:
        """Raise `DamagedError` if a link in the file path `place` leads out of the root; the message names the object `path` of the store."""
        if self._follow:
            return
        # os.path and not Path.resolve, which costs ten times as much.
        root = os.path.realpath(self._root)
        if os.path.commonpath([root, os.path.realpath(place)]) != root:
            raise DamagedError(
                f"{path} in {self._root} is a link that leads out of the store: if the store is yours, replace the link by what it leads to",
                path=path,
                objects=(path,),
            )
