"""Rows that are checked chunk by chunk: the same rows are accepted as by the checks of whole rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import memory_storage, same, small_set

from spikestore.store import FeatureSet, SampleColumns
from spikestore.store.columns.digest import (
    BlockChecks,
    BlockDigests,
    BlockHashes,
    block_checks,
    block_digests,
    check_seed,
)
from spikestore.store.columns.reader import FragmentTable, undecodable
from spikestore.store.trust.block_rows import RowRange
from spikestore.store.trust.narrow_rows import NarrowReader
from spikestore.store.trust.rows import refuse_untrue_rows
from spikestore.store.trust.scanned_rows import ScannedRows
from spikestore.store_schemas import ToTimesurface, Transform, layout_of
from spikestore.store_schemas.errors import DamagedError, UsageError

SMALL = small_set(140)
DTYPES = (np.dtype(np.uint16), np.dtype(np.uint8))


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    """Build a set of 140 rows in fragments of 64."""
    return SMALL.build(memory_storage())


class InPieces:
    """Stand-in for a `DirectReader`: the non-zeros of a fragment come in pieces that may end anywhere."""

    def __init__(self, columns: SampleColumns, check: npt.NDArray[np.uint64], cuts: list[int]) -> None:
        self._columns = columns
        self._cuts = [0, *sorted(cut % (len(columns.index) + 1) for cut in cuts), len(columns.index)]
        samples = {name: getattr(columns, name) for name in ("nnz", "n_bins", "label")}
        self._table = FragmentTable(samples | dict(columns.extras), check, columns.offsets(), {})

    def table(self, fragment: int) -> FragmentTable:
        return self._table

    def pieces(
        self, fragment: int, name: str, start: int, stop: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        assert (fragment, start, stop) == (0, 0, 64)
        for begins, end in zip(self._cuts[:-1], self._cuts[1:], strict=True):
            if begins < end:
                yield begins, getattr(self._columns, name)[begins:end].copy()


COLUMNS = ("index", "value", "nnz", "n_bins", "label", "n_events")


@given(
    change=st.tuples(
        st.sampled_from(COLUMNS), st.integers(0, 5000), st.sampled_from([-2, -1, 1, 3, 200, 2**32 - 1, 0])
    ),
    equal_hash=st.booleans(),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
)
def test_equals_the_checks_of_whole_rows(
    features: FeatureSet, change: tuple[str, int, int], equal_hash: bool, cuts: list[int]
) -> None:
    """One number is changed, with or without its hash; the pieces may end anywhere."""
    name, place, by = change
    rows = features.read(0, 64)
    columns = {one: getattr(rows, one).copy() for one in COLUMNS[:-1]}
    extras = {one: column.copy() for one, column in rows.extras.items()}
    changed = columns[name] if name in columns else extras[name]
    with np.errstate(over="ignore"):
        changed[place % len(changed)] += np.array(by).astype(changed.dtype)
    forged = replace(rows, **columns, extras=extras)
    if name != "nnz" or by == 0:  # a reader rejects other counts by the table of the fragment
        refuse_or_read(features, forged, forged if equal_hash else rows, cuts, DTYPES)


def refuse_or_read(
    features: FeatureSet, forged: SampleColumns, hashed: SampleColumns, cuts: list[int], dtypes: Any
) -> None:
    """Compare the two kinds of checks on the first 64 rows, whose hash is that of `hashed`."""
    check = block_checks(hashed, features.layout, check_seed(*features.address), 0)
    try:
        refuse_untrue_rows(features.address, features.manifest, 0, forged, check)
        is_true = True
    except DamagedError:
        is_true = False
    reader: Any = InPieces(forged, check, cuts)
    narrow = NarrowReader(reader, features.address, features.manifest).read(RowRange(0, 0, 64), dtypes)
    assert (narrow is not None) == is_true
    if narrow is not None:
        assert np.array_equal(narrow.index, forged.index)
        assert np.array_equal(narrow.value, forged.value)
        assert (narrow.index.dtype, narrow.value.dtype) == dtypes
    scan(features, forged, reader, is_true=is_true)


def scan(features: FeatureSet, columns: SampleColumns, reader: Any, *, is_true: bool) -> None:
    """Check that a whole fragment passes if its rows are true, and gets the hashes of whole columns."""
    if not is_true:
        with pytest.raises(DamagedError):
            read_all(
                ScannedRows(
                    features.address, features.manifest, RowRange(0, 0, 64), reader, partial(undecodable, 0)
                )
            )
        return
    layout = features.layout
    scanned = ScannedRows(
        features.address, features.manifest, RowRange(0, 0, 64), reader, partial(undecodable, 0)
    )
    check = BlockChecks(scanned.samples, scanned.offsets, layout, 7, 3)
    digests = BlockDigests(scanned.samples, scanned.offsets, layout)
    assert_same_values(read_all(scanned, check, digests), columns)
    assert np.array_equal(check.finish(), block_checks(columns, layout, 7, 3))
    assert digests.finish() == block_digests(columns, layout)


def read_all(rows: ScannedRows, *hashes: BlockHashes) -> dict[str, npt.NDArray[Any]]:
    """Return all values, checked; they are added to the hashes."""
    values = {}
    for name in ("index", "value"):
        pieces = []
        for begins, piece in rows.pieces(name):
            pieces.append(piece.copy())
            for each in hashes:
                each.update(begins, piece)
        values[name] = np.concatenate(pieces)
    rows.finish()
    return values


def assert_same_values(values: dict[str, npt.NDArray[Any]], columns: SampleColumns) -> None:
    assert np.array_equal(values["index"], columns.index)
    assert np.array_equal(values["value"], columns.value)


@pytest.mark.parametrize("fault", ["largest index", "frames", "order", "zero", "label"])
def test_each_fault(features: FeatureSet, fault: str) -> None:
    """The hashes are right, so only the check of this fault finds it; pieces are cut where indices do not ascend."""
    rows = features.read(0, 64)
    row = int(np.argmax(rows.nnz))
    end = int(rows.offsets()[row + 1])
    columns = {name: getattr(rows, name).copy() for name in COLUMNS[:-1]}
    if fault == "frames":
        columns["n_bins"][row] = columns["index"][end - 1] // features.layout.site_count
    elif fault == "order":
        columns["index"][[end - 2, end - 1]] = columns["index"][[end - 1, end - 2]]
    elif fault == "zero":
        columns["value"][end - 1] = 0
    elif fault == "label":
        columns["label"][row] = len(features.classes)
    else:
        most = {"max_index": int(rows.index.max()) - 1}
        features = FeatureSet(features.storage, features.address, features.manifest.model_copy(update=most))
    forged = replace(rows, **columns)
    refuse_or_read(features, forged, forged, [end - 1], DTYPES)


@pytest.fixture(scope="module")
def signed() -> FeatureSet:
    """Build the same set with real numbers of both signs."""
    transform = Transform(operations=(ToTimesurface(sensor_size=(10, 1, 1), dt=1.0, tau=1.0),))
    layout = layout_of(transform, has_y=False, classes=SMALL.layout.classes, extras=SMALL.layout.extras)
    value = np.where(np.arange(len(SMALL.truth.value)) % 2, -1.5, 0.25).astype(np.float32)
    truth = replace(SMALL.truth, value=value * SMALL.truth.value)
    return replace(SMALL, transform=transform, layout=layout, truth=truth).build(memory_storage())


def test_a_maximum_that_differs_by_less_than_a_float32(signed: FeatureSet) -> None:
    """As float32, 0.1 exceeds 0.1; only a comparison in float64 finds it."""
    rows = signed.read(0, 64)
    rows = replace(rows, value=np.full_like(rows.value, 0.1))
    check = block_checks(rows, signed.layout, check_seed(*signed.address), 0)
    manifest = signed.manifest.model_copy(update={"max_value": 0.1})
    with pytest.raises(DamagedError, match=r"value 0\.1.* exceeds the manifest's maximum of 0\.1"):
        refuse_untrue_rows(signed.address, manifest, 0, rows, check)


@settings(max_examples=examples(30))
@given(
    st.integers(0, 5000),
    st.sampled_from([0, -0.0, np.nan, np.inf, -np.inf, 1, -1, 1.0000002, -1.0000002]),
    st.lists(st.integers(0, 5000), max_size=3),
)
def test_signed_real_numbers(signed: FeatureSet, place: int, share: float, cuts: list[int]) -> None:
    """One value is replaced by a share of the manifest's largest absolute value, or by NaN; the hash is right."""
    rows = signed.read(0, 64)
    value = rows.value.copy()
    value[place % len(value)] = share * signed.manifest.max_value
    forged = replace(rows, value=value)
    refuse_or_read(signed, forged, forged, cuts, (np.dtype(np.uint16), np.dtype(np.float32)))


def test_any_rows_of_a_set(features: FeatureSet) -> None:
    """Any rows, with or without whole blocks, within a fragment or across two, equal those of `read`."""
    for start, stop in ((0, 64), (64, 128), (128, 140), (3, 70), (0, 140), (139, 140)):
        narrow, rows = features.read_narrow(start, stop, DTYPES), features.read(start, stop)
        assert np.array_equal(narrow.index, rows.index)
        assert np.array_equal(narrow.value, rows.value)
        assert (narrow.index.dtype, narrow.value.dtype) == DTYPES
        assert np.array_equal(narrow.offsets, rows.offsets())
        assert np.array_equal(narrow.n_bins, rows.n_bins)
        assert np.array_equal(narrow.label, rows.label)
    with pytest.raises(UsageError, match="a set of 140 samples has no rows 100:141"):
        features.read_narrow(100, 141, DTYPES)


def test_changes_by_a_caller_do_not_reach_the_object(features: FeatureSet) -> None:
    """Later reads return the stored values."""
    first = features.read_narrow(0, 64, DTYPES)
    first.label[:], first.n_bins[:], first.offsets[:] = 7, 7, 7
    features.read_narrow(64, 128, DTYPES).index[:] = 0
    again = features.read_narrow(0, 64, DTYPES)
    assert same(features.read(), SMALL.truth)
    assert np.array_equal(again.label, SMALL.truth.label[:64])
    assert np.array_equal(again.index, SMALL.truth.index[: len(again.index)])


def test_smaller_dtypes_than_the_values_need(features: FeatureSet) -> None:
    """No value is cut off silently."""
    assert features.manifest.max_index > 127
    with pytest.raises(UsageError, match="int8"):
        features.read_narrow(0, 64, (np.dtype(np.int8), np.dtype(np.uint8)))
