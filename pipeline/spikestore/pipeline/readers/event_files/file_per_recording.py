"""Base classes of readers with one file per recording.

A block of files is read and decoded together. Each file is one recording. If a file has a fault, a `RecordingError` is returned
in place of the recording; with ``on_error = "skip"``, the recording is skipped. At every read, the size of the file is compared
with its size when it was hashed; if the sizes differ, a `SourceChangedError` is raised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.formats.events import FourColumns
from spikestore.pipeline.readers.reader import ClosesOnExit
from spikestore.pipeline.readers.recording import Recording
from spikestore.pipeline.readers.watched_file import refuse_other_size
from spikestore.store_schemas.errors import (
    LayoutError,
    RecordingError,
    SourceChangedError,
    SourceError,
    UsageError,
)
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.source import Source


class Decoded(NamedTuple):
    """The events of some files in columns.

    Attributes
    ----------
    offsets : int64 array, shape (files + 1,)
        Start of each file's events, and the end of the last file.
    t, x, y, p : arrays, shape (events,)
        Columns as in `EventBlock`; ``t`` is in µs. If events have no ``y``, ``y`` is None. If all polarities are 1, ``p`` is
        None.
    problems : mapping of int to str
        Faults of files, by the number of the file; these files have no events in the columns.
    """

    offsets: npt.NDArray[np.int64]
    t: npt.NDArray[Any]
    x: npt.NDArray[Any]
    y: npt.NDArray[Any] | None
    p: npt.NDArray[Any] | None
    problems: Mapping[int, str]


Content = TypeVar("Content")


def decode_each(
    contents: Sequence[Content], columns: Callable[[Content], FourColumns], event: np.dtype[np.void]
) -> Decoded:
    """Return the events of some files that are decoded one by one.

    Parameters
    ----------
    contents : sequence
        For each file, its bytes or another argument that `columns` accepts.
    columns : callable
        Called with each file; returns t (in µs), x, y and p, with the dtypes in `event`. Raises ValueError with a description of the fault.
    event : dtype
        Dtype of an event, with fields t, x, y, p.

    Raises
    ------
    UsageError
        `columns` raised it, for example because a library is not installed.
    """
    no_events: FourColumns = tuple(np.empty(0, event[field]) for field in ("t", "x", "y", "p"))  # type: ignore[assignment]
    problems: dict[int, str] = {}
    parts: list[FourColumns] = []
    for place, content in enumerate(contents):
        try:
            parts.append(columns(content))
        except UsageError:  # also a ValueError: a library that is not installed is no problem of the file
            raise
        except ValueError as error:
            problems[place] = str(error)
            parts.append(no_events)
    offsets = np.cumsum([0, *(len(part[0]) for part in parts)], dtype=np.int64)
    t, x, y, p = (np.concatenate(column) for column in zip(no_events, *parts, strict=True))
    return Decoded(offsets, t, x, y, p, problems)


class FileReader(ClosesOnExit, ABC):
    """Base class of readers of a source whose row i is file i; implements `spikestore.pipeline.readers.reader.Reader`.

    Parameters
    ----------
    root : pathlib.Path
        The data set's folder.
    files : sequence of SourceFile
        All files of the source, or the files of consecutive rows.
    first_row : int
        Row of the first of these files.
    limit : int, optional
        Read only the first `limit` recordings of the source.
    columns : tuple of str
        Optional columns to read, in addition to events and labels.

    Attributes
    ----------
    extras : tuple of str
        The optional columns.
    files : tuple of SourceFile
        The files of the rows that are read.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    classes: tuple[str, ...]
    has_y: bool = True
    event: np.dtype[np.void]
    """Tonic's dtype of events."""

    def __init__(
        self,
        root: Path,
        files: Sequence[SourceFile],
        *,
        first_row: int = 0,
        limit: int | None = None,
        columns: tuple[str, ...] = (),
    ) -> None:
        self._root = root
        self.extras = columns
        self._first = first_row
        self.files = tuple(files if limit is None else files[: max(limit - first_row, 0)])
        self._labels = self.labels_of(self.files)

    @property
    def estimates_events(self) -> bool:
        """Whether `n_events` returns estimates, which may be several times too small."""
        return True

    @abstractmethod
    def labels_of(self, files: Sequence[SourceFile]) -> npt.NDArray[np.int64]:
        """Return the label of each file, shape (files,)."""

    @abstractmethod
    def decode_files(self, files: Sequence[SourceFile], contents: Sequence[bytes]) -> Decoded:
        """Return the events of some files, given their contents."""

    def extras_of(self, files: Sequence[SourceFile]) -> dict[str, npt.NDArray[np.int64]]:
        """Return the optional columns of some files, shape (files,) each."""
        return {}

    def __len__(self) -> int:
        return self._first + len(self.files)

    def name_of(self, row: int) -> str:
        """Return the path of a recording's file, relative to the data set's folder."""
        return self.files[row - self._first].name

    def labels_and_extras(
        self, start: int, stop: int
    ) -> tuple[npt.NDArray[np.int64], Mapping[str, npt.NDArray[np.int64]]]:
        """Return labels and optional columns of the recordings ``start`` to ``stop - 1``; no file is opened."""
        own = slice(start - self._first, stop - self._first)
        return self._labels[own], self.extras_of(self.files[own])

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Read the recordings ``start`` to ``stop - 1`` in columns; see `Reader.read_block`."""
        if not self._first <= start <= stop <= len(self):
            raise IndexError(
                f"rows {start} to {stop - 1} do not exist: this reader has the recordings {self._first} to {len(self) - 1}"
            )
        files = self.files[start - self._first : stop - self._first]
        labels, extras = self.labels_and_extras(start, stop)
        decoded = self.decode_files(files, [self._content(file) for file in files])
        return EventBlock(
            first_row=start,
            offsets=decoded.offsets,
            t=decoded.t,
            time_table=None,
            x=decoded.x,
            y=decoded.y,
            p=decoded.p,
            labels=labels,
            extras=extras,
            errors={start + place: self._bad(start + place, why) for place, why in decoded.problems.items()},
        )

    def read(self, start: int, stop: int) -> list[Recording | RecordingError]:
        """Read the recordings ``start`` to ``stop - 1``; see `Reader.read`."""
        return self.read_block(start, stop).recordings(self.event)

    def _content(self, file: SourceFile) -> bytes:
        path = self._root / file.name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise SourceChangedError(
                f"{path} was deleted after it was hashed: run the command again", path=str(path)
            ) from None
        except OSError as error:
            raise SourceError(f"{path} can't be read: {error.strerror}", path=str(path)) from error
        refuse_other_size(path, len(content), file)
        return content

    def _bad(self, row: int, why: str) -> RecordingError:
        # The relative name and not the path: reasons of skipped recordings are stored and travel with the set.
        name = self.name_of(row)
        return RecordingError(f"{name}: {why}", path=str(self._root / name), recording=row)

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""
        return


class FilePerRecording(FileReader):
    """Base of the readers for data sets with one file per recording; the path of a file determines the class number.

    Raises
    ------
    LayoutError
        The path of a file does not contain a class.
    """

    sensor_size: ClassVar[tuple[int, int, int]]
    """Width, height and number of polarities of the sensor, as in Tonic."""
    event_bytes: ClassVar[int] = 8
    """Approximate size of an event in a file, in bytes."""

    @staticmethod
    @abstractmethod
    def label_of(name: str) -> int:
        """Return the class number that the path of a file determines.

        Raises
        ------
        LayoutError
            The path does not contain a class.
        """

    @abstractmethod
    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of some files, given their contents."""

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return an estimate of the number of events of each recording, from the size of its file: int64, shape (files,)."""
        return np.array([file.size // self.event_bytes for file in self.files], np.int64)

    @classmethod
    def open(cls, source: Source, root: Path, first_row: int) -> Self:
        """Return a reader of a source; see `spikestore.pipeline.readers.dataset.OpenReader`."""
        return cls(root, source.files, first_row=first_row, limit=source.limit, columns=source.columns)

    def labels_of(self, files: Sequence[SourceFile]) -> npt.NDArray[np.int64]:
        """Return the label of each file, shape (files,)."""
        return np.array([self.label_of(file.name) for file in files], np.int64)

    def decode_files(self, files: Sequence[SourceFile], contents: Sequence[bytes]) -> Decoded:
        """Return the events of some files, given their contents."""
        return self.decode(contents)


class DecodedAlone(FilePerRecording):
    """Base class of readers that decode each file by itself."""

    @staticmethod
    @abstractmethod
    def columns(content: bytes) -> FourColumns:
        """Return the columns t (µs), x, y and p of one file, with the dtypes in `event`. Raise ValueError if the file has a fault; the message describes it."""

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of some files, given their contents."""
        return decode_each(contents, self.columns, self.event)


def class_of_folder(name: str, classes: Sequence[str], expected: str) -> int:
    """Return the number of the class that has the same name as the folder of the file `name`; raise `LayoutError` with `expected` if there is no such class."""
    folder = name.split("/")[-2]
    if folder not in classes:
        raise misplaced(name, expected)
    return classes.index(folder)


def misplaced(name: str, expected: str) -> LayoutError:
    """Return the error for a file whose path does not contain a class."""
    return LayoutError(
        f"{name} is not a recording of this data set: expected {expected}. Move this file out of the data folder",
        path=name,
    )
