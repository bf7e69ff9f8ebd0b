"""Protocol of readers: recordings by row, in blocks."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Recording
from spikestore.store_schemas.errors import RecordingError


class ClosesBehind(Protocol):
    """Base class that closes its files at the end of a ``with``."""

    def close(self) -> None:
        """Close the files. May be called twice."""

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files."""
        self.close()


class Reader(ClosesBehind, Protocol):
    """The recordings of one source, open for reading.

    A reader gives events as they are in the files. Sorting (``Source.sort``) and what becomes of a bad recording
    (``Source.on_error``) are its caller's business; ``Source.limit`` is honoured here.

    Readers hold open files: each process opens its own, and one thread at a time uses it.
    """

    @property
    def name(self) -> str:
        """Name of the reader; part of the source key."""

    @property
    def version(self) -> int:
        """Version of the results of the reader, from 1; part of the source key."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label i means ``classes[i]``."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the further integers that each recording has, such as ``speaker``."""

    @property
    def has_y(self) -> bool:
        """Whether events have a field ``y``."""

    def __len__(self) -> int:
        """Return the number of recordings, at most the source's limit."""

    def name_of(self, row: int) -> str:
        """Return the name of a recording in messages, such as ``ssc_train.h5: recording 17``.

        Files by their names relative to the dataset's folder, never by a path of this machine: reasons of skipped
        recordings travel with the set.
        """

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording, for planning.

        Returns
        -------
        int64 array, shape (len(self),)
            Counts as stored; ill-formed recordings count with what they hold.

        Raises
        ------
        LayoutError
            A file turns out to be damaged.
        """

    def read(self, start: int, stop: int) -> list[Recording | RecordingError]:
        """Read the recordings ``start`` to ``stop - 1``.

        Parameters
        ----------
        start, stop : int
            Rows, ``0 <= start <= stop <= len(self)``.

        Returns
        -------
        list of Recording or RecordingError, length ``stop - start``
            In row order. An ill-formed recording is *returned* as the error that describes it, not raised: the
            caller raises it or skips that row alone.

        Raises
        ------
        LayoutError
            A file turns out to be damaged: nothing in it can be trusted, so there is nothing to skip.
        SourceChangedError
            A file shrank since it was opened.
        IndexError
            No such rows.
        """

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Read the recordings ``start`` to ``stop - 1`` in whole columns: the fast way, same recordings as `read`.

        Parameters
        ----------
        start, stop : int
            Rows, ``0 <= start <= stop <= len(self)``.

        Returns
        -------
        EventBlock
            Its `errors` are those that `read` returns. Ill-formed recordings are empty in the columns, so that
            every event there is legal. The arrays may be shared: treat them as not writable.

        Raises
        ------
        LayoutError, SourceChangedError, IndexError
            As `read`.
        """
