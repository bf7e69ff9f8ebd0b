"""Files that are complete or absent after a power failure.

The order of the steps matters (docs/integrity.md, "Durability"). First, the bytes are written to a temporary file and fsynced.
Then the file gets its name, in one step that fails if the name is taken. Last, the folder with the name is fsynced. A process
that creates a folder fsyncs the parent of this folder.
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
"""Errors of ``link`` on a file system without hard links; EPERM also occurs without write permission."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_CANT_SYNC_FOLDERS = {errno.EINVAL, errno.EOPNOTSUPP}


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a path (``….part``) for a new file. At the end of the ``with`` block, the file is moved to `path`; after an error, it is removed.

    This function is for files outside of a store, such as locks and checkpoints. If `sync` is true, the file is on the disk
    before it is moved.
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


def open_new(path: Path, mode: int | None = None) -> int:
    """Return a handle to a new file.

    Parameters
    ----------
    path : Path
        A path that does not exist.
    mode : int, optional
        Permissions, regardless of the umask; by default the permissions that the umask leaves.
    """
    handle = create_file(path)
    if mode is not None:
        try:
            set_mode(handle, mode)
        except OSError:
            os.close(handle)
            raise
    return handle


def write_synced(handle: int, data: bytes) -> None:
    """Write a file, fsync it, and close it."""
    try:
        write_pieces(handle, (data,))
        os.fsync(handle)
    finally:
        os.close(handle)


def write_pieces(handle: int, pieces: Iterable[bytes | memoryview]) -> None:
    """Write a file, piece by piece, without fsync."""
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[os.write(handle, left) :]


def sync_and_close(handle: int) -> None:
    """Fsync a file and close it, also after an error."""
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def name_if_free(temporary: Path, target: Path) -> bool:
    """Give a file its name in one step unless the name is taken; return whether it was free.

    This function uses a hard link. If the file system has no hard links (exFAT, some network and FUSE mounts), this function
    uses the rename of Linux that fails if the name is taken.

    Raises
    ------
    OSError
        EOPNOTSUPP: the file system supports neither hard links nor this rename.
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
    # On Windows, ctypes.CDLL(None) fails.
    rename = (
        getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    )
    number = errno.ENOSYS
    if rename is not None:
        paths = [os.fsencode(path) for path in (temporary, target)]
        if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
        raise OSError(
            errno.EOPNOTSUPP, "it supports neither hard links nor renames that fail if the name is taken"
        )
    raise OSError(number, os.strerror(number), str(target))


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that the names in it are on disk."""
    handle = open_folder(folder)
    if handle is None:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANT_SYNC_FOLDERS:  # some network mounts sync names by themselves
            raise
    finally:
        os.close(handle)


def make_folder(folder: Path, *, mode: int | None = None, workshop: Path | None = None) -> None:
    """Create a folder unless it exists; its parent must exist.

    Parameters
    ----------
    folder : Path
        The folder.
    mode : int, optional
        Permissions, regardless of the umask; ignored without `workshop`.
    workshop : Path, optional
        A folder on the same file system. The new folder is created in `workshop`, gets its permissions there, and is then moved. So
        a new folder at the path `folder` never has permissions other than `mode`, not even after a crash.
    """
    if mode is None or workshop is None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        return
    temporary = workshop / f".tmp-{secrets.token_hex(8)}"
    temporary.mkdir(0o700)
    try:
        temporary.chmod(mode)
        # Replaces an empty folder that another process has just created, and no other.
        temporary.rename(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.rmdir()
        if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
            raise
