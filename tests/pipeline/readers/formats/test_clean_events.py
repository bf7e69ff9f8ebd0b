"""Events with fields of any name, type and unit become integers in µs, or the error names the field."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikestore.pipeline.readers.formats.clean_events import clean_events
from spikestore.store_schemas.specs.folder import Decoding


def decoding(**fields: Any) -> Decoding:
    return Decoding(formats={"npy": 1}, fields=("t", "x", "y", "p"), **fields)


def times(values: Any, **fields: Any) -> list[int]:
    t = np.asarray(values)
    return [int(one) for one in clean_events({"t": t, "x": np.zeros(len(t), int)}, decoding(**fields)).t]


@pytest.mark.parametrize(
    "names",
    [
        ("t", "x", "y", "p"),
        ("timestamp", "x", "y", "polarity"),
        ("TS", "X", "Y", "Pol"),
        ("ts", "xs", "ys", "ps"),
        ("Time", "x", "y", "on"),
    ],
)
def test_usual_names_in_any_order_and_case(names: tuple[str, ...]) -> None:
    values = [np.array([5, 7]), np.array([1, 2]), np.array([3, 4]), np.array([0, 1])]
    events = clean_events(dict(reversed(list(zip(names, values, strict=True)))), decoding())
    assert [None if column is None else column.tolist() for column in events] == [
        [5, 7],
        [1, 2],
        [3, 4],
        [0, 1],
    ]
    assert [None if column is None else column.dtype for column in events] == [
        np.int64,
        np.int32,
        np.int32,
        np.uint8,
    ]


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", ">u4", "<i8", "u8", "f2", "f4", ">f8"])
def test_coordinates_of_any_type(dtype: str) -> None:
    events = clean_events(
        {"t": np.array([1, 2]), "x": np.array([3, 120], dtype), "y": np.array([0, 7], dtype)}, decoding()
    )
    assert (events.x.tolist(), np.asarray(events.y).tolist(), events.p) == ([3, 120], [0, 7], None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 1], [0, 1, 1]),
        ([True, False, True], [1, 0, 1]),
        ([-1, 1, -1], [0, 1, 0]),
        ([-1, -1, -1], [0, 0, 0]),
        ([1.0, -1.0, 1.0], [1, 0, 1]),
        ([1, 1, 1], [1, 1, 1]),
    ],
)
def test_polarities(values: list[Any], expected: list[int]) -> None:
    events = clean_events({"t": np.arange(3), "x": np.zeros(3, int), "p": np.array(values)}, decoding())
    assert np.asarray(events.p).tolist() == expected


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("s", [0.000013, 1.5, 2.0000005], [13, 1_500_000, 2_000_000]),
        ("s", [0, 3], [0, 3_000_000]),
        ("ms", [0.25, 1.0005], [250, 1000]),
        ("ms", np.array([32], "i1"), [32_000]),
        ("us", [0.4, 0.6, 7], [0, 1, 7]),
        ("ns", [499, 500, 1499, 1_000_000], [0, 1, 1, 1000]),
        ("ns", [-600, 600.4], [-1, 1]),
    ],
)
def test_units(unit: str, values: Any, expected: list[int]) -> None:
    """Times are rounded to whole µs: 0.000013 s is 13 µs."""
    assert times(values, time_unit=unit) == expected


@given(
    st.lists(st.integers(0, 2**40), min_size=1, max_size=30),
    st.sampled_from(["s", "ms", "us", "ns"]),
    st.booleans(),
)
def test_integers_and_floats_of_one_time_agree(ticks: list[int], unit: str, offset: bool) -> None:
    """Float64 times in any unit are exact to a µs: they equal integers in µs."""
    microseconds = sorted(ticks)
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    floats = np.array(microseconds, np.float64) / 10**6 * per_second
    shift = microseconds[0] if offset else 0
    settings: Any = {"offset": "first_event"} if offset else {}
    assert times(floats, time_unit=unit, **settings) == [one - shift for one in microseconds]
    assert times(microseconds, **settings) == [one - shift for one in microseconds]


def test_times_of_day_in_ns_keep_their_last_digit() -> None:
    start = 1_700_000_000_123_456_000
    assert times([start, start + 7000], time_unit="ns") == [1_700_000_000_123_456, 1_700_000_000_123_463]
    assert times([start + 7000, start], time_unit="ns", offset="first_event") == [7, 0]


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("bits", [23, 24, 32])
def test_a_clock_that_starts_again_is_named_and_unwrapped(bits: int, dtype: type) -> None:
    """MATLAB stores ticks as floats."""
    end = 2**bits
    wrapped: Any = np.array([end - 30, end - 10, 5, 20, end // 2, end - 1, 0], dtype)
    with pytest.raises(
        ValueError,
        match=f"event 2: t falls from {end - 10} to 5, because a clock of {bits} bits started again: set clock_bits = {bits} ",
    ):
        times(wrapped)
    assert times(wrapped, clock_bits=bits) == [
        end - 30,
        end - 10,
        end + 5,
        end + 20,
        end + end // 2,
        2 * end - 1,
        2 * end,
    ]
    assert times(wrapped, clock_bits=bits, offset="first_event")[:3] == [0, 20, 35]


def test_other_falls_are_left_to_the_transform() -> None:
    """The transform rejects times that are not sorted, or sorts them."""
    assert times([100, 50, 2**24, 3]) == [100, 50, 2**24, 3]
    assert times([2**23 - 5, 3, 2**23 + 1]) == [2**23 - 5, 3, 2**23 + 1]


X = np.zeros(2, int)
BAD: list[tuple[Any, dict[str, Any], str]] = [
    ({"x": X, "y": X}, {}, 'no column is called t; the columns are x, y: set names under [source.folder], such as names = { t = "x" }'),
    ({}, {}, "no column is called t; the columns are none"),
    ({"t": X, "x": X}, {"names": {"t": "clock"}}, "no column is called clock; the columns are t, x"),
    ({"t": X, "ts": X, "x": X}, {}, "t and ts can both mean t: set names under [source.folder]"),
    ({"t": X, "x": np.zeros(3, int)}, {}, "the fields differ in length: t has 2, x has 3"),
    ({"t": X, "x": np.zeros((2, 2))}, {}, "x has the shape (2, 2), should have (events,)"),
    ({"t": X, "x": np.array(["a", "b"])}, {}, "x holds <U1, should hold numbers"),
    ({"t": X, "x": np.array([1, 0.5])}, {}, "event 1: x = 0.5 is not a valid coordinate"),
    ({"t": X, "x": np.array([1, 2**31])}, {}, "event 1: x = 2147483648 is not a valid coordinate"),
    ({"t": np.array([1, np.nan]), "x": X}, {}, "event 1: t = nan is not a time"),
    ({"t": np.array([1, 2e20]), "x": X}, {}, "event 1: t = 2e+20 us is not a time"),
    ({"t": np.array([1, 2**62], "u8"), "x": X}, {}, "event 1: t = 4611686018427387904 is beyond 62 bits"),
    ({"t": np.array([1, 2**50]), "x": X}, {"time_unit": "s"}, "event 1: t = 1125899906842624 s is beyond 62 bits of µs"),
    ({"t": np.array([True, False]), "x": X}, {}, "t holds bool, should hold numbers"),
    ({"t": X, "x": X, "p": np.array([0, 2])}, {}, "event 1: p = 2 should be 0 or 1, as other events of the file are"),
    ({"t": X, "x": X, "p": np.array([0, -1])}, {}, "event 0: p = 0 should be -1 or 1, as other events of the file are"),
    ({"t": np.array([3, 256]), "x": X}, {"clock_bits": 8}, "event 1: t = 256 does not fit into a clock of 8 bits"),
    ({"t": np.array([3, 2.5]), "x": X}, {"clock_bits": 8}, "event 1: t = 2.5 is not a whole number, which clock_bits needs"),
    (np.zeros((2, 4)), {}, 'the 4 columns have no names: set fields under [source.folder], such as fields = ["x", "y", "p", "t"]'),
    (np.zeros((2, 4)), {"order": ("t", "x")}, "there are 4 columns, fields under [source.folder] lists 2"),
    (np.zeros(4), {"order": ("t", "x")}, "the array has shape (4,), should have (events, columns)"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "fields", "message"), BAD)
def test_fields_without_a_known_meaning_are_rejected_by_name(
    raw: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        clean_events(raw, decoding(**fields))


def test_names_of_the_recipe_take_precedence() -> None:
    raw = {"clock": np.array([4]), "t": np.array([9]), "x": np.array([1]), "camera": np.array([7])}
    assert clean_events(raw, decoding(names={"t": "clock"})).t.tolist() == [4]


def test_columns_in_the_order_of_the_recipe() -> None:
    events = clean_events(np.array([[1, 0, 9, 30], [2, 1, 9, 40]]), decoding(order=("x", "p", "-", "t")))
    assert (events.x.tolist(), np.asarray(events.p).tolist(), events.t.tolist(), events.y) == (
        [1, 2],
        [0, 1],
        [30, 40],
        None,
    )
