"""Files of one split in a data set's folder: files with fixed names, or a tree of folders with one file per recording."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

from spikestore.store_schemas.errors import SourceError, SourceNotFoundError

_ARCHIVES = (".zip", ".gz")


class SplitFiles(Protocol):
    """Protocol of the files of one split; ``str()`` returns their names for messages."""

    def find(self, root: Path) -> list[str]:
        """Return the sorted paths of the split's files, relative to `root` with ``/``; an empty list if the split is not there.

        A split whose files have fixed names (`NamedFiles`) is there if all these files exist.

        Raises
        ------
        SourceNotFoundError
            A required folder is missing.
        SourceError
            A folder cannot be listed.
        """

    def present(self, root: Path) -> list[Path]:
        """Return the existing files of a `NamedFiles`, or the folder of a `FileTree` if recordings are in it; an empty list if there are none."""

    def archives(self, root: Path) -> list[Path]:
        """Return the paths of the downloaded archives in `root`, without empty files."""


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """A split whose files have fixed names.

    Attributes
    ----------
    names : tuple of str
        Paths relative to the data set's folder, sorted.
    """

    names: tuple[str, ...]

    def __str__(self) -> str:
        return " and ".join(self.names)

    def find(self, root: Path) -> list[str]:
        """Return `names` if all these files exist in the folder `root`, else an empty list."""
        return list(self.names) if all((root / name).is_file() for name in self.names) else []

    def present(self, root: Path) -> list[Path]:
        """Return the paths of the files that exist in `root`."""
        return [root / name for name in self.names if (root / name).is_file()]

    def archives(self, root: Path) -> list[Path]:
        """Return the downloaded archives that exist. An empty ``.zip`` is left out: users create an empty file because Tonic requires a ``.zip``."""
        return _with_content(root / f"{name}{ending}" for name in self.names for ending in _ARCHIVES)


@dataclass(frozen=True, slots=True)
class FileTree:
    """A split with one file per recording: all files with the suffix `suffix` in the sub-folders of a folder.

    Files in the folder itself do not count. Names that start with a dot do not count either: archives that were packed on a
    Mac contain files such as ``._0.npy``.

    Attributes
    ----------
    folder : str
        Path in the data set's folder, such as ``Train`` or ``DVS-Lip/train``; empty for the data set's folder itself.
    suffix : str
        Suffix of the file names.
    downloads : tuple of str
        Possible names of the archive that contains the files.
    folders : tuple of str
        Sub-folders that must each have at least one file, for example the folders of the classes.
    sign : str
        Pattern of files below `folder` by which the data set is detected; by default any file with `suffix` in a sub-folder.
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
        """Return the sorted paths of all files; an empty list if there are none.

        Raises
        ------
        SourceNotFoundError
            At least one of `folders` has no file, although other folders have files: the archive was not unpacked completely.
        SourceError
            A folder cannot be listed.
        """
        top = root / self.folder
        names = sorted(self._names(top)) if top.is_dir() else []
        before = len(self.folder) + 1 if self.folder else 0
        present = {name[before:].split("/", 1)[0] for name in names}
        missing = [name for name in self.folders if name not in present]
        if names and missing:
            raise SourceNotFoundError(
                f"{top} is not complete: no {self.suffix} file in {', '.join(missing)}; unpack its archive again",
                path=str(top),
                missing=tuple(missing),
            )
        return names

    def _names(self, top: Path) -> list[str]:
        names: list[str] = []
        links: list[Path] = []
        # Links to folders are not followed; Tonic does not follow them either.
        for path, folders, files in os.walk(top, onerror=_not_listed):
            folders[:] = [name for name in folders if not name.startswith(".")]
            links += [Path(path, name) for name in folders if Path(path, name).is_symlink()]
            if path == str(top):
                continue
            where = "/".join((*((self.folder,) if self.folder else ()), *Path(path).relative_to(top).parts))
            names += [
                f"{where}/{name}" for name in files if name.endswith(self.suffix) and not name.startswith(".")
            ]
        if links:
            _report_links(min(links), len(links))
        return names

    def present(self, root: Path) -> list[Path]:
        """Return a list of one path, the split's folder. The list is empty if this folder contains no recordings."""
        top = root / self.folder
        sign = self.sign or f"*/**/*{self.suffix}"
        return [top] if top.is_dir() and next(top.glob(sign), None) is not None else []

    def archives(self, root: Path) -> list[Path]:
        """Return the paths of the downloaded archives in `root`, without empty files."""
        return _with_content(root / name for name in self.downloads)


@functools.cache  # the files of a split are listed several times
def _report_links(first: Path, count: int) -> None:
    logger.warning(
        "%s is a link to a folder, so its recordings are not read: replace the link by the folder itself%s",
        first,
        f" (the first of {count} such links)" if count > 1 else "",
    )


def _with_content(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.is_file() and path.stat().st_size]


def _not_listed(error: OSError) -> NoReturn:
    # By default, os.walk silently leaves out folders that it cannot list.
    raise SourceError(
        f"the folder {error.filename} can't be listed: {error.strerror}", path=str(error.filename)
    ) from error
