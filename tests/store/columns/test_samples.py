"""Columns: their names and dtypes, and the rules of the format for their content."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples

from spikestore.store.columns.samples import SampleColumns, concatenate
from spikestore.store.testing.strategies import columns as column_sets
from spikestore.store_schemas.errors import SpecError, UsageError
from spikestore.store_schemas.layout import EXTRAS, FILL, ColumnDtype, Layout, layout_of
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

Made = tuple[Transform, Layout, SampleColumns, list[int]]


def transform(size: tuple[int, int, int] = (4, 3, 2), max_bins: int = 10) -> Transform:
    return Transform(operations=(ToFrame(sensor_size=size, time_window=1.0),), max_bins=max_bins)


def layout(extras: tuple[str, ...] = (), value: str = "uint32") -> Layout:
    made = layout_of(transform(), has_y=True, classes=["a", "b"], extras=extras)
    columns = tuple(ColumnDtype(n, value) if n == "value" else ColumnDtype(n, d) for n, d in made.columns)  # type: ignore[arg-type]
    return Layout(axes=made.axes, sites=made.sites, classes=made.classes, columns=columns)


def example(**changed: Any) -> SampleColumns:
    """Return three rows, the second empty: 24 sites, 1 and 2 bins."""
    fields: dict[str, Any] = {
        "index": np.array([0, 5, 23, 7, 47]),
        "value": np.array([1, 2, 3, 4, 5]),
        "nnz": np.array([3, 0, 2]),
        "n_bins": np.array([1, 1, 2]),
        "label": np.array([0, -1, 1]),
        "extras": {},
    }
    return SampleColumns(**(fields | changed))


def test_columns_stand_in_canonical_order_whatever_order_was_asked() -> None:
    """The order is nnz, n_bins, index, value, label, then extras in their own order, whatever order was requested."""
    made = layout(("n_dropped", "user", "n_events", "speaker", "n_cropped"))
    extras = ["speaker", "n_events", "n_cropped", "n_dropped", "user"]
    names = ["nnz", "n_bins", "index", "value", "label", *extras]
    assert [name for name, _ in made.columns] == names
    assert made.extras == tuple(EXTRAS) == tuple(names[5:])


def test_axes_follow_the_events() -> None:
    """There are four axes with y, three without; sites are Tonic's sensor size in reverse order."""
    with_y = layout_of(transform(), has_y=True, classes=[], extras=[])
    without = layout_of(transform(), has_y=False, classes=[], extras=[])
    assert (with_y.axes, with_y.sites, with_y.site_count) == (("time", "polarity", "y", "x"), (2, 3, 4), 24)
    assert (without.axes, without.sites, without.site_count) == (("time", "polarity", "x"), (2, 4), 8)


@pytest.mark.parametrize(
    ("max_bins", "dtype"), [(2**32 - 1, "uint32"), (2**32, "uint64"), (2**53 - 1, "uint64")]
)
def test_index_is_as_wide_as_the_spec_needs(max_bins: int, dtype: str) -> None:
    """The width depends on the spec only, not on the data; the largest index is never the fill value."""
    made = layout_of(transform((1, 1, 1), max_bins), has_y=True, classes=[], extras=[])
    assert made.dtype("index") == np.dtype(dtype)
    assert max_bins - 1 < FILL[dtype]  # type: ignore[operator]


def test_frames_beyond_any_index_are_refused() -> None:
    """Frames with more places than a JSON number can count are rejected."""
    with pytest.raises(UsageError, match="must be below 2\\^53: lower max_bins or sensor_size"):
        layout_of(transform((2, 1, 1), 2**53 - 1), has_y=True, classes=[], extras=[])
    with pytest.raises(UsageError, match="must be below"):
        layout_of(transform((2**53 - 1,) * 3), has_y=True, classes=[], extras=[])


def test_stored_dtypes_are_little_endian() -> None:
    """On any machine."""
    for name, _ in layout(tuple(EXTRAS)).columns:
        assert layout(tuple(EXTRAS)).dtype(name).newbyteorder("<") == layout(tuple(EXTRAS)).dtype(name)


def changed_layout(**fields: Any) -> dict[str, Any]:
    return {**layout(("speaker", "n_events")).to_mapping(), **fields}


FIXED = [
    ["nnz", "uint32"],
    ["n_bins", "uint32"],
    ["index", "uint32"],
    ["value", "uint32"],
    ["label", "int32"],
]


@pytest.mark.parametrize(
    "fields",
    [
        {"columns": FIXED[::-1]},
        {"columns": [*FIXED[:4], ["offsets", "int32"]]},
        {"columns": [*FIXED, ["label", "int32"]]},
        {"columns": [*FIXED, ["n_events", "uint32"], ["speaker", "int32"]]},
        {"columns": [*FIXED, ["start", "uint64"]]},
        {"columns": [["nnz", "uint64"], *FIXED[1:]]},
        {"columns": [*FIXED, ["speaker", "uint32"]]},
        {"columns": [*FIXED[:4], ["label", "float16"]]},
        {"columns": []},
        {"axes": ["time", "x", "y", "polarity"]},
        {"axes": ["time", "polarity", "x"]},
        {"sites": [2, 3]},
        {"sites": [2, 3, 0]},
    ],
)
def test_a_layout_of_unknown_columns_or_axes_is_refused(fields: dict[str, Any]) -> None:
    """Manifests come from any source: no name that the reader does not know may reach it."""
    Layout.from_mapping(changed_layout(), origin="test")
    with pytest.raises(SpecError):
        Layout.from_mapping(changed_layout(**fields), origin="test")


def test_good_columns_are_stored_with_the_dtypes_of_the_layout() -> None:
    """Any integer dtype is converted."""
    stored = example().as_stored(layout())
    assert [column.dtype.str for _, column in stored.in_order(layout())] == [
        "<u4",
        "<u4",
        "<u4",
        "<u4",
        "<i4",
    ]
    assert stored.offsets().tolist() == [0, 3, 3, 5]
    big_endian = example(index=example().index.astype(">i8")).as_stored(layout())
    np.testing.assert_array_equal(big_endian.index, stored.index)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"nnz": np.array([3, 0, 1])}, "contradict each other"),
        ({"value": np.arange(1, 7)}, "contradict each other"),
        ({"index": np.arange(6)}, "contradict each other"),
        ({"label": np.array([0, 1])}, "column 'label' has 2 rows, expected 3"),
        ({"index": np.array([5, 0, 23, 7, 47])}, "must increase strictly"),
        ({"index": np.array([0, 0, 23, 7, 47])}, "must increase strictly"),
        ({"index": np.array([0, 5, 24, 7, 47])}, "outside its sample's frames"),
        ({"index": np.array([0, 5, 23, 7, 48])}, "outside its sample's frames"),
        ({"index": np.array([-1, 5, 23, 7, 47])}, "column 'index' must have values from .*got -1"),
        ({"n_bins": np.array([0, 1, 2])}, "outside its sample's frames"),
        ({"value": np.array([1, 0, 3, 4, 5])}, "column 'value' must not contain 0"),
        ({"value": np.array([1, -2, 3, 4, 5])}, "column 'value' must have values from .*got -2"),
        ({"value": np.array([1, 2**32 - 1, 3, 4, 5])}, "from 0 to 4294967294"),
        ({"label": np.array([0, -(2**31), 0])}, "column 'label' must have values from .*got -2147483648"),
        ({"label": np.array([0, 2**31, 0])}, "from -2147483647 to 2147483647"),
        ({"nnz": np.array([3.0, 0, 2])}, "must have integers"),
    ],
)
def test_columns_that_break_the_format_are_refused(changed: dict[str, Any], message: str) -> None:
    """Fill values, wrong indices and wrong lengths are rejected before anything is stored."""
    with pytest.raises(UsageError, match=message):
        example(**changed).as_stored(layout())


def test_extras_are_checked_too() -> None:
    """Range and length of extras are checked."""
    made = layout(("n_events",))
    assert (
        example(extras={"n_events": np.array([1, 2, 3])}).as_stored(made).extras["n_events"].dtype
        == np.uint32
    )
    for wrong in (np.array([1, 2]), np.array([1, 2, -1]), np.array([1, 2, 2**32 - 1])):
        with pytest.raises(UsageError, match="n_events"):
            example(extras={"n_events": wrong}).as_stored(made)


def test_real_values() -> None:
    """NaN, infinities and zeros of either sign are refused; others become float32."""
    made = layout(value="float32")
    good = example(value=np.array([0.5, -1, 1e-30, 4, 5])).as_stored(made)
    assert good.value.dtype == np.float32
    for wrong in (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e300, 1e-300):
        with pytest.raises(UsageError):
            example(value=np.array([1, wrong, 3, 4, 5])).as_stored(made)


def test_refused_columns_are_left_as_they_were() -> None:
    """Neither checking nor storing changes the caller's arrays."""
    columns = example(value=np.array([1, -2, 3, 4, 5]))
    with pytest.raises(UsageError):
        columns.as_stored(layout())
    assert columns.value.tolist() == [1, -2, 3, 4, 5]


def test_a_set_of_empty_samples() -> None:
    """A set without any non-zero can be stored and read."""
    none = np.zeros(0, np.int64)
    empty = example(index=none, value=none, nnz=np.zeros(3, int)).as_stored(layout())
    assert empty.offsets().tolist() == [0, 0, 0, 0]
    assert len(empty) == 3


@settings(max_examples=examples(25))
@given(made=column_sets(max_samples=100), data=st.data())
def test_cutting_and_joining_changes_nothing(made: Made, data: st.DataObject) -> None:
    """`rows` and `concatenate` are inverse, for all columns."""
    _, made_layout, columns, _ = made
    cuts = sorted(data.draw(st.sets(st.integers(1, len(columns)), max_size=3)) | {0, len(columns)})
    pairs = pairwise(cuts)
    joined = concatenate(columns.rows(start, stop) for start, stop in pairs)
    for (name, one), (_, other) in zip(
        joined.in_order(made_layout), columns.in_order(made_layout), strict=True
    ):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_nothing_to_join_is_an_error() -> None:
    """The dtypes of an empty join would be unknown."""
    with pytest.raises(UsageError):
        concatenate([])


def test_fill_values_can_not_occur() -> None:
    """Each fill value is the end of its dtype's range that `as_stored` rejects; none is 0."""
    assert FILL == {"uint32": 2**32 - 1, "uint64": 2**53 - 1, "int32": -(2**31), "float32": "NaN"}
