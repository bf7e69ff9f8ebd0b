"""What must hold of events before Tonic sees them, and before they are framed.

Tonic takes whatever it is given: unsorted times give wrong frames, negative coordinates wrap around, narrow or
unsigned integers overflow, NaN is garbage, and all that without a word. These functions say no instead, and name
the recording and the event. What they let through, Tonic transforms as it always does:

1. `widen` makes the one private copy, with integers as int64, so that nothing overflows and nothing that
   belongs to the caller is written to. Floating-point times keep their precision: Tonic computes in it.
2. `put_in_order` refuses times that are not finite or not sorted (or sorts them).
3. `check_not_negative` looks at coordinates before ``Downsample``, which truncates -0.5 to a legal 0.
4. `check_scaling` refuses a ``Downsample`` whose products leave int64.
5. `check_frameable` refuses what ``ToFrame`` can't count: outside the sensor, or times out of reach.

Events are numbered from 0 as they were read, whatever was sorted or cropped since. The functions are pure: they
change none of their arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events
from spikestore.store_schemas.errors import RecordingError

LATEST_TIME = 2**62
"""Integer times that reach ``ToFrame`` lie within ± this (µs; 146,000 years): spans then stay within int64."""

_INT64_END = 2**63


@dataclass(frozen=True, slots=True)
class Origin:
    """Where events come from, to call them by the numbers that they were read under.

    Attributes
    ----------
    name : str
        How to call the recording in messages, such as ``recording 17 of ssc_train.h5``.
    events : structured array, shape (n_events,)
        The recording as it was read.
    order : int64 array, shape (n_events,), optional
        Number as read of each event, where the recording was sorted.
    first : int
        How many events were cropped in front of those that are left.
    """

    name: str
    events: Events
    order: npt.NDArray[np.int64] | None = None
    first: int = 0

    def number(self, place: int) -> int:
        """Return the number as read of the event that now has this `place`."""
        place += self.first
        return place if self.order is None else int(self.order[place])

    def error(self, place: int, field: str, found: object, problem: str) -> RecordingError:
        """Return the error that one event has a `problem` in one `field`."""
        event = self.number(place)
        read = self.events[field][event].item()
        value = f"{found}" if read == found or read != read else f"{found} ({read} as read)"
        return _error(self.name, event, field, f"{value} {problem}")


def widen(events: Events, *, name: str, has_y: bool) -> Events:
    """Copy events into the fields that transforms use, in types whose arithmetic does not overflow.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Fields ``t`` (µs), ``x``, ``y`` where `has_y`, and ``p``, in any order; other fields are left behind.
    name : str
        How to call the recording.
    has_y : bool
        Whether the recordings of this source have a ``y``.

    Returns
    -------
    structured array, shape (n_events,)
        ``t`` as int64, or as the floating-point type that it had; ``x``, ``y``, ``p`` as int64.

    Raises
    ------
    RecordingError
        No such array, a field missing or of a type that is no number, a value beyond int64, or a polarity that
        is not whole. Fractional coordinates are refused as a type: Tonic's ``ToFrame`` can't index with them.
    """
    array: object = events  # a caller without a type checker may hand over anything
    present = array.dtype.names if isinstance(array, np.ndarray) and array.ndim == 1 else None
    if present is None:
        raise RecordingError(f"{name}: events are not a one-dimensional structured array", recording=name)
    wanted = ("t", "x", "y", "p") if has_y else ("t", "x", "p")
    if {"t", "x", "y", "p"}.intersection(present) != set(wanted):
        problem = f"events should have the fields {', '.join(wanted)}, found {', '.join(present)}"
        raise RecordingError(f"{name}: {problem}", recording=name)
    columns = {field: _column(events[field], field, name) for field in wanted}
    wide = np.empty(len(events), dtype=[(field, column.dtype) for field, column in columns.items()])
    for field, column in columns.items():
        wide[field] = column
    return wide


def put_in_order(
    events: Events, *, name: str, sort: bool = False
) -> tuple[Events, npt.NDArray[np.int64] | None]:
    """Check that times are finite and sorted, or sort them.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        As `widen` returns them.
    name : str
        How to call the recording.
    sort : bool
        Sort by time (stable) instead of refusing what is not sorted.

    Returns
    -------
    events : structured array, shape (n_events,)
        In the order of time; the same array if it was so already.
    order : int64 array, shape (n_events,), or None
        Number as read of each event, if they had to be sorted.

    Raises
    ------
    RecordingError
        A time is NaN or infinite, or earlier than the one before it.
    """
    t, origin = events["t"], Origin(name, events)
    if t.dtype.kind == "f" and not (finite := np.isfinite(t)).all():
        place = int(np.argmin(finite))
        raise origin.error(place, "t", t[place].item(), "is not a time")
    backwards = t[1:] < t[:-1]
    if not backwards.any():
        return events, None
    if not sort:
        place = int(np.argmax(backwards)) + 1
        problem = f"µs comes after {t[place - 1].item()} µs: times are not sorted (sort = true in the source sorts them)"
        raise origin.error(place, "t", t[place].item(), problem)
    order = np.argsort(t, kind="stable").astype(np.int64, copy=False)
    return events[order], order


def check_not_negative(events: Events, *, origin: Origin) -> None:
    """Refuse negative coordinates: no sensor has them, and ``Downsample`` could hide them.

    Raises
    ------
    RecordingError
        An ``x`` or ``y`` is negative; the first such event is named.
    """
    for field in sorted({"x", "y"}.intersection(events.dtype.names or ())):
        _refuse(events[field] < 0, events, field, origin, "is negative")


def check_scaling(events: Events, factors: dict[str, float], *, origin: Origin) -> None:
    """Refuse products that an int64 can't hold, before Tonic's ``Downsample`` forms them.

    `factors` holds the factor of each field; fields that the events lack are ignored.

    Raises
    ------
    RecordingError
        A product lies beyond int64 (floating-point times become infinite, which `check_frameable` finds).
    """
    for field, factor in factors.items():
        if field not in (events.dtype.names or ()) or events[field].dtype.kind == "f":
            continue
        for place in (int(np.argmin(events[field])), int(np.argmax(events[field]))):
            value = events[field][place].item()
            if abs(value * factor) >= _INT64_END:
                raise origin.error(place, field, value, f"times {factor} is beyond 64 bits")


def check_frameable(events: Events, sensor_size: Sequence[int], *, origin: Origin) -> None:
    """Refuse events that ``ToFrame`` can't count as they are.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Sorted by time, at least one.
    sensor_size : sequence of int
        Tonic's (x, y, p). With one polarity any value of ``p`` will do, if all events have the same.
    origin : Origin
        What to call the events.

    Raises
    ------
    RecordingError
        Outside the sensor, two polarities where the sensor has one, or a span of time that can't be computed.
    """
    for field in sorted({"x", "y"}.intersection(events.dtype.names or ())):
        size = sensor_size["xyp".index(field)]
        outside = (events[field] < 0) | (events[field] >= size)
        _refuse(outside, events, field, origin, f"is outside the sensor, which has 0 to {size - 1}")
    p, polarities = events["p"], sensor_size[2]
    if polarities == 1:
        problem = f"differs from {p[0]} before it, and the sensor has one polarity"
        _refuse(p != p[0], events, "p", origin, problem)
    else:
        outside = (p < 0) | (p >= polarities)
        _refuse(outside, events, "p", origin, f"is outside the sensor, which has 0 to {polarities - 1}")
    # Sorted, so the two ends bound the rest.
    first, last = events["t"][0].item(), events["t"][-1].item()
    for place, time in ((0, first), (len(events) - 1, last)):
        if not (math.isfinite(time) and abs(time) < LATEST_TIME):
            raise origin.error(place, "t", time, "µs is out of reach: times lie within ±2^62 µs")


def _column(values: npt.NDArray[Any], field: str, name: str) -> npt.NDArray[Any]:
    """Return one field as int64, or as the native floating-point type that it has."""
    kind = values.dtype.kind
    if values.ndim == 1 and (kind in "iu" or (kind == "b" and field == "p")):
        if values.dtype == np.uint64 and (beyond := values >= np.uint64(_INT64_END)).any():
            place = int(np.argmax(beyond))
            raise _error(name, place, field, f"{values[place]} is beyond a signed 64-bit integer")
        return values.astype(np.int64)
    # Beyond float64 types differ between platforms, and a key has to mean one result.
    if values.ndim == 1 and kind == "f" and field == "t" and values.dtype.itemsize <= 8:
        return values.astype(values.dtype.newbyteorder("="))
    if values.ndim == 1 and kind == "f" and field == "p":
        whole = (np.trunc(values) == values) & (abs(values) < _INT64_END)
        if not whole.all():
            place = int(np.argmin(whole))
            raise _error(name, place, field, f"{values[place]} is not a whole number")
        return values.astype(np.int64)
    kinds = "integers or floating-point numbers" if field == "t" else "integers"
    problem = f"{field} is {values.dtype}, events need {kinds}"
    raise RecordingError(f"{name}: {problem}", recording=name, field=field)


def _error(name: str, event: int, field: str, problem: str) -> RecordingError:
    message = f"{name}, event {event}: {field} = {problem}"
    return RecordingError(message, recording=name, event=event, field=field)


def _refuse(wrong: npt.NDArray[np.bool_], events: Events, field: str, origin: Origin, problem: str) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        raise origin.error(place, field, events[field][place].item(), problem)
