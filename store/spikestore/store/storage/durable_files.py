"""Files that survive a power failure: whole under their name, or not there at all.

The order of the steps is the point (docs/integrity.md, "Durability"): the bytes go into a file of another name and are
fsynced; only then the file gets its name, in one step that fails if the name is taken; then the folder that holds the
name is fsynced, and whoever made the folder has fsynced the one above.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from spikestore.store.storage.system_calls import create_file, open_folder, set_mode

NO_LINKS = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM}
"""What ``link`` answers where a file system has no hard links; EPERM also where it may not be written to."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_CANT_SYNC_FOLDERS = {errno.EINVAL, errno.EOPNOTSUPP}


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a path (``….part``) to write a file to, which then takes the place of `path` in one step; after an error it is removed.

    For files outside of a store, such as locks and checkpoints. With `sync` the file is on the disk before it gets its
    name.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        if sync:
            with temporary.open("r+b") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def open_new(place: Path, mode: int | None = None) -> int:
    """Return a handle to a new file.

    Parameters
    ----------
    place : Path
        A name that is not taken.
    mode : int, optional
        Permissions, whatever the umask; by default what the umask leaves.
    """
    handle = create_file(place)
    if mode is not None:
        try:
            set_mode(handle, mode)
        except OSError:
            os.close(handle)
            raise
    return handle


def write_synced(handle: int, data: bytes) -> None:
    """Write a file, wait until it is on the disk, and close it."""
    try:
        write_pieces(handle, (data,))
        os.fsync(handle)
    finally:
        os.close(handle)


def write_pieces(handle: int, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file, piece by piece, and wait for nothing."""
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[os.write(handle, left) :]


def sync_and_close(handle: int) -> None:
    """Wait until what was written is on the disk; close the file in any case."""
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def name_if_free(temporary: Path, target: Path) -> bool:
    """Give a file its name, in one step, unless the name is taken; tell whether it was free.

    A hard link does that on every common file system. Where there are none (exFAT, some network and FUSE mounts), a
    rename that replaces nothing does it too; Linux alone offers one.

    Raises
    ------
    OSError
        EOPNOTSUPP: the file system can do neither.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _rename_if_free(temporary, target)
    return True


def _rename_if_free(temporary: Path, target: Path) -> bool:
    # ctypes has no name for "this program" on Windows.
    rename = (
        getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    )
    number = errno.ENOSYS
    if rename is not None:
        places = [os.fsencode(place) for place in (temporary, target)]
        if rename(_AT_FDCWD, places[0], _AT_FDCWD, places[1], _RENAME_NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
        raise OSError(errno.EOPNOTSUPP, "neither hard links nor renames that replace nothing")
    raise OSError(number, os.strerror(number), str(target))


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    handle = open_folder(folder)
    if handle is None:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANT_SYNC_FOLDERS:  # some network mounts can't, and do it by themselves
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path, *, mode: int | None = None, workshop: Path | None = None) -> None:
    """Make a folder unless it is there; the one above must exist.

    Parameters
    ----------
    folder : Path
        The folder.
    mode : int, optional
        Permissions, whatever the umask. Then the folder is made in `workshop` and moved: nobody ever meets it with
        other permissions, not even after a crash between two steps.
    workshop : Path, optional
        A folder on the same file system.
    """
    if mode is None or workshop is None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        return
    temporary = workshop / f".tmp-{secrets.token_hex(8)}"
    temporary.mkdir(0o700)
    try:
        temporary.chmod(mode)
        # Replaces an empty folder that somebody else has just made, and no other.
        temporary.rename(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.rmdir()
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
