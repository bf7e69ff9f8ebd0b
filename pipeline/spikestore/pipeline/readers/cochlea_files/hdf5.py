"""Opening HDF5 files, with a clear line for each way in which that fails."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikestore.store_schemas.errors import LayoutError, SourceNotFoundError

HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises on damaged files, as random changes of bytes showed."""


def open_hdf5(path: Path, *, expected: str, remedy: str) -> Any:
    """Open an HDF5 file for reading, or say what is there instead.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected : str
        What the file should be, for the error message: "expected HDF5 with …".
    remedy : str
        How to get a good one, for the error message: "download it again …".

    Returns
    -------
    h5py.File

    Raises
    ------
    SourceNotFoundError
        There is no such file.
    LayoutError
        The file is empty, compressed, truncated, not HDF5, or can't be opened.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise SourceNotFoundError(f"{path} {what}; {expected}", path=str(path))
    try:
        # "best-effort": network file systems without locks refuse HDF5's default.
        return h5py.File(path, "r", locking="best-effort")
    except HDF5_ERRORS as error:
        raise LayoutError(
            f"{path} {_what_is_wrong(path, error, expected, remedy)}", path=str(path)
        ) from error


def _what_is_wrong(path: Path, error: Exception, expected: str, remedy: str) -> str:
    if path.stat().st_size == 0:
        return f"is empty; {expected}: {remedy}"
    if "truncated" in str(error):
        return f"is truncated ({one_line(error)}): {remedy}"
    if "signature not found" not in str(error):
        return f"can't be opened ({one_line(error)}): check its permissions, or {remedy}"
    with path.open("rb") as file:
        gzip = file.read(2) == b"\x1f\x8b"
    if gzip or zipfile.is_zipfile(path):
        return f"is a compressed archive; {expected}: unpack it"
    return f"is not HDF5; {expected}: choose another file or {remedy}"


def type_text(dataset: Any) -> str:
    """Return the type of a dataset's elements in words."""
    base = h5py.check_vlen_dtype(dataset.dtype)
    return str(dataset.dtype) if base is None else f"variable-length {np.dtype(base)}"


def one_line(error: Exception | str) -> str:
    """Return the message of an HDF5 error, which may have line breaks, as one line."""
    return " ".join(str(error).split())
