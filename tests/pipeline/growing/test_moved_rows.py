"""Rows that move to other places of a set: they are copied without `FormerRows.read`, and equal those of a fresh build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.growing.growing_folders import add, damage, grown, is_as_fresh
from tests.store.small_sets import memory_storage, small_set

from spikestore.pipeline.growing.former_rows import FormerRows, FormerSet
from spikestore.pipeline.growing.moved_rows import MOST_RUNS, moved_rows
from spikestore.store import FeatureSet

pytestmark = pytest.mark.usefixtures("few_events")


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    """Build a set of 300 rows in fragments of 128, two blocks each."""
    return small_set(300).build(memory_storage(), 128)


def former(features: FeatureSet, rows: Any) -> FormerRows:
    """Return a new set whose row i is row ``rows[i]`` of a set; -1 if it is not in that set."""
    row_of = np.array(rows, np.int64)
    return FormerRows(
        (FormerSet("", "", features),), np.where(row_of < 0, -1, 0).astype(np.int16), np.maximum(row_of, 0)
    )


@pytest.mark.parametrize(
    "rows",
    [
        range(10, 110),
        range(64, 192),
        range(100, 300),
        [*range(3), *range(200, 205), *range(60, 140)],
        [299, 0],
    ],
)
def test_rows_are_those_of_the_former_set(features: FeatureSet, rows: Any) -> None:
    """Any runs, within blocks and fragments or across them, in any order."""
    run = moved_rows(former(features, rows), range(len(rows)))
    assert run is not None
    everything = features.read()
    parts = [everything.rows(row, row + 1) for row in rows]
    for name in ("index", "value", "nnz", "n_bins", "label"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(run.columns, name), expected)
        assert getattr(run.columns, name).dtype == expected.dtype
    for name, column in run.columns.extras.items():
        assert column.tolist() == [int(part.extras[name][0]) for part in parts]
    assert (run.first, len(run.columns)) == (0, len(rows))


def test_sets_with_other_requested_columns(features: FeatureSet) -> None:
    """A column of only one former set is left out, because requested columns come from the new source."""
    with_users = small_set(300, seed=1, extras=("n_events", "user")).build(memory_storage(), 128)
    for sets in ((features, with_users), (with_users, features)):
        rows = FormerRows(
            tuple(FormerSet("", "", each) for each in sets),
            np.array([0, 0, 1], np.int16),
            np.array([4, 5, 6]),
        )
        run = moved_rows(rows, range(3))
        assert run is not None
        assert [*run.columns.extras] == ["n_events"]
        expected = [sets[0].read(4, 6), sets[1].read(6, 7)]
        for name in ("index", "value", "nnz", "label"):
            joined = np.concatenate([getattr(each, name) for each in expected])
            assert np.array_equal(getattr(run.columns, name), joined)


def test_rows_of_several_chunks() -> None:
    """A run begins and ends in the middle of chunks, and has whole chunks between."""
    features = small_set(9000, silent=range(0)).build(memory_storage(), 8192)
    run = moved_rows(former(features, range(100, 8100)), range(8000))
    assert run is not None
    expected = features.read(100, 8100)
    assert len(expected.index) > 200_000
    for name in ("index", "value", "nnz"):
        assert np.array_equal(getattr(run.columns, name), getattr(expected, name))


def test_the_other_way_is_left_to_rows_that_are_missing_or_scattered(features: FeatureSet) -> None:
    """A missing row is read from its recording; scattered rows would decode a block for each."""
    assert moved_rows(former(features, [0, 1, -1]), range(3)) is None
    assert moved_rows(former(features, range(0, 2 * MOST_RUNS, 2)), range(MOST_RUNS)) is not None
    assert moved_rows(former(features, range(0, 2 * MOST_RUNS + 2, 2)), range(MOST_RUNS + 1)) is None


def test_recordings_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All fragments behind the new recordings are copied in this way; the set is that of a fresh build."""
    add(tmp_path / "data", **{f"{'a' if number < 70 else 'n'}_{number:03d}": number for number in range(200)})
    grown(tmp_path / "data", tmp_path / "store", fragment_samples=64)
    add(tmp_path / "data", m_1=1000, m_2=1001)
    read: list[int] = []
    original = FormerRows.read

    def counted(self: FormerRows, rows: range) -> Any:
        read.append(rows.start)
        return original(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(FormerRows, "read", counted)
        features = grown(tmp_path / "data", tmp_path / "store")["all"]
    assert read == [64], "only the fragment with new recordings"
    assert is_as_fresh(tmp_path / "data", features, tmp_path / "fresh")


@pytest.mark.slow
def test_a_damaged_block_is_not_copied(tmp_path: Path) -> None:
    """Its recordings are read instead."""
    add(tmp_path / "data", **{f"b_{number:03d}": number for number in range(140)})
    grown(tmp_path / "data", tmp_path / "store", fragment_samples=64)
    add(tmp_path / "data", a_1=1000)
    (path,) = (tmp_path / "store").rglob("value/c/1")
    damage(path)
    features = grown(tmp_path / "data", tmp_path / "store")["all"]
    assert 60 < features.manifest.provenance["reused_recordings"] < 80
    assert is_as_fresh(tmp_path / "data", features, tmp_path / "fresh")
