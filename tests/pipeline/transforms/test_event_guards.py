"""The guards reject events for which Tonic returns wrong frames, and never change the caller's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.event_guards import (
    Origin,
    check_frameable,
    check_not_negative,
    check_scaling,
    put_in_order,
    widen,
)
from spikestore.store_schemas.errors import RecordingError

NAME = "recording 17 of ssc_train.h5"


def events_of(**fields: Any) -> Events:
    """Return events from columns; the types are those of the columns."""
    columns = {field: np.asarray(column) for field, column in fields.items()}
    events = np.zeros(len(columns["t"]), dtype=[(field, column.dtype) for field, column in columns.items()])
    for field, column in columns.items():
        events[field] = column
    return events


def typed(kind: str, *values: Any) -> Any:
    return np.array(values, dtype=kind)


# ------------------------------------------------------------------ widen


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", ">u2", "i4", ">i4", "u4", "i8", "u8"])
def test_integers_of_any_width_become_int64(kind: str) -> None:
    edge = min(np.iinfo(kind).max, 2**63 - 1)
    column = typed(kind, 0, 1, edge)
    wide = widen(events_of(t=column, x=column, y=column, p=column), name=NAME, has_y=True)
    assert wide.dtype == np.dtype([("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    for field in ("t", "x", "y", "p"):
        assert wide[field].tolist() == [0, 1, edge]


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4"])
def test_floating_point_times_keep_their_precision(kind: str) -> None:
    wide = widen(events_of(t=typed(kind, 0.5, 3), x=[0, 1], p=[1, 1]), name=NAME, has_y=False)
    assert wide["t"].dtype == np.dtype(kind).newbyteorder("=")
    assert wide["t"].dtype.isnative
    assert wide["t"].tolist() == [0.5, 3]


@pytest.mark.parametrize("column", [typed("?", False, True), typed("f4", 0, 1), typed("f8", 0, 1)])
def test_truth_values_and_whole_floats_are_polarities(column: Any) -> None:
    wide = widen(events_of(t=[0, 1], x=[0, 1], p=column), name=NAME, has_y=False)
    assert (str(wide["p"].dtype), wide["p"].tolist()) == ("int64", [0, 1])


def test_other_fields_are_dropped_and_the_order_of_fields_does_not_matter() -> None:
    wide = widen(events_of(p=[1], weight=[0.3], x=[5], t=[7]), name=NAME, has_y=False)
    assert (wide.dtype.names, wide.tolist()) == (("t", "x", "p"), [(7, 5, 1)])


def test_the_result_shares_nothing_with_the_callers_array() -> None:
    events = events_of(t=[0, 1], x=[0, 1], p=[1, 1])
    wide = widen(events, name=NAME, has_y=False)
    assert not np.shares_memory(wide, events)
    wide["p"] = 5
    assert events["p"].tolist() == [1, 1]


@pytest.mark.parametrize("field", ["t", "x", "p"])
def test_unsigned_values_beyond_int64_are_named(field: str) -> None:
    columns = {"t": typed("u8", 0, 1), "x": typed("u8", 0, 1), "p": typed("u8", 0, 1)}
    columns[field] = typed("u8", 0, 2**63)
    with pytest.raises(
        RecordingError,
        match=rf"^{NAME}, event 1: {field} = 9223372036854775808 exceeds a signed 64-bit integer$",
    ) as caught:
        widen(events_of(**columns), name=NAME, has_y=False)
    assert caught.value.details == {"recording": NAME, "event": 1, "field": field}


@pytest.mark.parametrize("wrong", [0.5, float("nan"), float("inf"), 1e19])
def test_polarities_that_are_not_whole_are_named(wrong: float) -> None:
    with pytest.raises(RecordingError, match=r"event 1: p = .* is not a whole number"):
        widen(events_of(t=[0, 1], x=[0, 1], p=[1.0, wrong]), name=NAME, has_y=False)


@pytest.mark.parametrize(
    ("field", "column", "needs"),
    [
        ("x", [0.0], "field x must have integers, got float64"),
        ("x", [True], "field x must have integers, got bool"),
        ("t", [True], "field t must have integers or floating-point numbers, got bool"),
        ("t", ["1"], "field t must have integers or floating-point numbers, got <U1"),
        ("t", typed("M8[us]", 5), "field t must have integers or floating-point numbers, got datetime64.us."),
        (
            "t",
            typed("m8[us]", 5),
            "field t must have integers or floating-point numbers, got timedelta64.us.",
        ),
        ("t", typed("c16", 5), "field t must have integers or floating-point numbers, got complex128"),
        ("p", ["on"], "field p must have integers, got <U2"),
    ],
)
def test_types_that_are_no_numbers_of_the_right_kind_are_refused(field: str, column: Any, needs: str) -> None:
    with pytest.raises(RecordingError, match=f"^{NAME}: {needs}"):
        widen(events_of(**{"t": [0], "x": [0], "p": [0], field: column}), name=NAME, has_y=False)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 here")
def test_long_doubles_are_refused() -> None:
    with pytest.raises(RecordingError, match="must have integers or floating-point numbers"):
        widen(events_of(t=typed("g", 0), x=[0], p=[0]), name=NAME, has_y=False)


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2), [("t", "i8"), ("x", "i8"), ("p", "i8")]), [1, 2]]
)
def test_arrays_that_are_not_structured_are_rejected(array: Any) -> None:
    with pytest.raises(RecordingError, match=f"^{NAME}: events must be a one-dimensional structured array$"):
        widen(array, name=NAME, has_y=False)


def test_missing_fields_are_named() -> None:
    with pytest.raises(RecordingError, match=f"^{NAME}: events must have the fields t, x, p, got t, x$"):
        widen(events_of(t=[0], x=[0]), name=NAME, has_y=False)


# ------------------------------------------------------------------ times


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.booleans())
def test_sorting_is_stable_and_only_unsorted_events_are_sorted(times: list[int], sort: bool) -> None:
    events = events_of(t=typed("i8", *times), x=np.arange(len(times)), p=np.ones(len(times), int))
    before = events.tobytes()
    if times != sorted(times) and not sort:
        with pytest.raises(RecordingError, match="times are not sorted") as caught:
            put_in_order(events, name=NAME, sort=sort)
        first = next(i for i in range(1, len(times)) if times[i] < times[i - 1])
        assert caught.value.details["event"] == first
        return
    ordered, order = put_in_order(events, name=NAME, sort=sort)
    assert events.tobytes() == before
    assert ordered["t"].tolist() == sorted(times)
    expected = sorted(range(len(times)), key=times.__getitem__)
    assert ordered["x"].tolist() == expected
    assert (order is None) == (times == sorted(times))
    if order is not None:
        assert order.tolist() == expected


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize(("wrong", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_times_that_are_not_finite_are_an_error_even_where_they_could_be_sorted(
    wrong: float, shown: str, place: int, sort: bool
) -> None:
    times = [1.0, 2.0, 3.0]
    times[place] = wrong
    with pytest.raises(RecordingError, match=rf"^{NAME}, event {place}: t = {shown} is not a time$"):
        put_in_order(events_of(t=times, x=[0, 0, 0], p=[0, 0, 0]), name=NAME, sort=sort)


# ------------------------------------------------------------------ coordinates


def origin_of(events: Events) -> Origin:
    return Origin(NAME, events)


@pytest.mark.parametrize("field", ["x", "y"])
def test_negative_coordinates_are_named(field: str) -> None:
    events = events_of(t=[0, 1, 2], x=[0, 1, 2], y=[0, 1, 2], p=[0, -1, 1])
    check_not_negative(events, origin=origin_of(events))
    events[field][1:] = [-3, -4]
    with pytest.raises(RecordingError, match=rf"^{NAME}, event 1: {field} = -3 is negative$") as caught:
        check_not_negative(events, origin=origin_of(events))
    assert caught.value.details == {"recording": NAME, "event": 1, "field": field}


@pytest.mark.parametrize("field", ["x", "y", "p"])
@pytest.mark.parametrize("above", [False, True])
def test_events_outside_the_sensor_are_named(field: str, above: bool) -> None:
    """The largest legal value passes, the next one does not."""
    size = {"x": 5, "y": 4, "p": 3}
    events = events_of(t=[0, 1], x=[0, 4], y=[0, 3], p=[0, 2])
    check_frameable(events, (5, 4, 3), origin=origin_of(events))
    wrong = size[field] if above else -1
    events[field][1] = wrong
    message = rf"^{NAME}, event 1: {field} = {wrong} is outside the sensor: {field} must be from 0 to {size[field] - 1}$"
    with pytest.raises(RecordingError, match=message) as caught:
        check_frameable(events, (5, 4, 3), origin=origin_of(events))
    assert caught.value.details == {"recording": NAME, "event": 1, "field": field}


@pytest.mark.parametrize("value", [-1, 0, 1, 250])
def test_one_polarity_may_have_any_value_but_only_one(value: int) -> None:
    events = events_of(t=[0, 1, 2], x=[0, 0, 0], p=[value] * 3)
    check_frameable(events, (1, 1, 1), origin=origin_of(events))
    events["p"][2] = 9
    with pytest.raises(
        RecordingError, match=rf"event 2: p = 9 differs from p = {value} of the first event, but the sensor"
    ):
        check_frameable(events, (1, 1, 1), origin=origin_of(events))


@pytest.mark.parametrize("times", [[0, 2**62], [-(2**62), 0], [0.0, np.inf], [-np.inf, 0.0]])
def test_times_whose_span_can_not_be_computed_are_an_error(times: list[float]) -> None:
    events = events_of(t=times, x=[0, 0], p=[0, 0])
    with pytest.raises(RecordingError, match=r"event [01]: t = .* is out of range"):
        check_frameable(events, (1, 1, 1), origin=origin_of(events))
    inside = events_of(t=[-(2**62) + 1, 2**62 - 1], x=[0, 0], p=[0, 0])
    check_frameable(inside, (1, 1, 1), origin=origin_of(inside))


@pytest.mark.parametrize(("field", "value"), [("t", 2**62), ("t", -(2**62) - 1), ("x", 2**62), ("y", 2**62)])
def test_products_beyond_int64_are_named(field: str, value: int) -> None:
    events = events_of(t=[0, 1, 2], x=[0, 1, 2], y=[0, 1, 2], p=[0, 0, 0])
    factors = {"t": 2, "x": 2.0, "y": 2.0}
    check_scaling(events, factors, origin=origin_of(events))
    events[field][1] = value
    with pytest.raises(
        RecordingError,
        match=rf"^{NAME}, event 1: {field} = {value} times 2.* exceeds a signed 64-bit integer$",
    ):
        check_scaling(events, factors, origin=origin_of(events))


def test_scaling_ignores_absent_fields_and_floats_that_become_infinite() -> None:
    events = events_of(t=[1e300], x=[0], p=[0])
    check_scaling(events, {"t": 1e300, "x": 1.0, "y": 1.0}, origin=origin_of(events))


def test_events_are_numbered_as_they_were_read() -> None:
    events = events_of(t=[5, 3, 4], x=[0, 0, 0], p=[0, 0, 0])
    assert Origin(NAME, events).number(1) == 1
    assert Origin(NAME, events).filtered(np.array([False, True, True])).number(1) == 2
    sorted_events = Origin(NAME, events, order=np.array([1, 2, 0]))
    assert sorted_events.filtered(np.array([False, True, True])).number(1) == 0
    shown = Origin(NAME, events, order=np.array([1, 2, 0])).error(0, "t", 300, "is late")
    assert str(shown) == f"{NAME}, event 1: t = 300 (3 as read) is late"
