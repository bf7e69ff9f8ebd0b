"""What lies in a folder, also what only a file system can hold: pipes, devices, loops of links, times before 1970."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from spikestore.store.storage.protocol import StoredObject

_DOCUMENT = ".json"
"""A folder whose name ends so is in the place of a document, but for the folders of names, which end as people like."""
_NAMES = "refs"

_DEEPEST = 40
"""Folders below each other that are looked into: a store has nine."""


def walk(folder: Path, prefix: str) -> Iterator[StoredObject]:
    """Yield everything below a folder that is no folder itself, sorted by path as a bucket sorts.

    A folder in the place of a document, and one too deep to be looked into, are yielded as objects: whoever reads them
    says what they are.

    Parameters
    ----------
    folder : Path
        It is there, and it is a folder.
    prefix : str
        Its path in the store.
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
            status = entry.stat(follow_symlinks=False)  # of a link itself, which may lead anywhere
        except FileNotFoundError:
            continue
        yield StoredObject(path, status.st_size, modified(status))


def modified(status: os.stat_result) -> datetime:
    """Return when a file was written, UTC; times beyond the years 1 to 9999 become the first or the last of them."""
    try:
        return datetime.fromtimestamp(status.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        return (datetime.min if status.st_mtime < 0 else datetime.max).replace(tzinfo=UTC)


def kind_of(place: Path) -> str:
    """Return what is at a place, in words; empty for a plain file, links followed, and where there is nothing."""
    try:
        return kind_of_mode(place.stat().st_mode)
    except OSError:
        if not place.is_symlink():
            return ""
    return "a link that leads to no file"


def kind_of_mode(mode: int) -> str:
    """Return what has this mode, in words; empty for a plain file."""
    if stat.S_ISREG(mode):
        return ""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something that is no file")


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # As a bucket sorts whole keys: "a/b" comes after "a.json", so folders sort with their slash.
            return iter(sorted(entries, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False)))
    except FileNotFoundError:  # it was removed since
        return iter(())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
