"""Conversion of the stored columns of cochlea recordings to an `EventBlock`, which has an error for each invalid recording.

1. Each check runs on the whole block at once; only rows that fail are checked again one by one.
2. The error of a row is its first problem, in this order: unreadable, lengths, label, further columns, times, channels.
3. The events of invalid rows are removed, so every remaining event is valid: its time is finite, and its channel exists.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.cochlea_files.sequences import Sequences, offsets_of
from spikestore.pipeline.readers.event_block import NO_TIME, EventBlock
from spikestore.store_schemas.errors import RecordingError

CHANNELS = 700

Problem = Callable[..., RecordingError]
"""Called as ``(row, problem, **details)``; returns the error of a recording."""

_TOO_LATE = 2.0**63
"""Times from here on, in µs, exceed int64. A finite float16 is always smaller; other types can be larger."""
_LARGEST_EXTRA = 2**31 - 1
"""Largest absolute value that the store's columns can hold; the smallest int32 is reserved."""
_INFINITY = 0x7C00
"""Bit pattern of the float16 infinity. A pattern is NaN if it is larger than this one after its sign bit is cleared."""


def cochlea_block(
    first_row: int,
    times: Sequences,
    units: Sequences,
    labels: npt.NDArray[np.int64],
    extras: Mapping[str, npt.NDArray[np.int64]],
    *,
    n_classes: int,
    problem: Problem,
    unreadable: Mapping[int, str] | None = None,
) -> EventBlock:
    """Return recordings as an `EventBlock`, with an error for each invalid recording.

    Parameters
    ----------
    first_row : int
        Row of the first recording.
    times : Sequences
        Times in s, of a floating-point type. The caller must not change them later.
    units : Sequences
        Channels, of an integer type. The caller must not change them later.
    labels : int64 array, shape (recordings,)
        Class numbers.
    extras : mapping of str to int64 array, shape (recordings,) each
        Further columns.
    n_classes : int
        Number of classes; each label must be smaller than this number.
    problem : callable
        Returns the error of a recording.
    unreadable : mapping of int to str, optional
        Reason, by row, why a recording could not be read; such recordings have no events in `times` and `units`.
    """
    errors: dict[int, RecordingError] = {}

    def report(place: int, why: str, **details: int) -> None:
        row = first_row + place
        if row not in errors:
            errors[row] = problem(row, why, **details)

    for row, why in (unreadable or {}).items():
        report(row - first_row, why)
    for place in np.flatnonzero(times.lengths != units.lengths).tolist():
        report(place, f"{times.lengths[place]} times but {units.lengths[place]} units")
    for place in np.flatnonzero((labels < 0) | (labels >= n_classes)).tolist():
        label = int(labels[place])
        report(place, f"label {label} is not one of the {n_classes} classes", label=label)
    for name, column in extras.items():
        for place in np.flatnonzero((column < -_LARGEST_EXTRA) | (column > _LARGEST_EXTRA)).tolist():
            report(place, f"{name} is {column[place]}, which is beyond int32")
    t, table, illegal = _in_microseconds(times.values)
    for place, event, at in _first_in_rows(illegal, times):
        report(place, f"the time of event {event} is {times.values[at]} s", event=event)
    for place, event, at in _first_in_rows(_outside(units.values), units):
        why = f"event {event} is in channel {units.values[at]}, channels are 0 to {CHANNELS - 1}"
        report(place, why, event=event)

    x, lengths = units.values, units.lengths
    if errors:
        good = np.ones(len(labels), bool)
        good[[row - first_row for row in errors]] = False
        t, x = t[np.repeat(good, times.lengths)], x[np.repeat(good, units.lengths)]
        lengths = np.where(good, lengths, 0)
    return EventBlock(first_row, offsets_of(lengths), t, table, x, None, None, labels, extras, errors)


@functools.cache
def float16_table() -> npt.NDArray[np.int64]:
    """Return the time in µs of each bit pattern of a float16 in seconds; `NO_TIME` for a bit pattern that is not finite.

    Seconds are widened to float64 first, as Tonic does: a float16 multiplied by 10^6 would overflow (tonic issue 321).

    Returns
    -------
    int64 array, shape (65536,)
        Times in µs. The array is not writable, because the result is cached.
    """
    seconds = np.arange(2**16, dtype=np.uint16).view(np.float16)
    table = np.full(2**16, NO_TIME, np.int64)
    finite = np.isfinite(seconds)
    table[finite] = seconds[finite].astype(np.float64) * 1e6
    table.flags.writeable = False
    return table


def _in_microseconds(
    seconds: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64] | None, npt.NDArray[np.int64]]:
    """Return the times and the time table as an `EventBlock` stores them, and the positions of invalid times (infinite, not a number, or beyond int64).

    For float16, the times are bit patterns (uint16), and the table has the time in µs of each bit pattern. For other types, the times
    are in µs (int64), and the table is None.
    """
    if seconds.dtype == np.float16:
        codes = seconds.view(np.uint16)
        # For each sign, infinity is the smallest illegal code, so two maxima suffice, and the column is not copied. Without
        # negative times, the first maximum suffices.
        largest = int(codes.max(initial=0))
        if largest < _INFINITY or (largest < 0x8000 + _INFINITY and codes.view(np.int16).max() < _INFINITY):
            return codes, float16_table(), np.zeros(0, np.int64)
        return codes, float16_table(), np.flatnonzero((codes & 0x7FFF) >= _INFINITY)
    with np.errstate(over="ignore", invalid="ignore"):
        microseconds = seconds.astype(np.float64) * 1e6
        illegal = np.flatnonzero(~(np.abs(microseconds) < _TOO_LATE))
        return microseconds.astype(np.int64), None, illegal


def _outside(units: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if not len(units) or (units.max() < CHANNELS and (units.dtype.kind == "u" or units.min() >= 0)):
        return np.zeros(0, np.int64)
    return np.flatnonzero((units >= CHANNELS) | (units < 0))


def _first_in_rows(places: npt.NDArray[np.int64], column: Sequences) -> list[tuple[int, int, int]]:
    """Return the first of `places` in each row, as (row in the block, event in the row, place). Rows without a place are left out.

    `places` are ascending positions in the values of `column`.
    """
    if not len(places):
        return []
    offsets = column.offsets()
    rows, first = np.unique(np.searchsorted(offsets, places, "right") - 1, return_index=True)
    return [(int(row), int(at - offsets[row]), int(at)) for row, at in zip(rows, places[first], strict=True)]
