"""Builds: accepted and rejected arguments, and messages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.store.small_sets import SmallSet, memory_storage, same, small_set
from tests.store.watched_storage import WatchedStorage

from spikestore.store import Build, SampleColumns, Store, verify
from spikestore.store.columns.digest import block_checks, check_seed
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store.storage import Storage
from spikestore.store_schemas import Plan, layout_of, make_plan
from spikestore.store_schemas.documents.record import SkippedRow
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    NewerFormatError,
    SpecError,
    SpikestoreError,
    UsageError,
)
from spikestore.store_schemas.layout import ColumnDtype
from spikestore.store_schemas.specs.canonical import seal, sha256_hex, unseal

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
        pytest.param(lambda: changed_columns(label=FIRST.label[:-1]), "label has 63 rows", id="short-label"),
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


@pytest.mark.parametrize("victim", ["data.zarr/nnz/c/1", "data.zarr/value/c/2", "data.zarr/check/zarr.json"])
def test_commit_looks_at_every_object(victim: str) -> None:
    """An object that vanished or shrank after its record was written is named, and nothing is committed; a restart helps."""
    for left in (None, b"short"):
        storage = memory_storage()
        build = started(storage)
        for fragment in build.unfinished():
            SMALL.put(build, fragment)
        path = f"{SMALL.address.build(build.plan.hash[:12])}/{victim}"
        storage.delete(path)
        if left is not None:
            storage.put_if_absent(path, left)
        with pytest.raises(
            DamagedError, match=f"{victim} (is missing|has another size).*--restart"
        ) as caught:
            build.commit(SMALL.transform, SMALL.source, {})
        assert caught.value.details["objects"] == (path,)
        assert_nothing_committed(storage)
        assert SMALL.build(storage, restart=True).digest == DIGEST


def encoded_otherwise(build: Build, small: SmallSet, fragment: int) -> dict[str, bytes]:
    """Encode a fragment as another version might, with another PCodec level."""
    text = json.dumps(build.plan.zarr)
    assert '"level": 8' in text
    plan = build.plan.model_copy(update={"zarr": json.loads(text.replace('"level": 8', '"level": 0'))})
    rows = plan.rows(fragment)
    columns = small.truth.rows(rows.start, rows.stop)
    return encode_fragment(
        plan,
        fragment,
        columns,
        block_checks(columns, small.layout, check_seed(*small.address), rows.start // 64),
    )


@pytest.mark.parametrize(
    "names", [("index",), ("index", "start"), ("check", "index", "label", "nnz", "value")]
)
def test_other_bytes_of_equal_values(names: tuple[str, ...]) -> None:
    """Objects of another library version with the same values are kept as they are, and the record has their hashes."""
    storage = memory_storage()
    build = started(storage)
    others = {f"{name}/c/0": encoded_otherwise(build, SMALL, 0)[f"{name}/c/0"] for name in names}
    for path, data in others.items():
        assert storage.put_if_absent(f"{SMALL.address.data(build.plan.hash[:12])}/{path}", data)
    features = SMALL.build(storage)
    assert features.digest == DIGEST
    hashes = {entry.path: entry.sha256 for entry in features.record(0).objects}
    assert {path: hashes[path] for path in others} == {
        path: sha256_hex(data) for path, data in others.items()
    }
    own = {e.path: e.sha256 for e in SMALL.build(memory_storage()).record(0).objects}
    assert own != hashes
    assert verify(features, depth="deep") == []
    assert same(features.read(), SMALL.truth)


def test_a_short_read_of_an_object_that_exists() -> None:
    """A record lists all bytes of an existing object, not only those of a read that was cut off."""
    storage = memory_storage()
    build = started(storage)
    path, left = f"{SMALL.address.data(build.plan.hash[:12])}/value/c/0", [1]
    storage.put_if_absent(path, encoded_otherwise(build, SMALL, 0)["value/c/0"])

    def cut(verb: str, name: str, effect: Callable[[], Any], /) -> Any:
        result = effect()
        return result[:-1] if (verb, name) == ("get", path) and left and left.pop() else result

    with pytest.raises(DamagedError, match="run again"):
        SMALL.put(Build(WatchedStorage(storage, cut), build.plan), 0)
    assert verify(SMALL.build(storage), depth="deep") == []


@pytest.mark.parametrize("name", ["index", "value", "nnz", "n_bins", "label", "n_events", "check"])
def test_other_values(name: str) -> None:
    """An object with other values is a conflict that names the place; nothing is committed."""
    storage = memory_storage()
    build = started(storage)
    other = encoded_otherwise(build, small_set(seed=1), 0)[f"{name}/c/0"]
    storage.put_if_absent(f"{SMALL.address.data(build.plan.hash[:12])}/{name}/c/0", other)
    with pytest.raises((ConflictError, DamagedError), match=r"data\.zarr \(fragment 0\)") as caught:
        SMALL.build(storage)
    assert isinstance(caught.value, ConflictError) or name in {"nnz", "index", "value"}
    assert build.unfinished() == [0, 1, 2]
    assert_nothing_committed(storage)


def test_garbage_in_the_way() -> None:
    """An object that can't be decoded stops the build with a remedy, and the remedy works."""
    storage = memory_storage()
    build = started(storage)
    storage.put_if_absent(f"{SMALL.address.data(build.plan.hash[:12])}/label/c/0", b"garbage")
    with pytest.raises(
        DamagedError, match=r"cannot read .*data\.zarr \(fragment 0\): run again with --restart"
    ):
        SMALL.build(storage)
    assert_nothing_committed(storage)
    assert SMALL.build(storage, restart=True).digest == DIGEST


def flipped(data: bytes, place: int) -> bytes:
    """Return `data` with one bit of one byte flipped."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("victim", ["plan", "record", "metadata"])
def test_damage_between_two_runs(victim: str) -> None:
    """A damaged plan, record or metadata stop the next run, which names them and the remedy; the remedy works."""
    storage = memory_storage()
    build = started(storage)
    SMALL.put(build, 0)
    plan_id = build.plan.hash[:12]
    path = {
        "plan": SMALL.address.plan,
        "record": SMALL.address.record(plan_id, 0),
        "metadata": f"{SMALL.address.data(plan_id)}/zarr.json",
    }[victim]
    data = storage.get(path)
    storage.delete(path)
    storage.put_if_absent(path, flipped(data, len(data) // 2))
    with pytest.raises((DamagedError, ConflictError), match=f"{path}.*--restart"):
        SMALL.build(storage)
    assert_nothing_committed(storage)
    assert SMALL.build(storage, restart=True).digest == DIGEST


def test_a_plan_of_another_set() -> None:
    """A plan that was copied from another set is rejected by name."""
    storage = memory_storage()
    storage.put_if_absent(SMALL.address.plan, small_set(split="valid").plan().to_bytes())
    with pytest.raises(
        DamagedError, match=r"plan\.json belongs to another feature set: run again with --restart"
    ):
        SMALL.build(storage)


def test_a_plan_of_a_newer_format() -> None:
    """A newer format's plan is not joined; the error says what to install."""
    storage = memory_storage()
    document = unseal(SMALL.plan().to_bytes(), path="plan.json")
    storage.put_if_absent(SMALL.address.plan, seal({**document, "format": 2}))
    with pytest.raises(
        NewerFormatError,
        match="store format 2, but this version of spikestore reads format 1: install a newer",
    ):
        SMALL.build(storage)


def test_joining_a_plan_of_other_columns() -> None:
    """A joined plan for other columns or another number of samples is a conflict that names the plan."""
    build = started(memory_storage())
    build.refuse_other_shape(SMALL.layout, len(SMALL))
    other = layout_of(SMALL.transform, has_y=False, classes=("yes", "no"), extras=())
    for layout, samples in ((other, len(SMALL)), (SMALL.layout, len(SMALL) + 1)):
        with pytest.raises(ConflictError, match=r"plan\.json has other columns or samples \(170\)"):
            build.refuse_other_shape(layout, samples)


def test_a_manifest_with_another_digest() -> None:
    """A builder that would commit another digest than the existing one gets a conflict that names both."""
    storage = memory_storage()
    committed = SMALL.build(storage)
    other = dataclasses.replace(small_set(seed=1), transform=SMALL.transform, source=SMALL.source)
    with pytest.raises(ConflictError, match=f"two builds of the same feature set differ: .*{DIGEST[:12]}"):
        other.build(storage, 128, restart=True)
    found = Store(storage).find(SMALL.address)
    assert found is not None
    assert found.manifest == committed.manifest


def test_every_rejection_is_a_spikestore_error() -> None:
    """No error of a library is raised for an invalid fragment number."""
    build = started(memory_storage())
    with pytest.raises(SpikestoreError):
        build.put_fragment(7, FIRST)
