"""Messages for errors at a limit of the machine, such as memory, disk space or open files."""

from __future__ import annotations

import errno
import os

__all__ = ["limit_reached"]

_FEWER_WORKERS = "or use fewer --workers, if the command has this option"
_MEMORY = f"not enough memory: free some memory, raise the limit (ulimit -v, or the limit of the job), {_FEWER_WORKERS}"
_BATCHES = (
    "not enough memory for a batch or the network: lower batch_size under [data] (the run then needs --restart, and starts from the beginning), use a smaller "
    "network or another --device, or free some memory"
)
_BATCHES_OF_A_CHECKPOINT = "not enough memory for a batch or the network: use another --device, or free some memory (the checkpoint determines the sizes of the batch and the network)"
_THREADS = (
    f"cannot start another thread or process: raise the limit (ulimit -u, or -v for memory), {_FEWER_WORKERS}"
)
_REMEDIES = {
    errno.EMFILE: f"raise the limit of open files (ulimit -n), {_FEWER_WORKERS}",
    errno.ENFILE: "this machine has too many open files: close other programs",
    errno.ENOSPC: "free some space and run the command again",
    errno.EDQUOT: "free some space and run the command again",
    errno.EIO: "the disk or the network file system reports a fault: check it",
    errno.EROFS: "choose a writable folder",
}
_OF_LOADERS = ("cannot allocate memory", "failed to map segment", "cannot create shared object descriptor")
"""Texts in errors of the dynamic loader when memory is short. These errors are ImportError, or OSError without an errno."""

_OF_TORCH = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
"""Texts in torch's errors when the memory of the host or of a GPU is short. These errors are RuntimeError."""


def limit_reached(error: BaseException, command: str | None = None) -> str | None:
    """Return the message for an error caused by a limit of the machine; None for any other error.

    Parameters
    ----------
    error : BaseException
        An error of Python, NumPy or another library.
    command : str, optional
        The command that raised the error. For ``evaluate``, the message advises only what ``evaluate`` can change.
    """
    text = str(error)
    if (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, (ImportError, OSError)) and any(part in text.lower() for part in _OF_LOADERS))
    ):
        return _MEMORY
    if isinstance(error, RuntimeError) and any(part in text.lower() for part in _OF_TORCH):
        return _BATCHES_OF_A_CHECKPOINT if command == "evaluate" else _BATCHES
    if "can't start new thread" in text or isinstance(error, BlockingIOError):
        return _THREADS
    if isinstance(error, FileNotFoundError) and not error.filename and _working_directory_is_gone():
        return "the working directory was deleted: change to another one"
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
