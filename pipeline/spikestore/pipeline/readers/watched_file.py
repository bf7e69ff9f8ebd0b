"""Detection of changes of a file after it was hashed, and while it is read."""

from __future__ import annotations

import os
from pathlib import Path

from spikestore.store_schemas.errors import SourceChangedError, SourceNotFoundError
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.source import Source


def refuse_other_size(path: Path, size: int, hashed: SourceFile) -> None:
    """Raise `SourceChangedError` if a file does not have the size that it had when it was hashed.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    size : int
        Size of the file in bytes.
    hashed : SourceFile
        The file as the source describes it.
    """
    if size != hashed.size:
        raise SourceChangedError(
            f"{path} has {size} bytes, but had {hashed.size} when it was hashed: run the command again",
            path=str(path),
        )


def only_file(source: Source, root: Path) -> Path:
    """Return the path of the file of a source that has one file.

    Parameters
    ----------
    source : Source
        The source.
    root : pathlib.Path
        The data set's folder.

    Raises
    ------
    SourceNotFoundError
        The file does not exist.
    SourceChangedError
        The file does not have the size that it had when it was hashed.
    """
    (hashed,) = source.files
    path = root / hashed.name
    if not path.is_file():
        raise SourceNotFoundError(f"{path} does not exist", path=str(path))
    refuse_other_size(path, path.stat().st_size, hashed)
    return path


class WatchedFile:
    """Status of a file when it was opened, to detect later changes.

    Parameters
    ----------
    path : pathlib.Path
        An existing file.

    Attributes
    ----------
    size : int
        Size in bytes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        status = path.stat()
        self.size = status.st_size
        self._seen = _times(status)

    def check(self) -> None:
        """Raise an error if the file has changed. Call this method after each read.

        Raises
        ------
        SourceChangedError
            The file was written to, replaced or deleted, or its size, permissions or links changed.
        """
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._changed(
                f"can no longer be accessed ({error.strerror}), although it was open for reading"
            ) from error
        if status.st_size != self.size:
            how = "shrank" if status.st_size < self.size else "grew"
            raise self._changed(f"{how} from {self.size} to {status.st_size} bytes while it was read")
        if _times(status) != self._seen:
            raise self._changed(
                "was changed or replaced while it was read (a change of permissions or links counts too)"
            )

    def _changed(self, how: str) -> SourceChangedError:
        return SourceChangedError(
            f"{self._path} {how}: try again when no other program writes to it", path=str(self._path)
        )


def _times(status: os.stat_result) -> tuple[int, int, int]:
    # ctime is included, because no program can reset it.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino
