"""Builds that meet objects which another builder has stored, or which are damaged: equal values are kept, all else is named."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.store.small_sets import SmallSet, memory_storage, same, small_set
from tests.store.test_build import DIGEST, SMALL, assert_nothing_committed, started
from tests.store.watched_storage import WatchedStorage

from spikestore.store import Build, Store, verify
from spikestore.store.columns.digest import block_checks, check_seed
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store_schemas import layout_of
from spikestore.store_schemas.errors import ConflictError, DamagedError, NewerFormatError
from spikestore.store_schemas.specs.canonical import seal, sha256_hex, unseal


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

    with pytest.raises(DamagedError, match="run the build again"):
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
        DamagedError,
        match=r"cannot read .*data\.zarr \(fragment 0\) \(.*\): run the build again with --restart",
    ) as caught:
        SMALL.build(storage)
    assert caught.value.details["objects"] == (f"{SMALL.address.data(build.plan.hash[:12])}/label/c/0",)
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
    for layout, samples, found in (
        (other, len(SMALL), "other columns than this version of spikestore"),
        (SMALL.layout, len(SMALL) + 1, "170 samples, but this version of spikestore plans 171"),
    ):
        with pytest.raises(ConflictError, match=rf"plan\.json plans {found}: use the version"):
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
