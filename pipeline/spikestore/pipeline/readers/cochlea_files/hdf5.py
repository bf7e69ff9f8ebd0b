"""Functions that open HDF5 files, with a clear message for each kind of failure."""

from __future__ import annotations

import errno
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikestore.store_schemas.errors import LayoutError, SourceError, SourceNotFoundError

HDF5_ERRORS = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    SystemError,
)
"""Exceptions that h5py and NumPy raise on damaged files."""

_OF_WRONG_BYTES = {errno.EINVAL, errno.EFBIG, errno.EOVERFLOW}
"""Errors of the operating system that are caused by wrong addresses and sizes in a file."""

_REMEDIES = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EIO: "check the disk or the network file system",
    errno.ESTALE: "the network file system lost the file: run the command again",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or use fewer workers",
    errno.ENOMEM: "use fewer workers, or end other programs",
}


def open_hdf5(path: Path, *, expected: str, remedy: str) -> Any:
    """Open an HDF5 file for reading; raise an error that names the cause of a failure.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected : str
        What the file should be, for the error message: "expected HDF5 with …".
    remedy : str
        How to get an intact file, for the error message: "download it again …".

    Returns
    -------
    h5py.File

    Raises
    ------
    SourceNotFoundError
        The file does not exist, or is not a file.
    LayoutError
        The file is empty, compressed, damaged, truncated or not HDF5.
    SourceError
        The system cannot read the file, for example because another process locks it or permission is missing.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise SourceNotFoundError(f"{path} {what}; {expected}", path=str(path))
    try:
        # "best-effort": network file systems without locks refuse HDF5's default.
        return h5py.File(path, "r", locking="best-effort")
    except HDF5_ERRORS as error:
        if (fault := fault_of_system(path, error)) is not None:
            raise fault from error
        raise LayoutError(
            f"{path} {_what_is_wrong(path, error, expected, remedy)}", path=str(path)
        ) from error


def _what_is_wrong(path: Path, error: Exception, expected: str, remedy: str) -> str:
    if path.stat().st_size == 0:
        return f"is empty; {expected}: {remedy}"
    if "truncated" in str(error):
        return f"is truncated ({one_line(error)}): {remedy}"
    if "signature not found" not in str(error):
        return f"can't be opened ({one_line(error)}): {remedy}"
    with path.open("rb") as file:
        gzip = file.read(2) == b"\x1f\x8b"
    if gzip or zipfile.is_zipfile(path):
        return f"is a compressed archive; {expected}: unpack it"
    return f"is not HDF5; {expected}: choose another file or {remedy}"


def fault_of_system(path: Path, error: Exception) -> SourceError | None:
    """Return the error for a file that the operating system cannot read; None for any other error.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    error : Exception
        Error of h5py, or of Python's own reading.
    """
    number = _error_number(error)
    if number is None or number in _OF_WRONG_BYTES:
        return None
    if "unable to lock file" not in str(error):
        remedy = _REMEDIES.get(number, "fix the cause and run again")
        return SourceError(f"{path} can't be read ({os.strerror(number)}): {remedy}", path=str(path))
    if number in (errno.EAGAIN, errno.EACCES):
        why = "is locked: another process, such as a notebook, has it open for writing; close it there and run again"
        otherwise = "If nothing writes to it, set"
    else:
        why = f"can't be locked ({os.strerror(number)}): its file system has no locks"
        otherwise = "Set"
    return SourceError(
        f"{path} {why}. {otherwise} the environment variable HDF5_USE_FILE_LOCKING=FALSE", path=str(path)
    )


def _error_number(error: Exception) -> int | None:
    """Return the errno of an error, or None; h5py puts some numbers into the message only."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    match = re.search(r"errno = ([1-9][0-9]*)", str(error))
    return None if match is None else int(match[1])


def type_text(dataset: Any) -> str:
    """Return a text with the type of a dataset's elements, for messages."""
    base = h5py.check_vlen_dtype(dataset.dtype)
    return str(dataset.dtype) if base is None else f"variable-length {np.dtype(base)}"


def one_line(error: Exception | str) -> str:
    """Return the message of an HDF5 error, which may have line breaks, as one line."""
    return " ".join(str(error).split())
