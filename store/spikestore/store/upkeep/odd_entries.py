"""Files and folders that do not belong to a store. Folders of builds are not searched, because `verify` checks them itself.

Only folder stores are searched: a bucket has no pipes, links or folders. Entries beside ``features``, ``refs`` and ``partitions`` are
ignored. Hidden names are ignored too, because file systems and file managers create them anywhere (``.nfs…``, ``.snapshot``, ``.DS_Store``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.storage.folder_walk import kind_of
from spikestore.store.storage.protocol import is_object_path
from spikestore.store.upkeep.verify import Damage
from spikestore.store_schemas.specs.model import NAME

_KEY = re.compile(r"[0-9a-f]{64}")
_PLAN = re.compile(r"[0-9a-f]{12}")
_ENTRY = re.compile(r"[0-9]{8}\.json")

Fits = Callable[[str], object]
"""Returns whether an entry may have this name."""


def odd_entries(storage: Storage) -> Iterator[Damage]:
    """Yield the misplaced entries of a folder store, sorted within each folder; nothing for a bucket.

    Folders of builds are skipped. Folders that cannot be listed are skipped too: every reader of the store reports them.
    """
    if not isinstance(storage, FolderStorage):
        return
    root = storage.root
    for transform in _folders(root, "features", _KEY.fullmatch):
        if isinstance(transform, Damage):
            yield transform
            continue
        for source in _folders(root, transform, _KEY.fullmatch):
            if isinstance(source, Damage):
                yield source
                continue
            yield from _of_feature_set(root, source)
    yield from _documents(root, "refs", NAME.match, _ENTRY.fullmatch)
    yield from _documents(root, "partitions", _KEY.fullmatch, _is_partition)


def _of_feature_set(root: Path, folder: str) -> Iterator[Damage]:
    for path, name in _entries(root, folder):
        if name in {"manifest.json", "plan.json"}:
            yield from _unless_file(root, path)
        elif name != "builds":
            yield _foreign(path, "does not belong to a feature set")
    yield from (
        each for each in _folders(root, f"{folder}/builds", _PLAN.fullmatch) if isinstance(each, Damage)
    )


def _documents(root: Path, top: str, folder_fits: Fits, file_fits: Fits) -> Iterator[Damage]:
    for folder in _folders(root, top, folder_fits):
        if isinstance(folder, Damage):
            yield folder
            continue
        for path, name in _entries(root, folder):
            if file_fits(name):
                yield from _unless_file(root, path)
            else:
                yield _foreign(path, f"does not belong to {top}")


def _folders(root: Path, top: str, fits: Fits) -> Iterator[str | Damage]:
    """Yield the path of each folder directly below `top` that has a valid name, and a `Damage` for each other entry."""
    if os.path.lexists(root / top) and not (root / top).is_dir():
        yield _foreign(top, f"is {kind_of(root / top) or 'a file'} instead of a folder")
        return
    for path, name in _entries(root, top):
        place = root / path
        if not is_object_path(path) or not fits(name):
            yield _foreign(path, f"does not belong to {top.partition('/')[0]}")
        elif place.is_dir():
            yield path
        else:
            yield _foreign(path, f"is {kind_of(place) or 'a file'} instead of a folder")


def _unless_file(root: Path, path: str) -> Iterator[Damage]:
    if kind := kind_of(root / path):
        yield _foreign(path, f"is {kind} instead of a file")


def _entries(root: Path, folder: str) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(place.name for place in (root / folder).iterdir())
    except OSError:
        return
    yield from ((f"{folder}/{name}", name) for name in names if not name.startswith("."))


def _is_partition(name: str) -> bool:
    return name.endswith(".json") and NAME.match(name.removesuffix(".json")) is not None


def _foreign(path: str, detail: str) -> Damage:
    return Damage(path, f"{detail}: move this entry out of the store", "foreign")
