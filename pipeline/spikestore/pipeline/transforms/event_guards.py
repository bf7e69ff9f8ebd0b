"""Checks of the events of a recording before a transform and before ``ToFrame``.

Tonic does not check events: unsorted times cause wrong frames, negative coordinates wrap around, narrow
or unsigned integers overflow, and NaN results in undefined frames. These functions reject such events, and name the
recording and the event:

1. `widen` makes a copy with integers as int64, so that nothing overflows.
   Floating-point times keep their dtype, because Tonic computes in the dtype of the times.
2. `put_in_order` rejects times that are not finite. Unsorted times are sorted if `sort` is true, else rejected.
3. `check_not_negative` rejects negative coordinates before ``Downsample``, which could truncate them to 0.
4. `check_scaling` rejects a ``Downsample`` or ``TimeSkew`` whose results exceed int64.
5. `check_frameable` rejects events that ``ToFrame`` cannot count: outside the sensor, or with a time out of range.

In messages, events are numbered from 0 in the order of the file, also after sorting or cropping. No function changes
its arguments.
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
from spikestore.store_schemas.specs.operations import EventDownsampling

LATEST_TIME = 2**62
"""Limit of integer times for ``ToFrame`` (± µs; 146,000 years): differences then fit int64."""

_INT64_END = 2**63


@dataclass(frozen=True, slots=True)
class Origin:
    """The recording from which some events come; messages use it to give an event's number in the file.

    Attributes
    ----------
    name : str
        Name of the recording in messages, such as ``ssc_train.h5: recording 17``.
    events : structured array, shape (n_events,)
        The recording as it was read.
    order : int64 array, shape (n,), optional
        Numbers (in the file) of the n events that remain after filtering, in the order of the sorted events; None if
        these numbers are 0, 1, 2 and so on.
    """

    name: str
    events: Events
    order: npt.NDArray[np.int64] | None = None

    def number(self, place: int) -> int:
        """Return the number of an event in the file, from 0; `place` is its index in the sorted events."""
        return place if self.order is None else int(self.order[place])

    def numbers(self, count: int) -> npt.NDArray[np.int64]:
        """For each of the first `count` sorted events, return its number in the file, from 0: int64."""
        return np.arange(count) if self.order is None else self.order[:count]

    def filtered(self, kept: npt.NDArray[np.bool_]) -> Origin:
        """Return the `Origin` of the events for which `kept` is true; each event keeps its number in the file."""
        return Origin(self.name, self.events, self.numbers(len(kept))[kept])

    def error(self, place: int, field: str, found: object, problem: str) -> RecordingError:
        """Return the error for a `problem` in a `field` of the event at index `place`."""
        event = self.number(place)
        read = self.events[field][event].item()
        value = f"{found}" if read == found or read != read else f"{found} ({read} as read)"
        return _error(self.name, event, field, f"{value} {problem}")


def widen(events: Events, *, name: str, has_y: bool) -> Events:
    """Return a copy of events with only the fields that transforms use, in types whose arithmetic does not overflow.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Fields ``t`` (µs), ``x``, ``y`` if and only if `has_y`, and ``p``, in any order; other fields are dropped.
    name : str
        Name of the recording in messages.
    has_y : bool
        Whether the recordings of this source have a ``y``.

    Returns
    -------
    structured array, shape (n_events,)
        ``t`` as int64, or in its own floating-point type; ``x``, ``y``, ``p`` as int64.

    Raises
    ------
    RecordingError
        `events` is not a structured array; a field is missing or not numeric; there is a ``y`` without `has_y`; a value exceeds int64; a polarity is fractional;
        or coordinates are floating-point numbers, with which Tonic's ``ToFrame`` cannot index.
    """
    array: object = events  # callers may pass other types
    present = array.dtype.names if isinstance(array, np.ndarray) and array.ndim == 1 else None
    if present is None:
        raise RecordingError(f"{name}: events must be a one-dimensional structured array", recording=name)
    wanted = ("t", "x", "y", "p") if has_y else ("t", "x", "p")
    if {"t", "x", "y", "p"}.intersection(present) != set(wanted):
        problem = f"events must have the fields {', '.join(wanted)}, got {', '.join(present)}"
        raise RecordingError(f"{name}: {problem}", recording=name)
    columns = {field: _column(events[field], field, name) for field in wanted}
    wide = np.empty(len(events), dtype=[(field, column.dtype) for field, column in columns.items()])
    for field, column in columns.items():
        wide[field] = column
    return wide


def put_in_order(
    events: Events, *, name: str, sort: bool = False, times: npt.NDArray[np.float64] | None = None
) -> tuple[Events, npt.NDArray[np.int64] | None]:
    """Return events in the order of time; raise an error if times are not finite, or if they are unsorted and `sort` is false.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Result of `widen`.
    name : str
        Name of the recording in messages.
    sort : bool
        Sort by time (stable) instead of rejecting unsorted times.
    times : float64 array, shape (n_events,), optional
        Exact times of the events in µs, if their ``t`` is rounded down. The checks and the sorting use these times instead of ``t``.

    Returns
    -------
    events : structured array, shape (n_events,)
        Events in the order of time; the same array if it is sorted already.
    order : int64 array, shape (n_events,), or None
        For each returned event, its position in the argument `events`; None if `events` is sorted already.

    Raises
    ------
    RecordingError
        A time is NaN or infinite; or, without `sort`, a time is earlier than the time before it.
    """
    t, origin = events["t"] if times is None else times, Origin(name, events)
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
    """Raise if a coordinate is negative, because ``Downsample`` could turn it into a valid coordinate.

    Raises
    ------
    RecordingError
        An ``x`` or ``y`` is negative; the message names the first such event.
    """
    for field in sorted({"x", "y"}.intersection(events.dtype.names or ())):
        _refuse(events[field] < 0, events, field, origin, "is negative")


def check_scaling(events: Events, factors: dict[str, float], *, origin: Origin, offset: float = 0) -> None:
    """Raise if int64 cannot hold an integer value multiplied by the factor of its field, plus `offset`.

    `factors` has the factor of each field; fields that the events lack are ignored. Floating-point values are not checked:
    their results become infinite, and `check_frameable` rejects infinite times.

    Raises
    ------
    RecordingError
        A result exceeds int64.
    """
    for field, factor in factors.items():
        if field not in (events.dtype.names or ()) or events[field].dtype.kind == "f":
            continue
        for place in (int(np.argmin(events[field])), int(np.argmax(events[field]))):
            value = events[field][place].item()
            if abs(value * factor + offset) >= _INT64_END:
                product = f"times {factor} plus {offset}" if offset else f"times {factor}"
                raise origin.error(place, field, value, f"{product} exceeds a signed 64-bit integer")


def check_pixels(events: Events, largest: int, *, origin: Origin) -> None:
    """Raise an error if a coordinate exceeds `largest`, the largest coordinate that a filter of pixels supports.

    Raises
    ------
    RecordingError
        An ``x`` or ``y`` is too large; the message names the first such event.
    """
    for field in sorted({"x", "y"}.intersection(events.dtype.names or ())):
        problem = f"is too large for a filter by pixel: {field} must be from 0 to {largest}"
        _refuse(events[field] > largest, events, field, origin, problem)


def check_integrable(events: Events, spec: EventDownsampling, *, origin: Origin) -> None:
    """Raise an error if there are events that ``EventDownsampling`` cannot integrate.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Sorted by time, at least one.
    spec : EventDownsampling
        The operation.
    origin : Origin
        The recording of the events, for messages.

    Raises
    ------
    RecordingError
        A time is not an integer or is out of range, an event is outside the sensor, or, with ``differentiator_time_bins``, no
        time is greater than ``spec.step`` (µs).
    """
    if events["t"].dtype.kind == "f":
        problem = f"{origin.name}: {spec.op} needs whole times in µs, got {events['t'].dtype}"
        raise RecordingError(problem, recording=origin.name, field="t")
    _check_inside(events, (*spec.sensor_size, 2), ("x", "y", "p"), origin)
    check_times(events, origin=origin)
    last = len(events) - 1
    if spec.differentiator_time_bins is not None and events["t"][last] <= spec.step:
        problem = f"µs is the last time, and {spec.op} needs one after its first step, {spec.step:g} µs"
        raise origin.error(last, "t", events["t"][last].item(), problem)


def check_frameable(events: Events, sensor_size: Sequence[int], *, origin: Origin) -> None:
    """Raise if there are events that ``ToFrame`` cannot count.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        At least one event; sorted by time.
    sensor_size : sequence of int
        Tonic's (x, y, p). If the sensor has one polarity, all events must have the same ``p``, which may be any number.
    origin : Origin
        The recording of the events, for messages.

    Raises
    ------
    RecordingError
        An event is outside the sensor, a sensor with one polarity has events of two polarities, or a time is out of range.
    """
    _check_inside(events, sensor_size, ("x", "y"), origin)
    p, polarities = events["p"], sensor_size[2]
    if polarities == 1:
        problem = f"differs from p = {p[0]} of the first event, but the sensor has one polarity"
        _refuse(p != p[0], events, "p", origin, problem)
    else:
        _check_inside(events, sensor_size, ("p",), origin)
    check_times(events, origin=origin)


def check_times(events: Events, *, origin: Origin) -> None:
    """Check that all times of sorted events are finite and within ±`LATEST_TIME`.

    Raises
    ------
    RecordingError
        The first or the last time is out of range.
    """
    first, last = events["t"][0].item(), events["t"][-1].item()
    for place, time in ((0, first), (len(events) - 1, last)):
        if not (math.isfinite(time) and abs(time) < LATEST_TIME):
            raise origin.error(place, "t", time, "µs is out of range: times must be within ±2^62 µs")


def _check_inside(events: Events, sensor_size: Sequence[int], fields: Sequence[str], origin: Origin) -> None:
    for field in fields:
        if field in (events.dtype.names or ()):
            size = sensor_size["xyp".index(field)]
            outside = (events[field] < 0) | (events[field] >= size)
            problem = f"is outside the sensor: {field} must be from 0 to {size - 1}"
            _refuse(outside, events, field, origin, problem)


def _column(values: npt.NDArray[Any], field: str, name: str) -> npt.NDArray[Any]:
    """Return a field as int64, or in its own floating-point type with native byte order."""
    kind = values.dtype.kind
    if values.ndim == 1 and (kind in "iu" or (kind == "b" and field == "p")):
        if values.dtype == np.uint64 and (beyond := values >= np.uint64(_INT64_END)).any():
            place = int(np.argmax(beyond))
            raise _error(name, place, field, f"{values[place]} exceeds a signed 64-bit integer")
        return values.astype(np.int64)
    # Types wider than float64 differ between platforms, but a key must mean the same result everywhere.
    if values.ndim == 1 and kind == "f" and field == "t" and values.dtype.itemsize <= 8:
        return values.astype(values.dtype.newbyteorder("="))
    if values.ndim == 1 and kind == "f" and field == "p":
        whole = (np.trunc(values) == values) & (abs(values) < _INT64_END)
        if not whole.all():
            place = int(np.argmin(whole))
            raise _error(name, place, field, f"{values[place]} is not a whole number")
        return values.astype(np.int64)
    kinds = "integers or floating-point numbers" if field == "t" else "integers"
    problem = f"field {field} must have {kinds}, got {values.dtype}"
    raise RecordingError(f"{name}: {problem}", recording=name, field=field)


def _error(name: str, event: int, field: str, problem: str) -> RecordingError:
    message = f"{name}, event {event}: {field} = {problem}"
    return RecordingError(message, recording=name, event=event, field=field)


def _refuse(wrong: npt.NDArray[np.bool_], events: Events, field: str, origin: Origin, problem: str) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        raise origin.error(place, field, events[field][place].item(), problem)
