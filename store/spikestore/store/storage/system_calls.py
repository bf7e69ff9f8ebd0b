"""The system calls that some systems lack, each with what takes its place there.

Everything else in the store may run on Linux, macOS and Windows as it is: a call that one of them lacks belongs here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Opening a pipe would wait for a writer.
_READ_AT_ONCE = _READ | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

HAS_OWNERS = hasattr(os, "chown")
"""Whether files have an owner and a group, as on Unix."""


def open_to_read(path: Path) -> int:
    """Return a handle to a file; opening a pipe does not wait."""
    return os.open(path, _READ_AT_ONCE)


def create_file(path: Path) -> int:
    """Return a handle to a new file; raises `FileExistsError` if the name is taken."""
    return os.open(path, _CREATE, 0o666)


def set_mode(handle: int, mode: int) -> None:
    """Set the permissions of an open file; Windows has none of this kind, and then nothing is done."""
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)


def read_at(handle: int, count: int, offset: int) -> bytes:
    """Return up to `count` bytes from an offset; the handle must not be shared between threads.

    Windows has no ``pread``: there the position is set first.
    """
    if hasattr(os, "pread"):
        return os.pread(handle, count, offset)
    os.lseek(handle, offset, os.SEEK_SET)
    return os.read(handle, count)


def open_folder(folder: Path) -> int | None:
    """Return a handle to a folder, or None on Windows, which opens no folders and syncs names by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return None
    return os.open(folder, _READ | os.O_DIRECTORY)


def sync_all() -> None:
    """Wait until everything is on the disk, where one call does that."""
    if hasattr(os, "sync"):
        os.sync()


def error_numbers(*names: str) -> frozenset[int]:
    """Return the numbers of errors by name, without those that this system does not know."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))
