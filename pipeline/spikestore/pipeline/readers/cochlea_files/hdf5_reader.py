"""Base class of readers of one HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from spikestore.pipeline.readers.cochlea_files.hdf5 import HDF5_ERRORS, fault_of_system, one_line, open_hdf5
from spikestore.pipeline.readers.reader import ClosesOnExit
from spikestore.pipeline.readers.watched_file import WatchedFile
from spikestore.store_schemas.errors import LayoutError, SpikestoreError


class HDF5Reader(ClosesOnExit):
    """Base class of readers of one HDF5 file, which stays open until `close`.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    expected, remedy : str
        See `spikestore.pipeline.readers.cochlea_files.hdf5.open_hdf5`.

    Raises
    ------
    SourceNotFoundError
        The file does not exist.
    LayoutError
        The file is not HDF5, or is damaged or truncated.
    SourceError
        The system cannot read the file.
    """

    def __init__(self, path: Path, *, expected: str, remedy: str) -> None:
        self._path = path
        self._remedy = remedy
        self._file = open_hdf5(path, expected=expected, remedy=remedy)
        self._watched = WatchedFile(path)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        """Close the file if the code of the ``with`` block fails. An error of HDF5 is raised as an error of spikestore, usually a `LayoutError`."""
        try:
            yield
        except SpikestoreError:
            self.close()
            raise
        except HDF5_ERRORS as error:
            self.close()
            self._damaged(error)

    def _damaged(self, why: Exception | str) -> NoReturn:
        self._watched.check()  # a file that changes, or is gone, looks damaged
        cause = why if isinstance(why, Exception) else None
        if cause is not None and (fault := fault_of_system(self._path, cause)) is not None:
            raise fault from cause
        raise LayoutError(
            f"{self._path} is damaged or truncated, or has another layout ({one_line(why)}): {self._remedy}",
            path=str(self._path),
        ) from cause

    def close(self) -> None:
        """Close the file."""
        self._file.close()
