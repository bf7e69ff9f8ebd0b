"""System calls that Linux, macOS or Windows lacks, each with a replacement.

The rest of the store uses only calls that all three systems have. A test on Linux runs the store without the calls that macOS or
Windows lacks. The code was never run on macOS or Windows, and Windows is not supported (``docs/guarantees.md``, "Operating systems").
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Without O_NONBLOCK, opening a pipe waits for a writer.
_READ_AT_ONCE = _READ | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)

HAS_OWNERS = hasattr(os, "chown")
"""Whether files have an owner and a group, as on Unix."""


def open_to_read(path: Path | str) -> int:
    """Return a handle to a file; opening a pipe does not wait."""
    return os.open(path, _READ_AT_ONCE)


def create_file(path: Path) -> int:
    """Return a handle to a new file; raises `FileExistsError` if the name is taken."""
    return os.open(path, _CREATE, 0o666)


def set_mode(handle: int, mode: int) -> None:
    """Set the permissions of an open file; do nothing on Windows, which has no Unix permissions."""
    if hasattr(os, "fchmod"):
        os.fchmod(handle, mode)


def read_at(handle: int, count: int, offset: int) -> bytes:
    """Return up to `count` bytes at `offset`. Threads must not share a handle, because on Windows (without ``pread``) a read moves the position of the handle."""
    if hasattr(os, "pread"):
        return os.pread(handle, count, offset)
    os.lseek(handle, offset, os.SEEK_SET)
    return os.read(handle, count)


def path_of_open_file(handle: int) -> str | None:
    """Return the path of an open file, with all links resolved; None on systems without ``/proc``."""
    try:
        return os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115 - paths as objects take longer than the call
    except OSError:
        return None


def open_folder(folder: Path) -> int | None:
    """Return a handle to a folder; None on Windows, where folders cannot be opened and need no fsync."""
    if not hasattr(os, "O_DIRECTORY"):
        return None
    return os.open(folder, _READ | os.O_DIRECTORY)


def sync_all() -> None:
    """Write all buffers to disk, on systems with ``sync``."""
    if hasattr(os, "sync"):
        os.sync()


def error_numbers(*names: str) -> frozenset[int]:
    """Return the ``errno`` numbers with these names, such as ``ENOSPC``; names that this system lacks are left out."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))
