"""Builds: accepted and rejected arguments, and messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.store.small_sets import memory_storage, same, small_set

from spikestore.store import Build, SampleColumns, Store, verify
from spikestore.store.storage import Storage
from spikestore.store_schemas import Plan, make_plan
from spikestore.store_schemas.documents.record import SkippedRow
from spikestore.store_schemas.errors import (
    DamagedError,
    SpecError,
    SpikestoreError,
    UsageError,
)
from spikestore.store_schemas.layout import ColumnDtype

SMALL = small_set()
DIGEST = SMALL.build(memory_storage()).digest


def started(storage: Storage, fragment_samples: int = 64) -> Build:
    """Return a build that has its plan and metadata."""
    return Build.join_or_start(storage, SMALL.address, lambda: SMALL.plan(fragment_samples))


def assert_nothing_committed(storage: Storage) -> None:
    """Assert that there is no manifest, and no set in any listing."""
    assert Store(storage).find(SMALL.address) is None
    assert [*Store(storage).feature_sets()] == []


@pytest.mark.parametrize("fragment_samples", [64, 128, 192])
def test_digest_does_not_depend_on_the_plan(fragment_samples: int) -> None:
    """Every fragment size gives the same digest and the same samples."""
    features = SMALL.build(memory_storage(), fragment_samples)
    assert features.digest == DIGEST
    assert same(features.read(), SMALL.truth)
    assert verify(features, depth="deep") == []


def test_manifest_sums_up_the_columns() -> None:
    """Counts, maxima and skipped rows of the manifest are those of the samples."""
    manifest = SMALL.build(memory_storage()).manifest
    truth = SMALL.truth
    assert (manifest.samples, manifest.nnz) == (len(truth), len(truth.index))
    assert (manifest.max_index, manifest.max_value) == (truth.index.max(), truth.value.max())
    assert manifest.n_bins == truth.n_bins.max()
    assert tuple(one.row for one in manifest.skipped) == SMALL.skipped
    assert [row.nnz for row in manifest.fragments][1] == 0


def test_silent_fragment_has_no_values() -> None:
    """A fragment without non-zeros has no object of index or value, and so takes no space."""
    storage = memory_storage()
    features = SMALL.build(storage)
    paths = [entry.path.removeprefix(features.data_path) for entry in storage.list(features.data_path)]
    assert "/index/c/1" not in paths
    assert "/value/c/1" not in paths
    assert {"/index/c/0", "/index/c/2", "/nnz/c/1"} <= {*paths}


def changed_columns(**changes: Any) -> SampleColumns:
    """Return the first fragment with other columns."""
    return dataclasses.replace(SMALL.truth.rows(0, 64), **changes)


def with_item(name: str, place: int, item: float) -> Callable[[], SampleColumns]:
    """Return the first fragment with another number in a column, in a dtype that can hold it."""

    def make() -> SampleColumns:
        column = getattr(SMALL.truth.rows(0, 64), name)
        column = column.astype(np.int64 if isinstance(item, int) else np.float64)
        column[place] = item
        return changed_columns(**{name: column})

    return make


FIRST = SMALL.truth.rows(0, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda: changed_columns(index=FIRST.index[::-1]), "must increase strictly", id="unsorted"
        ),
        pytest.param(with_item("index", 1, int(FIRST.index[0])), "must increase strictly", id="twice"),
        pytest.param(with_item("index", -1, 10**6), "outside its sample's frames", id="outside-frames"),
        pytest.param(
            with_item("index", 0, -1), "column 'index' must have values from .*got -1", id="negative-index"
        ),
        pytest.param(with_item("value", 0, 0), "column 'value' must not contain 0", id="zero"),
        pytest.param(
            with_item("value", 0, -1), "column 'value' must have values from .*got -1", id="negative-value"
        ),
        pytest.param(
            with_item("value", 0, 2**32 - 1),
            "column 'value' must have values from .*got 4294967295",
            id="fill-value",
        ),
        pytest.param(
            with_item("value", 0, 2**40),
            "column 'value' must have values from .*got 1099511627776",
            id="too-large",
        ),
        pytest.param(
            with_item("value", 0, 1.5), "column 'value' must have integers .*got float64", id="not-whole"
        ),
        pytest.param(
            with_item("value", 0, float("nan")), "column 'value' must have integers .*got float64", id="nan"
        ),
        pytest.param(
            with_item("label", 0, 2**31),
            "column 'label' must have values from .*got 2147483648",
            id="large-label",
        ),
        pytest.param(with_item("nnz", 1, 99), "contradict each other in the number", id="wrong-nnz"),
        pytest.param(
            lambda: changed_columns(value=FIRST.value[:-1]),
            "contradict each other in the number",
            id="short-value",
        ),
        pytest.param(
            lambda: changed_columns(label=FIRST.label[:-1]), "column 'label' has 63 rows", id="short-label"
        ),
        pytest.param(
            lambda: SMALL.truth.rows(0, 63), "fragment 0 must have 64 rows, got 63", id="short-fragment"
        ),
    ],
)
def test_columns_that_break_the_format(make: Callable[[], SampleColumns], message: str) -> None:
    """Columns that the format can't represent are rejected before anything of the fragment is stored."""
    storage = memory_storage()
    build = started(storage)
    before = [entry.path for entry in storage.list("features")]
    with pytest.raises(UsageError, match=message):
        build.put_fragment(0, make())
    assert [entry.path for entry in storage.list("features")] == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, 1e-300, 0.0, -0.0])
def test_real_values_that_break_the_format(value: float) -> None:
    """Values that are NaN, infinite or zero in float32, also -0.0, are rejected."""
    columns = tuple(ColumnDtype(n, "float32" if n == "value" else d) for n, d in SMALL.layout.columns)
    layout = SMALL.layout.model_copy(update={"columns": columns})
    with pytest.raises(UsageError, match="column 'value' has values that are"):
        with_item("value", 0, value)().as_stored(layout)


@pytest.mark.parametrize(
    ("rows", "message"),
    [((64,), "must ascend and belong"), ((3, 3), "must ascend and belong"), ((1,), "must have label -1")],
    ids=["other-fragment", "twice", "filled"],
)
def test_skipped_rows_that_break_the_format(rows: tuple[int, ...], message: str) -> None:
    """Skipped rows must be in their fragment, ascend and be empty."""
    build = started(memory_storage())
    with pytest.raises(UsageError, match=message):
        build.put_fragment(0, FIRST, skipped=[SkippedRow(row=row, reason="bad") for row in rows])


def test_more_non_zeros_than_planned() -> None:
    """A fragment that does not fit its shard is rejected, because it would overlap with its neighbour."""
    plan = SMALL.plan()
    small_plan = SMALL.plan().model_copy(update={"shard_values": len(FIRST.index) - 1})
    assert plan.shard_values > len(FIRST.index)
    with pytest.raises(UsageError, match="that the plan allows"):
        Build(memory_storage(), small_plan).put_fragment(0, FIRST)


def test_a_commit_does_not_hash_the_plan_for_every_fragment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing takes milliseconds, so it is done once, when the build is opened."""
    build = started(memory_storage())
    for fragment in build.unfinished():
        SMALL.put(build, fragment)
    monkeypatch.setattr(Plan, "hash", None)
    build.commit(SMALL.transform, SMALL.source, {})


def test_a_source_of_no_recordings() -> None:
    """A source without recordings is an error."""
    with pytest.raises(SpecError, match="the source has no recordings"):
        make_plan(SMALL.transform, SMALL.source.key, SMALL.layout, np.zeros(0, np.int64))
    with pytest.raises(SpecError, match="fragment_samples must be at least 1, got -1"):
        SMALL.plan(fragment_samples=-1)


def test_commit_of_other_specs() -> None:
    """They are rejected, because with specs of other keys the set could not be opened."""
    storage = memory_storage()
    build = started(storage, 192)
    SMALL.put(build, 0)
    with pytest.raises(UsageError, match="do not belong to the build"):
        build.commit(SMALL.transform, small_set(split="valid").source, {})
    assert_nothing_committed(storage)


def test_commit_before_the_end() -> None:
    """A missing record is named, and nothing is committed."""
    storage = memory_storage()
    build = started(storage)
    SMALL.put(build, 1)
    with pytest.raises(
        DamagedError, match=r"records/00000\.json is not in the store .*: run the command again"
    ) as caught:
        build.commit(SMALL.transform, SMALL.source, {})
    assert caught.value.details["objects"][0].endswith("records/00000.json")
    assert_nothing_committed(storage)


def test_every_rejection_is_a_spikestore_error() -> None:
    """No error of a library is raised for an invalid fragment number."""
    build = started(memory_storage())
    with pytest.raises(SpikestoreError):
        build.put_fragment(7, FIRST)
