"""Files of one split below a data set's folder: with fixed names, or as a tree with one file per recording."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from spikestore.store_schemas.errors import SourceError, SourceNotFoundError

_ARCHIVES = (".zip", ".gz")


class SplitFiles(Protocol):
    """The files of one split; ``str()`` returns their names for messages."""

    def find(self, root: Path) -> list[str]:
        """Return all files of the split below a folder, relative with ``/``, sorted; none unless all are there."""

    def present(self, root: Path) -> list[Path]:
        """Return a few existing paths of the split, for messages."""

    def archives(self, root: Path) -> list[Path]:
        """Return downloaded archives that must be unpacked."""


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """Files with fixed names.

    Attributes
    ----------
    names : tuple of str
        Relative to the dataset's folder, sorted.
    """

    names: tuple[str, ...]

    def __str__(self) -> str:
        return " and ".join(self.names)

    def find(self, root: Path) -> list[str]:
        """Return the names if all files are there, else none."""
        return list(self.names) if all((root / name).is_file() for name in self.names) else []

    def present(self, root: Path) -> list[Path]:
        """Return the files that exist."""
        return [root / name for name in self.names if (root / name).is_file()]

    def archives(self, root: Path) -> list[Path]:
        """Return what to unpack. Tonic wants a ``.zip`` beside each file, an empty one will do: no archive."""
        return _with_content(root / f"{name}{ending}" for name in self.names for ending in _ARCHIVES)


@dataclass(frozen=True, slots=True)
class FileTree:
    """All files of one suffix in the sub-folders of a folder, one per recording.

    Files in the folder itself are none of them, nor is anything whose name starts with a dot: archives that were
    packed on a Mac leave files such as ``._0.npy`` behind.

    Attributes
    ----------
    folder : str
        Its name in the dataset's folder, such as ``Train`` or ``DVS-Lip/train``; empty for that folder itself.
    suffix : str
        How the files' names end.
    downloads : tuple of str
        What the archive that holds them may be called.
    folders : tuple of str
        Sub-folders that must hold a file each, such as one for each class.
    sign : str
        Pattern of files below `folder` that show that this data set is there; by default any in a sub-folder.
    """

    folder: str
    suffix: str
    downloads: tuple[str, ...]
    folders: tuple[str, ...] = ()
    sign: str = ""

    def __str__(self) -> str:
        below = self.sign or f"*/*{self.suffix}"
        return f"{self.folder}/{below}" if self.folder else below

    def find(self, root: Path) -> list[str]:
        """Return the names of all files.

        Raises
        ------
        SourceNotFoundError
            One of `folders` has no file: the archive was unpacked in part.
        SourceError
            A folder can't be listed.
        """
        top = root / self.folder
        names = sorted(self._names(top)) if top.is_dir() else []
        before = len(self.folder) + 1 if self.folder else 0
        present = {name[before:].split("/", 1)[0] for name in names}
        missing = [name for name in self.folders if name not in present]
        if names and missing:
            raise SourceNotFoundError(
                f"{top} is not complete: no {self.suffix} file in {', '.join(missing)}; unpack it again",
                path=str(top),
                missing=tuple(missing),
            )
        return names

    def _names(self, top: Path) -> list[str]:
        names: list[str] = []
        # Links to folders are not followed, as Tonic does not either.
        for path, folders, files in os.walk(top, onerror=_not_listed):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if path == str(top):
                continue
            where = "/".join((*((self.folder,) if self.folder else ()), *Path(path).relative_to(top).parts))
            names += [
                f"{where}/{name}" for name in files if name.endswith(self.suffix) and not name.startswith(".")
            ]
        return names

    def present(self, root: Path) -> list[Path]:
        """Return the folder if there is a file below it."""
        top = root / self.folder
        sign = self.sign or f"*/**/*{self.suffix}"
        return [top] if top.is_dir() and next(top.glob(sign), None) is not None else []

    def archives(self, root: Path) -> list[Path]:
        """Return the download, where it lies."""
        return _with_content(root / name for name in self.downloads)


def _with_content(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and path.stat().st_size]


def _not_listed(error: OSError) -> NoReturn:
    # Without this os.walk leaves out, without a word, what it can't list.
    raise SourceError(
        f"the folder {error.filename} can't be listed: {error.strerror}", path=str(error.filename)
    ) from error
