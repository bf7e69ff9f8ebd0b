"""Protocol of readers, which return recordings by row, in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from spikestore.pipeline.readers.event_block import EventBlock
    from spikestore.pipeline.readers.recording import Recording
    from spikestore.store_schemas.errors import RecordingError


class ClosesOnExit(Protocol):
    """Base class of readers; at the end of a ``with`` block, the reader closes its files."""

    def close(self) -> None:
        """Close the files; a second call has no effect."""

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


class Reader(ClosesOnExit, Protocol):
    """Protocol of an open reader of one source.

    A reader returns events in the order in which they are in the files, with times in µs. It applies ``Source.limit``; the caller sorts
    events (``Source.sort``) and decides what happens with invalid recordings (``Source.on_error``).

    A reader may have open files. Each process must open its own reader, and only one thread at a time may use a reader.
    """

    @property
    def name(self) -> str:
        """Name of the reader; part of the source key."""

    @property
    def version(self) -> int:
        """Version of the events that the reader returns, from 1; part of the source key."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label i means ``classes[i]``."""

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the additional columns of integers, such as ``speaker``."""

    @property
    def has_y(self) -> bool:
        """Whether events have a field ``y``."""

    @property
    def estimates_events(self) -> bool:
        """Whether `n_events` returns estimates, which may be several times too small."""

    def __len__(self) -> int:
        """Return the number of recordings, which is at most ``Source.limit``."""

    def name_of(self, row: int) -> str:
        """Return the name of a recording in messages, such as ``ssc_train.h5: recording 17``.

        The name contains the path of the file relative to the data set's folder, never an absolute path: if a recording is
        skipped, its name is stored in the feature set.
        """

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording, for planning.

        Returns
        -------
        int64 array, shape (len(self),)
            Number of stored events, also for invalid recordings; an estimate if `estimates_events` is true.

        Raises
        ------
        LayoutError
            A file is damaged.
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
            The recordings in the order of rows. For an invalid recording, the error is *returned* and not raised: the caller
            raises it, or skips this row only.

        Raises
        ------
        LayoutError
            A file is damaged, so that none of its recordings can be used.
        SourceChangedError
            A file changed or was deleted after it was hashed or opened.
        SourceError
            A file cannot be read.
        MissingExtraError
            A library that a file needs is not installed.
        IndexError
            The rows do not exist.
        """

    def read_block(self, start: int, stop: int) -> EventBlock:
        """Return the same recordings as `read`, but as columns, which is faster.

        Parameters
        ----------
        start, stop : int
            Rows, ``0 <= start <= stop <= len(self)``.

        Returns
        -------
        EventBlock
            The recordings. Its `errors` are the errors that `read` returns. Invalid recordings have no events in the columns,
            so every event in the columns is valid. Do not write to the arrays, because other blocks may share them. All blocks
            with events have the same `time_type`.

        Raises
        ------
        LayoutError, SourceChangedError, SourceError, MissingExtraError, IndexError
            The same errors as those of `read`.
        """
