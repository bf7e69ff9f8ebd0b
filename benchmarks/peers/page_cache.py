"""Drops files from the page cache, so that the next read is from the disk."""

from __future__ import annotations

import os
from pathlib import Path


def forget_pages(folder: Path) -> None:
    """Ask the system to drop the cached pages of all files below a folder.

    Raises
    ------
    OSError
        The system has no such call; Linux and some other systems have it.
    """
    if not hasattr(os, "posix_fadvise"):
        raise OSError("this system can't drop the cached pages of a file")
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
