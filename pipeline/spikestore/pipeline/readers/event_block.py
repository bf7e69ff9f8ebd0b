"""A block of recordings that a reader returns: columns instead of structured arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.errors import RecordingError

FEW_EVENTS = 2_000_000
"""Number of events below which a set is built without compiled code: NumPy takes half a second for them, and numba a whole
one to start."""


def are_few(n_events: int) -> bool:
    """Return whether a set with this many events is built faster without compiled code."""
    return n_events < FEW_EVENTS


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
        Time stamps: integers or floats in µs; or, with `time_table`, uint16 codes.
    time_table : int64 array, shape (65536,), or None
        Time in µs of each code, for files with float16 times, whose bit patterns are the codes. The entry is `NO_TIME`
        if a code is not a valid time.
    x : integer array, shape (events,)
        Coordinates x.
    y : integer array, shape (events,), or None
        Coordinates y; None if the sensor has none.
    p : integer or bool array, shape (events,), or None
        Polarities; None if all are 1.
    labels : int64 array, shape (recordings,)
        Class numbers.
    extras : mapping of str to int64 array, shape (recordings,) each
        Optional columns of the reader, such as ``speaker``.
    errors : mapping of int to RecordingError
        Errors of invalid recordings, by row; the events of these recordings may be missing here.
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


NO_TIME = np.iinfo(np.int64).min
"""Entry of a time table for a code that is not a valid time: NaN, infinite, or too large."""
