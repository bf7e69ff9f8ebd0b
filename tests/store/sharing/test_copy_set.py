"""Copies from store to store are complete and checked; a destination with other content is an error."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store.copies import (
    SMALL,
    VALID,
    Log,
    PowerCut,
    Result,
    assert_whole,
    objects_of,
)
from tests.store.small_sets import SmallSet, files_of, memory_storage, small_set
from tests.store.watched_storage import Crash, WatchedStorage

from spikestore.store import Store, verify
from spikestore.store.sharing import copy_set as transfer
from spikestore.store.storage import Storage
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    NewerFormatError,
    StorageFullError,
    StoreError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.canonical import seal, unseal


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_copy_is_the_same_store(source: Store, destination: Storage, tmp_path: Path, verb: str) -> None:
    """All objects and the name are copied, byte for byte; also back again."""
    there = Store(destination)
    done = source.push("demo", there) if verb == "push" else there.pull("demo", source)
    assert list(done) == ["demo:train", "demo:valid"]
    assert all(one.total > 0 and one.present == 0 for one in done.values())
    assert_whole(there)
    back = Store(tmp_path / "back")
    back.pull("demo", there, deep=True)
    assert files_of(tmp_path / "back") == files_of(tmp_path / "source")
    for path in files_of(tmp_path / "back"):
        assert (tmp_path / "back" / path).read_bytes() == (tmp_path / "source" / path).read_bytes(), path


def test_only_the_committed_build_is_copied(tmp_path: Path, destination: Storage) -> None:
    """A build that a restart abandoned is not copied."""
    store = Store(tmp_path / "source")
    with pytest.raises(Crash):
        SMALL.build(WatchedStorage(store.storage, PowerCut(20)))
    store.point("demo", {"train": SMALL.build(store.storage, restart=True)})
    builds = f"{SMALL.address.folder}/builds"
    assert len(store.storage.folders(builds)) == 2
    store.push("demo", Store(destination))
    assert destination.folders(builds) == [store["demo:train"].manifest.plan_id]
    assert verify(Store(destination)["demo:train"], depth="deep") == []


def test_the_order_of_puts(source: Store, destination: Storage) -> None:
    """The plan is put first, a record after its fragment's objects, the manifest after all of them, the name last."""
    log = Log()
    source.push("demo:train", Store(WatchedStorage(destination, log)))
    puts = [path.removeprefix(SMALL.address.folder) for path in log.paths("put")]
    assert puts[0] == "/plan.json"
    assert puts[-2:] == ["/manifest.json", "refs/demo/00000001.json"]
    for fragment in range(3):
        record = next(at for at, path in enumerate(puts) if path.endswith(f"records/{fragment:05d}.json"))
        assert all(at < record for at, path in enumerate(puts) if path.endswith(f"/c/{fragment}"))
    commit = log.verbs.index(("put", SMALL.address.manifest))
    build = source["demo:train"].address.build(source["demo:train"].manifest.plan_id)
    assert log.verbs[commit - 1] == ("list", build)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "missing"])
def test_damage_at_the_source(source: Store, how: str, deep: bool) -> None:
    """Each damaged object is named, and nothing is committed or named at the destination."""
    root = Path(source.storage.url)
    for path in objects_of(source)[:: 7 if deep else 2]:
        data = (root / path).read_bytes()
        changed = {"flipped": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "longer": data + b"\0"}.get(
            how
        )
        (root / path).unlink()
        if changed is not None:
            (root / path).write_bytes(changed)
        there = Store(memory_storage())
        with pytest.raises(DamagedError, match=re.escape(path)) as caught:
            there.pull("demo:train", source, deep=deep)
        assert caught.value.details["objects"] == (path,)
        assert [*there.feature_sets()] == []
        assert there.names() == []
        (root / path).write_bytes(data)


def test_a_source_that_changes_its_mind(source: Store, tmp_path: Path) -> None:
    """If the manifest at the end of the copy differs from that at the beginning, nothing is committed."""
    other = SMALL.address.manifest

    def watch(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        if verb == "put" and path.endswith("/records/00002.json"):
            (Path(source.storage.url) / other).write_bytes(foreign)
        return effect()

    stranger = Store(tmp_path / "stranger")
    SMALL.build(stranger.storage, 128)
    foreign = (tmp_path / "stranger" / other).read_bytes()
    there = Store(WatchedStorage(memory_storage(), watch))
    with pytest.raises(StoreError, match=r"changed in .* during the copy"):
        there.pull("demo:train", source)
    assert [*there.feature_sets()] == []


def test_somebody_cleans_up_meanwhile(source: Store) -> None:
    """If an object is gone again before the manifest is put, the manifest is not put."""
    destination = memory_storage()
    lost = f"{source['demo:train'].data_path}/label/c/1"

    def watch(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        done = effect()
        if verb == "put" and path.endswith("records/00001.json"):
            destination.delete(lost)
        return done

    with pytest.raises(
        StoreError,
        match=re.escape(f"{lost} disappeared from memory://test after it was written (1 such object)"),
    ):
        Store(WatchedStorage(destination, watch)).pull("demo:train", source)
    assert [*Store(destination).feature_sets()] == []


@pytest.mark.parametrize("how", ["flipped", "empty", "missing", "giant", "folder", "newer", "of another set"])
def test_a_damaged_plan(source: Store, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The plan follows from the manifest and readers do not need it: its damage stops no copy, and the copy has a correct plan."""
    place = Path(source.storage.url) / SMALL.address.plan
    plan = place.read_bytes()
    place.unlink()
    if how == "folder":
        place.mkdir()
    elif how != "missing":
        changed = {
            "flipped": bytes([plan[0] ^ 1]) + plan[1:],
            "newer": seal({**unseal(plan, path="plan.json"), "format": 2}),
            "of another set": (Path(source.storage.url) / VALID.address.plan).read_bytes(),
        }
        place.write_bytes(changed.get(how, b""))
        if how == "giant":
            os.truncate(place, 2**40)
    destination = memory_storage()
    Store(destination).pull("demo:train", source)
    assert destination.get(SMALL.address.plan) == plan
    assert verify(Store(destination)["demo:train"], depth="deep") == []
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert SMALL.address.plan in warning
    assert warning.endswith(f"run spikestore repair {SMALL.address.short} --store {source.storage.url}")


def test_another_set_under_the_same_keys(source: Store, destination: Storage) -> None:
    """Two digests under one key: both stores and digests are named, neither set nor name changes."""
    other = SmallSet(
        SMALL.transform,
        SMALL.source,
        SMALL.layout,
        SMALL.n_events,
        small_set(140, seed=5).truth,
        SMALL.skipped,
    )
    there = Store(destination)
    there.point("demo", {"train": other.build(destination)})
    with pytest.raises(ConflictError, match="the samples of one of these sets are wrong") as caught:
        source.push("demo:train", there)
    assert source.storage.url in str(caught.value)
    assert destination.url in str(caught.value)
    assert there["demo:train"].digest == other.build(destination).digest


@pytest.mark.parametrize("column", ["label", "value"])
def test_other_objects_in_the_way(source: Store, destination: Storage, column: str) -> None:
    """An object that exists already is not trusted without its record, whether its size is right or not."""
    features = source["demo:train"]
    path = f"{features.data_path}/{column}/c/0"
    data = source.storage.get(path)
    destination.put_if_absent(path, bytes([data[0] ^ 1]) + data[1:] if column == "label" else data[:-1])
    with pytest.raises(ConflictError, match=re.escape(path)) as caught:
        source.push("demo:train", Store(destination))
    assert features.manifest.plan_id in str(caught.value)
    assert [*Store(destination).feature_sets()] == []


@pytest.mark.parametrize("equal", [True, False])
def test_a_race_for_one_object(source: Store, destination: Storage, equal: bool) -> None:
    """If another process puts an object first, the object is compared: equal bytes are accepted, others end the copy."""

    def faster(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        if verb == "put" and path.endswith("/label/c/0"):
            destination.put_if_absent(path, source.storage.get(path)[: None if equal else -1])
        return effect()

    there = Store(WatchedStorage(destination, faster))
    if equal:
        there.pull("demo:train", source)
        assert verify(Store(destination)["demo:train"], depth="deep") == []
    else:
        with pytest.raises(ConflictError, match=r"label/c/0 in .* differs from"):
            there.pull("demo:train", source)
        assert [*Store(destination).feature_sets()] == []


def test_no_room(source: Store, destination: Storage) -> None:
    """A set that does not fit is rejected before anything is written; the message has both sizes."""
    watched = WatchedStorage(destination, Log())
    watched.free_bytes = lambda: 5000  # type: ignore[method-assign]
    with pytest.raises(
        StorageFullError, match=r"needs [0-9,]+ more bytes, but .* has only 5,000 left"
    ) as caught:
        source.push("demo:train", Store(watched))
    assert caught.value.details["needed"] == sum(
        one.size for one in source.storage.list(f"{SMALL.address.folder}/builds")
    )
    assert [*destination.list("features")] == []


def test_names_at_the_destination(
    source: Store, destination: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """A push of one split keeps the others; a name that moves is reported; a set that is pushed by key gets no name."""
    caplog.set_level(logging.INFO)
    there = Store(destination)
    source.push("demo:valid", there)
    source.push("demo:train", there)
    assert_whole(there)
    other = small_set(64, split="train", seed=9)
    source.point("demo", {"train": other.build(source.storage)})
    source.push("demo", there)
    assert re.search(r"moved demo:train from digest [0-9a-f]{12} to [0-9a-f]{12} in ", caplog.text)
    assert len(there["demo:train"]) == 64
    keyless = Store(memory_storage())
    source.push(f"{SMALL.transform.key[:8]}/{SMALL.source.key[:8]}", keyless)
    assert keyless.names() == []
    assert len([*keyless.feature_sets()]) == 1


def test_a_newer_split_does_not_stop_the_others(source: Store, destination: Storage) -> None:
    """If the destination has one of the sets in a newer format, the other split is copied before the error is raised."""
    there = Store(destination)
    source.push("demo:train", there)
    path = SMALL.address.manifest
    document = unseal(destination.get(path), path=path)
    destination.replace(path, seal({**document, "format": 2}))
    with pytest.raises(NewerFormatError, match="has store format 2"):
        source.push("demo", there)
    assert there.find(VALID.address) is not None


def test_refusals(source: Store, destination: Storage) -> None:
    """Misspelt names, unknown splits, and a copy to the same store are rejected."""
    there = Store(destination)
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        source.push("demmo", there)
    with pytest.raises(UnknownNameError, match="has no split 'test'"):
        source.push("demo:test", there)
    with pytest.raises(UsageError, match="is both source and destination"):
        source.push("demo", source.storage.url)
    assert [*destination.list("features")] == []


def test_memory_is_bounded(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of objects in progress never exceed the budget; a larger object is copied alone."""
    sizes = {one.path: one.size for one in source.storage.list("features") if "/c/" in one.path}
    budget = sorted(sizes.values())[-3]
    monkeypatch.setattr(transfer, "BUDGET", budget)
    holding: list[int] = []
    peaks: list[list[int]] = []
    lock, second = threading.Lock(), threading.Event()

    def watch(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        with lock:
            if path in sizes and verb == "get":
                holding.append(sizes[path])
                peaks.append([*holding])
        if len(peaks) == 2:
            second.set()
        if peaks:
            second.wait(10)  # so that two objects are in progress at once, however fast each is
        try:
            return effect()
        finally:
            with lock:
                if path in sizes and verb == "put":
                    holding.remove(sizes[path])

    there = Store(WatchedStorage(memory_storage(), watch))
    there.pull("demo:train", Store(WatchedStorage(source.storage, watch)))
    assert len(peaks) > 20
    assert all(sum(peak) <= budget or len(peak) == 1 for peak in peaks)
    assert any(len(peak) > 1 for peak in peaks)
