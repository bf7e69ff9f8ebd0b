"""A block of recordings that a reader returns: columns instead of structured arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events, Recording
from spikestore.store_schemas.errors import RecordingError

FEW_EVENTS = 2_000_000
"""Number of events below which a set is built without compiled code: NumPy takes half a second for them, and numba takes a
second to start."""


def are_few(n_events: int) -> bool:
    """Return whether a set with this many events is built faster without compiled code."""
    return n_events < FEW_EVENTS


TimeType = Literal["float16", "floating-point", "integer"]
"""Type of the times of a block: float16 as in the file, with a `time_table`; or floating-point numbers or integers in µs."""


@dataclass(frozen=True, slots=True, eq=False)
class EventBlock:
    """Consecutive recordings as columns of their events.

    Attributes
    ----------
    first_row : int
        Row of the first recording in the source.
    offsets : int64 array, shape (recordings + 1,)
        Start of each recording's events in the columns, and the end of the last recording.
    t : array, shape (events,)
        Time stamps: integers or floats in µs; if there is a `time_table`, uint16 codes.
    time_table : int64 array, shape (65536,), or None
        Time in µs of each code, for files with float16 times: a code is the bit pattern of a float16. If a code is not a valid
        time, its entry is `NO_TIME`.
    x : integer array, shape (events,)
        Coordinates x.
    y : integer array, shape (events,), or None
        Coordinates y; None if the sensor has no y.
    p : integer or bool array, shape (events,), or None
        Polarities; None if all polarities are 1.
    labels : int64 array, shape (recordings,)
        Class numbers.
    extras : mapping of str to int64 array, shape (recordings,) each
        Optional columns of the reader, such as ``speaker``.
    errors : mapping of int to RecordingError
        Errors of invalid recordings, by row; these recordings have no events in the columns.
    """

    first_row: int
    offsets: npt.NDArray[np.int64]
    t: npt.NDArray[Any]
    time_table: npt.NDArray[np.int64] | None
    x: npt.NDArray[Any]
    y: npt.NDArray[Any] | None
    p: npt.NDArray[Any] | None
    labels: npt.NDArray[np.int64]
    extras: Mapping[str, npt.NDArray[np.int64]]
    errors: Mapping[int, RecordingError]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def time_type(self) -> TimeType:
        """Type of the times; see `TimeType`."""
        if self.time_table is not None:
            return "float16"
        return "floating-point" if self.t.dtype.kind == "f" else "integer"

    def recordings(self, event: np.dtype[np.void]) -> list[Recording | RecordingError]:
        """Return each recording, or its error, as `spikestore.pipeline.readers.reader.Reader.read` does.

        Parameters
        ----------
        event : dtype
            Tonic's dtype of an event, with fields t, x, p and, if the sensor has it, y.
        """
        rows = range(self.first_row, self.first_row + len(self))
        return [self.errors.get(row) or self._recording(row, event) for row in rows]

    def _recording(self, row: int, event: np.dtype[np.void]) -> Recording:
        place = row - self.first_row
        events_of_row = slice(self.offsets[place], self.offsets[place + 1])
        events: Events = np.empty(events_of_row.stop - events_of_row.start, event)
        for field in event.names or ():
            column = getattr(self, field)
            events[field] = 1 if column is None else column[events_of_row]
        if self.time_table is not None:
            events["t"] = self.time_table[self.t[events_of_row]]
        extras = {name: int(column[place]) for name, column in self.extras.items()}
        return Recording(row, events, int(self.labels[place]), extras)


NO_TIME = np.iinfo(np.int64).min
"""Entry of a time table for a code that is not a valid time: NaN, infinite, or too large."""
