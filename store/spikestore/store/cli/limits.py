"""Errors that say that a limit of this machine was reached: no fault of spikestore, and the user can do something."""

from __future__ import annotations

import errno
import os

__all__ = ["limit_reached"]

_MEMORY = "not enough memory: free some, raise the limit (ulimit -v, or the job's), or use fewer workers"
_THREADS = "no further thread or process may be started: raise the limit (ulimit -u, or -v for memory), or use fewer workers"
_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
    errno.ENFILE: "this machine has too many open files: end other programs",
    errno.ENOSPC: "make room, and run the same command again",
    errno.EDQUOT: "make room, and run the same command again",
    errno.EIO: "the disk or the network file system reports a fault: check it",
    errno.EROFS: "choose a folder that can be written to",
}
_OF_LOADERS = ("cannot allocate memory", "failed to map segment", "cannot create shared object descriptor")
"""What the dynamic loader says where a library does not fit: it raises ImportError or OSError without a number."""


def limit_reached(error: BaseException) -> str | None:
    """Return what to say of an error that a limit of the machine causes; None for any other.

    Parameters
    ----------
    error : BaseException
        Raised by anything below: Python, NumPy, a library.
    """
    text = str(error)
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, (ImportError, OSError)) and any(part in text.lower() for part in _OF_LOADERS))
    ):
        return _MEMORY
    if "can't start new thread" in text or isinstance(error, BlockingIOError):
        return _THREADS
    if isinstance(error, FileNotFoundError) and not error.filename and _working_directory_is_gone():
        return "the working directory does not exist any more: change to another one"
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}: {_REMEDIES[error.errno]}"
    return None


def _working_directory_is_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - this is the call that fails
    except FileNotFoundError:
        return True
    return False
