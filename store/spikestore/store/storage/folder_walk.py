"""Listing of folders. It also handles what no bucket has: pipes, devices, loops of links, and times before 1970."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from spikestore.store.storage.protocol import StoredObject

_DOCUMENT = ".json"
"""Suffix of documents. A folder with this suffix is in the place of a document, except directly below ``refs``, because names may have this suffix."""
_NAMES = "refs"

_DEEPEST = 40
"""Maximum number of nested folders; a store has nine levels."""


def walk(folder: Path, prefix: str) -> Iterator[StoredObject]:
    """Yield everything below a folder, sorted by path as a bucket sorts. Sub-folders are entered and not yielded.

    Two kinds of folders are yielded and not entered: folders that are nested deeper than `_DEEPEST`; and folders in the place of
    a document, whose names end with ``.json``. (Directly below ``refs``, a folder with such a name is entered.) A caller that
    reads such a folder as an object gets an error that names it.

    Parameters
    ----------
    folder : Path
        An existing folder.
    prefix : str
        Path of the folder in the store.
    """
    waiting = [_entries(folder)]
    paths = [prefix]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
            paths.pop()
            continue
        path = f"{paths[-1]}/{entry.name}"
        in_place_of_document = entry.name.endswith(_DOCUMENT) and paths[-1] != _NAMES
        if _is_folder(entry) and not in_place_of_document and len(waiting) < _DEEPEST:
            waiting.append(_entries(Path(entry.path)))
            paths.append(path)
            continue
        try:
            status = entry.stat(follow_symlinks=False)  # of the link itself, whose target may be anywhere
        except FileNotFoundError:
            continue
        yield StoredObject(path, status.st_size, modified(status))


def modified(status: os.stat_result) -> datetime:
    """Return the time of a file's last write, UTC, limited to the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return (datetime.min if status.st_mtime < 0 else datetime.max).replace(tzinfo=UTC)


def kind_of(place: Path) -> str:
    """Return the kind of file at a path, such as ``"a pipe"``; empty for a regular file or a missing path."""
    try:
        return kind_of_mode(place.stat().st_mode)
    except OSError:
        if not place.is_symlink():
            return ""
    return "a link that leads to no file"


def kind_of_mode(mode: int) -> str:
    """Return the kind of file with this mode, such as ``"a pipe"``; empty for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "a special file")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # A bucket sorts whole keys: "a/b" follows "a.json", so folders sort with their slash.
            return iter(sorted(entries, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False)))
    except FileNotFoundError:  # removed meanwhile
        return iter(())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
