"""A folder that a group of Unix users shares.

The folder's own permissions are the setting: a root with the setgid bit that its group may write to. So every builder
finds it, an administrator may set it with ``chgrp`` and ``chmod 2775``, and nothing needs to be kept in step with it.
"""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from spikestore.store.storage.folder import FolderStorage
from spikestore.store.storage.publishing import TEMPORARY
from spikestore.store.storage.system_calls import HAS_OWNERS, sync_all
from spikestore.store_schemas.errors import StoreError, UsageError

_FOLDER, _FILE = 0o2775, 0o644


def make_shared(storage: FolderStorage, *, group: str | None = None, private: bool = False) -> list[Path]:
    """Let a group share a store, and everything in it that is ours.

    Parameters
    ----------
    storage : FolderStorage
        The store; made if it is not there.
    group : str, optional
        Name or number of the group; by default the one that the folder has.
    private : bool
        Nobody else may read.

    Returns
    -------
    list of Path
        What belongs to others and has other permissions: they must do it.

    Raises
    ------
    UsageError
        There is no such group, or the system has no groups (Windows).
    StoreError
        The folder itself is not ours, or we are no member of the group.
    """
    if not HAS_OWNERS:
        raise UsageError(
            "a store is shared by a group of Unix users, and this system has none: leave out --shared"
        )
    mask = 0o2770 if private else 0o7777
    storage.make()
    (storage.root / TEMPORARY).mkdir(exist_ok=True)
    left = []
    for place in (storage.root, *sorted(storage.root.rglob("*"))):
        if place.is_symlink():
            continue
        wanted = (_FOLDER if place.is_dir() else _FILE) & mask
        try:
            if group is not None:
                shutil.chown(place, group=int(group) if group.isdecimal() else group)
            place.chmod(wanted)
        except LookupError:
            raise UsageError(f"there is no group {group!r} on this machine") from None
        except PermissionError as error:
            if place == storage.root:
                raise StoreError(
                    f"{storage.url} can't be shared ({error.strerror}): it belongs to somebody else, or you are not in "
                    "the group",
                    path=storage.url,
                ) from error
            if stat.S_IMODE(place.stat().st_mode) != wanted:
                left.append(place)
    if not storage.root.stat().st_mode & stat.S_ISGID:  # cleared without a word for who is not in the group
        name = storage.root.stat().st_gid
        raise StoreError(f"{storage.url} can't be shared: you are not in its group {name}", path=storage.url)
    sync_all()
    return left
