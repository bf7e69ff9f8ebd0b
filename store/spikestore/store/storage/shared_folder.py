"""Stores in folders that a group of Unix users shares.

A store is shared if its root has the setgid bit and group write permission. Every builder sees these permissions. An
administrator may set them with ``chgrp`` and ``chmod 2775``. Nothing else says whether a store is shared.
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

_NO_GROUP = 2**32 - 1
"""``chown`` takes this number for "no change", and does not accept a larger number."""


def make_shared(storage: FolderStorage, *, group: str | None = None, private: bool = False) -> list[Path]:
    """Give a group access to those files of a store that belong to this user.

    Parameters
    ----------
    storage : FolderStorage
        The store; created if it does not exist.
    group : str, optional
        Name or number of the group; by default the folder's group.
    private : bool
        Whether only the group and the owners of the files may read.

    Returns
    -------
    list of Path
        Files and folders of other users with a wrong group or wrong permissions, which only their owners can change.

    Raises
    ------
    UsageError
        The group does not exist, or the system has no groups (Windows).
    StoreError
        The folder belongs to another user, or this user is not in the group.
    """
    if not HAS_OWNERS:
        raise UsageError("--shared needs the groups of Unix, which this system lacks: omit --shared")
    if group is not None and group.isdecimal() and int(group) >= _NO_GROUP:
        raise UsageError(f"no group {group!r} on this machine")
    mask = 0o2770 if private else 0o7777
    storage.make()
    (storage.root / TEMPORARY).mkdir(exist_ok=True)
    left = []
    for path in (storage.root, *sorted(storage.root.rglob("*"))):
        if path.is_symlink():
            continue
        permissions = (_FOLDER if path.is_dir() else _FILE) & mask
        try:
            if group is not None:
                shutil.chown(path, group=int(group) if group.isdecimal() else group)
            path.chmod(permissions)
        except LookupError:
            raise UsageError(f"no group {group!r} on this machine") from None
        except PermissionError as error:
            if path == storage.root:
                raise StoreError(
                    f"cannot share {storage.url} ({error.strerror}): the folder belongs to another user, or you are not in the "
                    "group: ask the owner of the folder to run this command, or choose a group of yours with --group",
                    path=storage.url,
                ) from error
            status = path.stat()
            other_group = group is not None and status.st_gid != storage.root.stat().st_gid
            if other_group or stat.S_IMODE(status.st_mode) != permissions:
                left.append(path)
    if not storage.root.stat().st_mode & stat.S_ISGID:  # chmod clears it silently for users outside the group
        name = storage.root.stat().st_gid
        raise StoreError(
            f"cannot share {storage.url}: you are not in its group {name}; join this group, or choose another one with --group",
            path=storage.url,
        )
    sync_all()
    return left
