"""Columns of events, and checks of their values; errors name the first invalid event."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FourColumns = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
"""t, x, y, p of one file; shape (events,) each."""


class EventColumns(NamedTuple):
    """The events of one file.

    Attributes
    ----------
    t, x : arrays, shape (events,)
        Times and coordinates.
    y, p : arrays, shape (events,), or None
        Coordinates and polarities. A column is None if the file does not have it.
    """

    t: npt.NDArray[Any]
    x: npt.NDArray[Any]
    y: npt.NDArray[Any] | None
    p: npt.NDArray[Any] | None


def is_vector(values: npt.NDArray[Any]) -> bool:
    """Return whether an array is a vector, also in MATLAB's forms: with further axes of length 1, or empty with shape (0, 0)."""
    return values.size == max(values.shape, default=0) or sum(size != 1 for size in values.shape) == 1


def refuse(wrong: npt.NDArray[np.bool_], field: str, values: npt.NDArray[Any], problem: str) -> None:
    """Raise ValueError with the number of the first event for which `wrong` is true, its value, and `problem`."""
    if wrong.any():
        event = int(np.argmax(wrong))
        raise ValueError(f"event {event}: {field} = {values[event]} {problem}")


def refuse_outside(field: str, values: npt.NDArray[Any], size: int) -> None:
    """Raise ValueError if a coordinate is not a whole number from 0 to ``size - 1``."""
    if _within(values, size - 1):
        return
    wrong = (values < 0) | (values >= size)
    if values.dtype.kind == "f":
        wrong |= np.trunc(values) != values  # NaN too
    refuse(wrong, field, values, f"is outside the sensor, which has 0 to {size - 1}")


def refuse_odd_events(columns: FourColumns, sensor_size: tuple[int, int, int], *, time: str = "t") -> None:
    """Raise ValueError if an event is outside the sensor, or has an invalid time or polarity.

    `time` is the name of the times in messages.
    """
    t, x, y, p = columns
    refuse_outside("x", x, sensor_size[0])
    refuse_outside("y", y, sensor_size[1])
    refuse_polarities(p)
    if t.dtype.kind == "f":
        refuse(~(np.abs(t) < 2.0**62), time, t, "is not a valid time")


def refuse_polarities(values: npt.NDArray[Any]) -> None:
    """Raise ValueError if a polarity is neither 0 nor 1."""
    if not _within(values, 1):
        refuse((values != 0) & (values != 1), "p", values, "should be 0 or 1")


def _within(values: npt.NDArray[Any], largest: int) -> bool:
    """Return whether values are integers from 0 to `largest`; for floats always False. No array is allocated, unlike with ``values <= largest``."""
    if values.dtype.kind not in "bui":
        return False
    # As unsigned integers, negative values are larger than any size.
    unsigned = values.view(values.dtype.str.replace("i", "u"))
    return bool(unsigned.max(initial=0) <= largest)
