"""gc removes unused objects and nothing else, also next to concurrent builders and readers."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import files_of, memory_storage, same, small_set
from tests.store.watched_storage import Crash, Crashing, Result, WatchedStorage, interleave

from spikestore.store import Build, FeatureSet, Store, verify
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.upkeep.garbage import Garbage, collect, find_garbage
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    SpikestoreError,
    StoreError,
)

SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))
OTHER = small_set(70, split="valid", seed=1)
LATER = datetime.now(UTC) + timedelta(days=8)
"""A time at which everything that tests write is old."""
NO_AGE = timedelta(days=-1)
"""An age that protects no object."""


def started(storage: Storage, fragments: int = 1, wish: int = 64, *, restart: bool = False) -> Build:
    """Begin a build, and leave it unfinished."""
    build = Build.join_or_start(storage, SMALL.address, lambda: SMALL.plan(wish), restart=restart)
    for fragment in range(fragments):
        SMALL.put(build, fragment)
    return build


def garbage(storage: Storage, *, unreferenced: bool = False) -> list[str]:
    """Return what gc would remove a week later."""
    return [one.path for one in find_garbage(storage, unreferenced=unreferenced, now=LATER).garbage]


def run(storage: Storage, *, unreferenced: bool = False) -> list[str]:
    """Run gc a week later; return what it removed."""
    found = find_garbage(storage, unreferenced=unreferenced, now=LATER).garbage
    return [one.path for one in collect(storage, found, now=LATER)]


def paths(storage: Storage) -> list[str]:
    """Return all objects."""
    return [one.path for prefix in ("features", "refs") for one in storage.list(prefix)]


def test_an_unfinished_build() -> None:
    """It stays for a week after its newest object, then it is removed with its plan; the sizes are reported before."""
    storage = memory_storage()
    build = started(storage)
    folder = SMALL.address.build(build.plan.hash[:12])
    stored = [*storage.list(folder)]
    assert find_garbage(storage).garbage == ()
    newest = max(one.modified for one in stored)
    assert find_garbage(storage, now=newest + timedelta(days=7)).garbage == ()
    (found,) = find_garbage(storage, now=LATER).garbage
    size = sum(one.size for one in stored)
    assert found == Garbage("build", folder, len(stored), size, newest, SMALL.address)
    assert len(paths(storage)) == len(stored) + 1
    assert run(storage) == [folder]
    assert paths(storage) == []
    assert same(SMALL.build(storage).read(), SMALL.truth)


def test_a_committed_set_stays() -> None:
    """A committed set stays, whatever its age; objects of a build that was restarted are removed, the plan stays."""
    storage = memory_storage()
    left = started(storage)
    features = SMALL.build(storage, restart=True)
    assert run(storage) == [SMALL.address.build(left.plan.hash[:12])]
    assert verify(features, depth="deep") == []
    assert run(storage) == []


def test_unreferenced_sets() -> None:
    """Sets without a name are removed only on request and after a week; named ones, by any split or name, never."""
    storage = memory_storage()
    store = Store(storage)
    store.point("kept", {"train": SMALL.build(storage)})
    OTHER.build(storage)
    before = paths(storage)
    assert run(storage) == []
    survey = find_garbage(storage, unreferenced=True)
    assert survey.garbage == ()
    assert survey.kept == (
        f"{OTHER.address.folder}: no name refers to this set, but the set is younger than 7 days",
    )
    survey = find_garbage(storage, unreferenced=True, age=timedelta(hours=12))
    assert survey.kept == (
        f"{OTHER.address.folder}: no name refers to this set, but the set is younger than 0.5 days",
    )
    assert paths(storage) == before
    assert run(storage, unreferenced=True) == [OTHER.address.folder]
    assert [path for path in before if path not in paths(storage)] == [
        path for path in before if path.startswith(OTHER.address.folder)
    ]
    store.forget("kept")
    assert run(storage, unreferenced=True) == [SMALL.address.folder]
    assert all(path.startswith("refs/") for path in paths(storage))


def test_a_younger_build_of_an_unreferenced_set() -> None:
    """A set that is being built again stays, with its plan."""
    storage = memory_storage()
    features = SMALL.build(storage)
    young = started(storage, restart=True)
    survey = find_garbage(storage, unreferenced=True, now=LATER)
    chosen = [one for one in survey.garbage if one.kind == "feature set"]
    assert len(collect(storage, chosen, now=LATER)) == 1
    assert storage.get(SMALL.address.plan) == young.plan.to_bytes()
    assert storage.folders(f"{SMALL.address.folder}/builds") == [young.plan.hash[:12]]
    assert SMALL.build(storage).digest == features.digest


@pytest.mark.parametrize("has_file", [False, True])
def test_a_folder_in_the_place_of_an_object(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, has_file: bool
) -> None:
    """A folder instead of ``zarr.json`` does not stop gc; if it is not empty, it stays, and a warning names it."""
    storage = FolderStorage(tmp_path)
    build = started(storage)
    OTHER.put(Build.join_or_start(storage, OTHER.address, OTHER.plan), 0)
    mark = tmp_path / build.address.build(build.plan.hash[:12]) / "data.zarr" / "zarr.json"
    mark.unlink()
    mark.mkdir()
    if has_file:
        (mark / "file").touch()
    assert len(run(storage)) == 2
    assert files_of(tmp_path) == ([f"{mark.relative_to(tmp_path).as_posix()}/file"] if has_file else [])
    assert ("not removed: " in caplog.text) is has_file


def test_unreadable_objects_are_kept() -> None:
    """A damaged manifest may refer to any build, a damaged name to any set: gc keeps them all."""
    storage = memory_storage()
    SMALL.build(storage)
    started(storage, restart=True)
    manifest = storage.get(SMALL.address.manifest)
    storage.replace(SMALL.address.manifest, b"?")
    survey = find_garbage(storage, unreferenced=True, now=LATER)
    assert survey.garbage == ()
    assert [SMALL.address.manifest in reason for reason in survey.kept] == [True]
    storage.replace(SMALL.address.manifest, manifest)
    storage.put_if_absent("refs/demo/00000001.json", b"?")
    with pytest.raises(DamagedError, match=r"cannot read the name 'demo' .*, so gc removes nothing"):
        find_garbage(storage, unreferenced=True)
    assert len(garbage(storage)) == 1


def test_a_name_that_is_given_meanwhile() -> None:
    """A set that gets a name after gc has looked stays, or is restored."""
    for moment in range(1, 12):
        storage = memory_storage()
        features = SMALL.build(storage)
        found = find_garbage(storage, unreferenced=True, now=LATER).garbage
        seen = 0

        def give(
            verb: str,
            path: str,
            effect: Callable[[], Result],
            storage: Storage = storage,
            moment: int = moment,
        ) -> Result:
            nonlocal seen
            seen += 1
            if seen == moment:
                try:
                    Store(storage).point("late", {"train": features})  # noqa: B023 - called in this round
                except MissingObjectError:
                    refused.append(moment)  # noqa: B023
            return effect()

        refused: list[int] = []
        removed = collect(WatchedStorage(storage, give), found, now=LATER)
        if removed:
            assert refused or seen < moment or storage.folders("refs") == []
            assert verify_all(storage) == []
        else:
            assert same(Store(storage)["late"].read(), SMALL.truth)
            assert verify(Store(storage)["late"], depth="deep") == []


def verify_all(storage: Storage) -> list[str]:
    """Return the damage of the committed sets, without that of plans, which follow from their manifests."""
    found = [one for features in Store(storage).feature_sets() for one in verify(features)]
    return [str(one) for one in found if not one.path.endswith("/plan.json")]


def collected(storage: Storage) -> tuple[Garbage, ...]:
    """Run gc as if every object was old enough; return what it removed."""
    return collect(storage, find_garbage(storage, unreferenced=True, age=NO_AGE).garbage, age=NO_AGE)


@given(st.lists(st.integers(0, 1), max_size=120), st.integers(0, 2), st.booleans())
@settings(max_examples=examples(12))
def test_any_interleaving_with_a_builder(order: list[int], fragments: int, restart: bool) -> None:
    """Even without protection by age, a build ends in a complete set or a clear error, and the next one succeeds."""
    storage = memory_storage()
    started(storage, fragments)
    built, _ = interleave(
        storage,
        order,
        [lambda one: SMALL.build(one, restart=restart).digest, lambda one: str(collected(one))],
    )
    assert isinstance(built, str | SpikestoreError), built
    assert verify_all(storage) == []
    try:
        features = SMALL.build(storage)
    except DamagedError as error:
        assert "--restart" in str(error)  # noqa: PT017 - either is right
        features = SMALL.build(storage, restart=True)
    assert same(features.read(), SMALL.truth)


@given(st.lists(st.integers(0, 1), max_size=60))
@settings(max_examples=examples(10))
def test_any_interleaving_with_a_reader(order: list[int]) -> None:
    """A reader of a set that is removed gets the right rows, or an error that says so."""
    storage = memory_storage()
    features = SMALL.build(storage)

    def read(one: Storage) -> bool:
        opened = FeatureSet(one, features.address, features.manifest)
        for _ in range(3):
            opened.record(0)
            assert same(opened.read(), SMALL.truth)
        return True

    found, removed = interleave(storage, order, [read, lambda one: len(collected(one)) == 1])
    assert removed is True
    assert found is True or isinstance(found, StoreError), found


def test_a_reader_in_mid_epoch() -> None:
    """If a set is removed during a read, at any object, the read fails clearly; also if the set was built again."""
    storage = memory_storage()
    features = SMALL.build(storage)
    epoch = features.fragments()
    next(epoch)
    collected(storage)
    with pytest.raises(
        MissingObjectError, match=r"was removed from memory://test while it was read.*Build or copy"
    ):
        next(epoch)
    with pytest.raises(MissingObjectError, match=r"was removed from memory://test while it was read"):
        features.column("label")
    SMALL.build(storage, 128)
    with pytest.raises(MissingObjectError, match="was replaced by another build"):
        features.column("label")
    with pytest.raises(
        MissingObjectError,
        match=r"was replaced by another build in memory://test.*valid\. Open the set again",
    ):
        features.read()
    with pytest.raises(MissingObjectError, match="was replaced by another build"):
        FeatureSet(storage, features.address, features.manifest).read()


def test_a_crash_at_every_verb() -> None:
    """If gc stops at any operation, sets are complete or absent, and the next gc finishes."""

    def full() -> Storage:
        storage = memory_storage()
        started(storage)
        SMALL.build(storage, restart=True)
        OTHER.build(storage)
        Store(storage).point("kept", {"valid": OTHER.build(storage)})
        return storage

    watch = Crashing()
    collected(WatchedStorage(full(), watch))
    writes = [place for place, (verb, _) in enumerate(watch.verbs, 1) if verb in {"put", "delete"}]
    assert len(writes) > 30
    for at in writes[::6]:
        storage = full()
        with pytest.raises(Crash):
            collected(WatchedStorage(storage, Crashing(at)))
        assert verify_all(storage) == []
        collected(storage)
        collected(storage)  # the first one may have met a build whose objects were young again
        assert {path.split("/")[2] for path in paths(storage) if path.startswith("features/")} == {
            OTHER.address.source_key
        }
        assert same(Store(storage)["kept"].read(), OTHER.truth)


def test_a_builder_that_listed_objects_before_gc(caplog: pytest.LogCaptureFixture) -> None:
    """If objects are removed after a builder has listed them, its manifest does not stay without them."""
    storage = memory_storage()
    features = SMALL.build(storage)
    manifest = storage.get(SMALL.address.manifest)
    storage.delete(SMALL.address.manifest)

    def late(verb: str, path: str, effect: Callable[[], Result]) -> Result:
        if verb == "delete" and path.endswith("records/00000.json"):
            storage.put_if_absent(SMALL.address.manifest, manifest)
        return effect()

    found = find_garbage(storage, now=LATER).garbage
    collect(WatchedStorage(storage, late), found, now=LATER)
    assert Store(storage).find(SMALL.address) is None
    assert "while gc removed objects of this set, so gc deleted the manifest of the set" in caplog.text
    assert SMALL.build(storage).digest == features.digest


def test_a_builder_that_commits_at_the_last_moment() -> None:
    """If a manifest is put while gc has removed only the root zarr.json, the set stays complete."""
    storage = memory_storage()
    SMALL.build(storage)
    before = paths(storage)
    manifest = storage.get(SMALL.address.manifest)
    storage.delete(SMALL.address.manifest)

    def late(verb: str, path: str, effect: Callable[[], Result]) -> Result:
        if verb == "delete" and path.endswith("data.zarr/zarr.json"):
            storage.put_if_absent(SMALL.address.manifest, manifest)
        return effect()

    found = find_garbage(storage, now=LATER).garbage
    assert collect(WatchedStorage(storage, late), found, now=LATER) == ()
    assert paths(storage) == before
    assert verify_all(storage) == []


def test_a_plan_that_nobody_followed() -> None:
    """A plan without further objects, as after a crash, is removed; a builder that starts meanwhile is not affected."""
    storage = memory_storage()
    storage.put_if_absent(SMALL.address.plan, SMALL.plan(128).to_bytes())
    assert find_garbage(storage).garbage == ()
    left = find_garbage(storage, now=LATER).garbage
    assert [one.path for one in left] == [SMALL.address.plan]
    build = started(storage)
    assert len(collect(storage, left, now=LATER)) == 1
    SMALL.put(build, 0)
    assert same(build.commit(SMALL.transform, SMALL.source, {}).read(), SMALL.truth)
    assert collect(storage, left, now=LATER) == ()
    assert verify_all(storage) == []


def test_half_written_files(tmp_path: Path) -> None:
    """Temporary files of writers that crashed are removed by age; empty folders are removed with their last object."""
    storage = FolderStorage(tmp_path)
    started(storage)
    half = tmp_path / ".tmp" / "0123"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    assert [(one.kind, one.size) for one in find_garbage(storage).garbage] == [("half-written", 4)]
    assert run(storage)[-1] == ".tmp"
    assert files_of(tmp_path) == []
    assert not (tmp_path / "features").exists()
    assert same(SMALL.build(storage).read(), SMALL.truth)


def test_a_newer_format_is_left_to_a_newer_version() -> None:
    """What a name of a newer format refers to is unknown."""
    from spikestore.store_schemas.specs.canonical import seal, unseal

    storage = memory_storage()
    Store(storage).point("demo", {"train": SMALL.build(storage)})
    document = unseal(storage.get("refs/demo/00000001.json"), path="ref")
    storage.put_if_absent("refs/demo/00000002.json", seal({**document, "number": 2, "format": 2}))
    with pytest.raises(NewerFormatError):
        find_garbage(storage, unreferenced=True)
