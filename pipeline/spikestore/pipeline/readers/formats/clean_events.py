"""Conversion of a file's events to columns of integers, with times in µs. The file may have any field names, dtypes and units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.formats.events import EventColumns, is_vector, refuse
from spikestore.pipeline.readers.formats.format import RawEvents, columns_of
from spikestore.store_schemas.specs.folder import Decoding, EventField

_USUAL: Mapping[EventField, tuple[str, ...]] = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "unit", "units", "channel", "channels", "address", "addr"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
"""Names of fields that are recognised, in lower and upper case."""

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LATEST = 2**62
_CLOCKS = (23, 24, 32)
"""Numbers of bits of the clocks that start again from 0, in cameras and file formats."""


def field_named(name: str) -> EventField | None:
    """Return the field that a column with this name contains, or None if the name is unknown."""
    return next((field for field, usual in _USUAL.items() if name.lower() in usual), None)


def clean_events(raw: RawEvents, decoding: Decoding) -> EventColumns:
    """Return the events of a file with the field names, dtypes and units that transforms need.

    Returns
    -------
    EventColumns
        ``t`` as int64 in µs; ``x`` and ``y`` as int32; ``p`` as uint8, 0 or 1. ``y`` is None if the file has no coordinates y;
        ``p`` is None if the file has no polarities.

    Raises
    ------
    ValueError
        A field is missing, is in two columns, or is not a vector of numbers; fields differ in length; the times look like those of
        a clock that overflowed, and ``clock_bits`` of `decoding` is None; or a value is invalid, and the message names its event.
    """
    columns = name_fields(raw, decoding)
    for field, values in columns.items():
        if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
            raise ValueError(f"{field} holds {values.dtype}, should hold numbers")
    lengths = {field: len(values) for field, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "the fields differ in length: " + ", ".join(f"{field} has {n}" for field, n in lengths.items())
        )
    y, p = columns.get("y"), columns.get("p")
    return EventColumns(
        _microseconds(columns["t"], decoding),
        _coordinates("x", columns["x"]),
        None if y is None else _coordinates("y", y),
        None if p is None else _polarities(p),
    )


def name_fields(raw: RawEvents, decoding: Decoding) -> dict[EventField, npt.NDArray[Any]]:
    """Return the columns of a file by field: t and x, and, if the file has them, y and p. Raise ValueError if a field is missing or two columns can be the same field."""
    named = raw if isinstance(raw, Mapping) else columns_of(raw)
    if not isinstance(named, Mapping):
        if named.ndim != 2:
            raise ValueError(f"the array has shape {named.shape}, should have (events, columns)")
        named = {str(number): column for number, column in enumerate(named.T)}
    if named and all(name.isdigit() for name in named):
        return _in_order(named, decoding)
    columns: dict[EventField, npt.NDArray[Any]] = {}
    for field in _USUAL:
        given = decoding.names.get(field)
        matching = [name for name in named if (name == given if given else field_named(name) == field)]
        if len(matching) > 1:
            raise ValueError(
                f"{' and '.join(matching)} can both mean {field}: set names under [source.folder]"
            )
        if matching:
            columns[field] = _vector(matching[0], named[matching[0]])
        elif given or field in ("t", "x"):
            raise ValueError(
                f"no column is called {given or field}; the columns are {', '.join(named) or 'none'}: set names under [source.folder], "
                f'such as names = {{ {field} = "{next(iter(named), "column")}" }}'
            )
    return columns


def _in_order(
    named: Mapping[str, npt.NDArray[Any]], decoding: Decoding
) -> dict[EventField, npt.NDArray[Any]]:
    count = len(named)
    if not decoding.order:
        raise ValueError(
            f'the {count} columns have no names: set fields under [source.folder], such as fields = ["x", "y", "p", "t"]'
        )
    if len(decoding.order) != count:
        raise ValueError(
            f"there are {count} columns, fields under [source.folder] lists {len(decoding.order)}"
        )
    fields = zip(decoding.order, named.values(), strict=True)
    return {field: values for field, values in fields if field != "-"}  # type: ignore[misc]


def _vector(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not is_vector(values):
        raise ValueError(f"{name} has the shape {values.shape}, should have (events,)")
    return values.ravel()


def _coordinates(field: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    wrong = ~(np.abs(values.astype(np.float64)) < 2.0**31)
    if values.dtype.kind == "f":
        wrong |= np.trunc(values) != values
    refuse(wrong, field, values, "is not a valid coordinate")
    return values.astype(np.int32)


def _polarities(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    # If a polarity of a file is -1, its polarities are -1 and 1, else 0 and 1.
    lower = -1 if values.dtype.kind != "b" and (values == -1).any() else 0
    refuse(
        (values != lower) & (values != 1),
        "p",
        values,
        f"should be {lower} or 1, as other events of the file are",
    )
    return (values > 0).astype(np.uint8)


def _microseconds(values: npt.NDArray[Any], decoding: Decoding) -> npt.NDArray[np.int64]:
    if values.dtype.kind == "b":
        raise ValueError("t holds bool, should hold numbers")
    if values.dtype.kind == "f":
        refuse(~np.isfinite(values), "t", values, "is not a time")
        if decoding.clock_bits is None:
            seconds = values.astype(np.float64)
            if (np.abs(seconds) < _LATEST).all() and (
                np.trunc(seconds) == seconds
            ).all():  # as MATLAB stores ticks
                _refuse_wrapped(seconds.astype(np.int64))
            if decoding.offset == "first_event" and len(seconds):
                seconds = seconds - seconds.min()
            scaled = np.rint(seconds * (10**6 / _PER_SECOND[decoding.time_unit]))
            refuse(~(np.abs(scaled) < _LATEST), "t", values, f"{decoding.time_unit} is not a time")
            return scaled.astype(np.int64)
        refuse(np.trunc(values) != values, "t", values, "is not a whole number, which clock_bits needs")
    refuse(np.abs(values.astype(np.float64)) >= _LATEST, "t", values, "is beyond 62 bits")
    ticks = values.astype(np.int64)
    ticks = _refuse_wrapped(ticks) if decoding.clock_bits is None else _unwrapped(ticks, decoding.clock_bits)
    if decoding.offset == "first_event" and len(ticks):
        ticks = ticks - ticks.min()
    factor = 10**6 // _PER_SECOND[decoding.time_unit]
    if factor == 0:
        return (ticks + 500) // 1000  # ns
    refuse(np.abs(ticks) > _LATEST // factor, "t", values, f"{decoding.time_unit} is beyond 62 bits of µs")
    return ticks * factor


def _refuse_wrapped(ticks: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `ticks` unchanged; raise ValueError if they look like times of a clock that started again from 0."""
    if len(ticks) > 1 and ticks.min() >= 0:
        for bits in _CLOCKS:
            margin = 2 ** (bits - 7)
            fell = (
                (ticks[:-1] >= 2**bits - margin) & (ticks[1:] < margin)
                if ticks.max() < 2**bits
                else np.zeros(0, bool)
            )
            if fell.any():
                event = int(np.argmax(fell)) + 1
                raise ValueError(
                    f"event {event}: t falls from {ticks[event - 1]} to {ticks[event]}, because a clock of {bits} bits started "
                    f"again: set clock_bits = {bits} under [source.folder]"
                )
    return ticks


def _unwrapped(ticks: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Return the times of a clock that starts again from 0 after 2^bits ticks.

    If a time is more than half of 2^bits below the previous time, 2^bits is added to this time and to all later times.
    """
    period = 2**bits
    refuse((ticks < 0) | (ticks >= period), "t", ticks, f"does not fit into a clock of {bits} bits")
    if not len(ticks):
        return ticks
    restarts = np.concatenate([[0], np.cumsum(np.diff(ticks) < -(period // 2))])
    if int(restarts[-1]) * period >= _LATEST:
        raise ValueError(
            f"the clock of {bits} bits starts again {restarts[-1]} times, which is beyond 62 bits"
        )
    return np.asarray(ticks + restarts * period, np.int64)
