"""Rows that move to other places of a set: they are copied without `FormerRows.read`, and equal those of a fresh build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.growing.growing_folders import add, damage, grown, is_as_fresh
from tests.store.small_sets import memory_storage, small_set

from spikestore.pipeline.growing.former_rows import FormerRows, FormerSet
from spikestore.pipeline.growing.moved_rows import MOST_RUNS, moved_parts
from spikestore.pipeline.growing.streamed_fragment import stream_fragment
from spikestore.store import FeatureSet, SampleColumns
from spikestore.store.columns.digest import block_checks, block_digests, check_seed
from spikestore.store.columns.fragment_encoder import EncodedFragment
from spikestore.store.columns.samples import concatenate
from spikestore.store.columns.shard_codec import packed_objects
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.layout import BLOCK

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


def streamed(rows: FormerRows) -> EncodedFragment:
    """Return all rows of a new set as one fragment; the labels and columns stay."""
    count = len(rows.set_of)
    parts = moved_parts(rows, range(count), lambda _, samples: samples)
    assert parts is not None
    fragment = stream_fragment([*parts.values()], plan_of(count), 0)
    assert fragment is not None
    return fragment


def plan_of(rows: int) -> Plan:
    """Return the plan of a set with this number of rows in one fragment."""
    return small_set(rows, seed=9).plan(-(-rows // BLOCK) * BLOCK)


@pytest.mark.parametrize(
    "rows",
    [
        range(10, 110),
        range(64, 128),
        range(64, 192),
        range(200, 300),
        [*range(3), *range(200, 205), *range(60, 140)],
        [299, 0],
    ],
)
def test_rows_are_those_of_the_former_set(features: FeatureSet, rows: Any) -> None:
    """Any runs, within blocks and fragments or across them, in any order: hashes, largest numbers and bytes are those of the joined rows."""
    fragment = streamed(former(features, rows))
    everything = features.read()
    expected = concatenate(everything.rows(row, row + 1) for row in rows)
    for name in ("nnz", "n_bins", "label"):
        assert np.array_equal(getattr(fragment.samples, name), getattr(expected, name))
        assert getattr(fragment.samples, name).dtype == getattr(expected, name).dtype
    for name, column in fragment.samples.extras.items():
        assert np.array_equal(column, expected.extras[name])
    assert_same_fragment(fragment, expected)


def assert_same_fragment(fragment: EncodedFragment, expected: SampleColumns) -> None:
    """Check the numbers, hashes and bytes against those of whole columns."""
    plan, facts = plan_of(len(expected)), fragment.facts
    seed = check_seed(plan.transform_key, plan.source_key)
    assert np.array_equal(facts.check, block_checks(expected, plan.layout, seed, 0))
    assert facts.blocks == (*block_digests(expected, plan.layout),)
    assert facts.nnz == len(expected.index)
    assert facts.max_index == expected.index.max(initial=0)
    assert facts.max_value == expected.value.max(initial=0)
    packed = packed_objects(plan, plan.zarr)
    assert packed is not None
    values = {name: getattr(expected, name) for name in ("index", "value") if facts.nnz}
    assert fragment.encoded == {name: packed[name].encode(column) for name, column in values.items()}


def test_sets_with_other_requested_columns(features: FeatureSet) -> None:
    """The columns of each run are those of its set; requested columns come from the new source, through `with_labels`."""
    with_users = small_set(300, seed=1, extras=("n_events", "user")).build(memory_storage(), 128)
    for sets in ((features, with_users), (with_users, features)):
        rows = FormerRows(
            tuple(FormerSet("", "", each) for each in sets),
            np.array([0, 0, 1], np.int16),
            np.array([4, 5, 6]),
        )
        parts = moved_parts(rows, range(3), lambda _, samples: samples)
        assert parts is not None
        assert [*parts] == [0, 2]
        assert [[*part.samples.extras] for part in parts.values()] == [[*each.layout.extras] for each in sets]


def test_labels_are_requested_for_the_rows_of_a_run(features: FeatureSet) -> None:
    """The caller gets the first row in the new set, also if the fragment is not the first."""
    rows = FormerRows(
        (FormerSet("", "", features),), np.zeros(8, np.int16), np.array([9, 9, 3, 4, 5, 90, 91, 2])
    )
    seen: list[tuple[int, list[int]]] = []

    def with_labels(first: int, samples: SampleColumns) -> SampleColumns:
        seen.append((first, samples.nnz.tolist()))
        return samples

    parts = moved_parts(rows, range(2, 7), with_labels)
    assert parts is not None
    nnz = features.column("nnz").tolist()
    assert seen == [(2, nnz[3:6]), (5, nnz[90:92])]
    assert [*parts] == [2, 5]


def test_rows_of_several_chunks() -> None:
    """A run begins and ends in the middle of chunks, and has whole chunks between."""
    features = small_set(9000, silent=range(0)).build(memory_storage(), 8192)
    fragment = streamed(former(features, range(100, 8100)))
    expected = features.read(100, 8100)
    assert len(expected.index) > 200_000
    assert_same_fragment(fragment, expected)


@pytest.fixture(scope="module")
def long_rows() -> FeatureSet:
    """Build a set of one block, whose ``index`` has eight chunks."""
    small, nnz = small_set(64, silent=range(0), skipped=()), np.full(64, 8000)
    rng = np.random.default_rng(1)
    index = [np.sort(rng.choice(16_000, count, replace=False)) for count in nnz]
    truth = replace(
        small.truth,
        index=np.concatenate(index).astype(small.truth.index.dtype),
        value=rng.geometric(0.4, int(nnz.sum())).astype(small.truth.value.dtype),
        nnz=nnz.astype(small.truth.nnz.dtype),
        n_bins=np.full(64, 1600, small.truth.n_bins.dtype),
    )
    return replace(small, n_events=3 * nnz, truth=truth).build(memory_storage())


@pytest.mark.parametrize("rows", [range(64), range(4), range(30, 50), range(60, 64)])
def test_rows_of_a_block_of_several_chunks(long_rows: FeatureSet, rows: range) -> None:
    """Only the values of the wanted rows are in the pieces; the other chunks of the block are checked."""
    parts = moved_parts(former(long_rows, rows), range(len(rows)), lambda _, samples: samples)
    assert parts is not None
    (part,) = parts.values()
    expected = long_rows.read(rows.start, rows.stop)
    for name in ("index", "value"):
        pieces = [piece.copy() for piece in part.pieces(name)]
        assert np.array_equal(np.concatenate(pieces), getattr(expected, name))
    part.finish()


def test_runs_that_are_missing_or_scattered(features: FeatureSet) -> None:
    """A missing row is in no part, because it is read from its recording; scattered rows would decode a block for each."""

    def firsts(rows: Any) -> list[int] | None:
        parts = moved_parts(former(features, rows), range(len(rows)), lambda _, samples: samples)
        return None if parts is None else [*parts]

    assert firsts([-1, 0, 1, -1, 2]) == [1, 4]
    assert firsts([0, 1, -1]) == [0]
    assert firsts([-1, -1]) == []
    assert firsts(range(0, 2 * MOST_RUNS, 2)) == [*range(MOST_RUNS)]
    assert firsts(range(0, 2 * MOST_RUNS + 2, 2)) is None


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
    assert read == [], "also not of the fragment with new recordings"
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
