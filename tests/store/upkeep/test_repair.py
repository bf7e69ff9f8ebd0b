"""Repair restores the committed bytes or reports why it cannot, and never causes damage."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from tests.store.small_sets import SmallSet, files_of, memory_storage, same, small_set
from tests.store.watched_storage import Crash, Crashing, WatchedStorage

from spikestore.store import Build, Damage, FeatureSet, Store, verify
from spikestore.store.cli.main import main
from spikestore.store.columns.digest import block_checks, check_seed
from spikestore.store.columns.reader import FragmentDecoder
from spikestore.store.columns.zarr_reader import encode_fragment
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store.upkeep.repair import RowSource, repair
from spikestore.store.upkeep.repair_documents import put_right, repair_manifest
from spikestore.store.upkeep.repair_rewrite import FragmentRows
from spikestore.store_schemas import Plan
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.errors import ConflictError, DamagedError, MissingObjectError
from spikestore.store_schemas.specs.canonical import sha256_hex

SMALL = small_set()
SHORT = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))
FOLLOWS = ("plan.json", "zarr.json", "/records/")
"""Objects that follow from the others: all except those of the columns and the manifest."""


def contents(storage: Storage) -> dict[str, str]:
    """Return the hash of every object."""
    return {one.path: sha256_hex(storage.get(one.path)) for one in storage.list("features")}


def damaged(storage: Storage, path: str, how: str) -> None:
    """Flip a bit of an object, or delete it."""
    data = storage.get(path)
    storage.delete(path)
    if how == "flip":
        storage.put_if_absent(path, data[:-1] + bytes([data[-1] ^ 1]))


def truth(small: SmallSet = SMALL) -> RowSource:
    """Return a function that computes rows again."""

    def rows(plan: Plan, fragment: int) -> FragmentRows:
        place = plan.rows(fragment)
        skipped = tuple(SkippedRow(row=row, reason="unsorted times") for row in small.skipped if row in place)
        return FragmentRows(small.truth.rows(place.start, place.stop), skipped, EventCounts())

    return rows


def opened(storage: Storage) -> FeatureSet:
    """Return the set."""
    return FeatureSet.open(storage, SMALL.address)


def test_every_object_from_upstream(tmp_path: Path) -> None:
    """Whichever object is damaged, the same build in another store provides its bytes; all other objects stay unchanged."""
    storage, upstream = FolderStorage(tmp_path), memory_storage()
    features = SMALL.build(storage)
    SMALL.build(upstream)
    whole = contents(storage)
    for place, path in enumerate(whole):
        if path == SMALL.address.manifest:
            continue
        damaged(storage, path, ("flip", "delete")[place % 2])
        done = repair(features, upstream=upstream)
        assert done.left == ()
        assert path in {one.path for one in done.repaired}
        assert contents(storage) == whole, path
    assert files_of(tmp_path / ".tmp") == []


@pytest.mark.parametrize("how", ["flip", "delete"])
def test_objects_that_the_set_itself_determines(how: str) -> None:
    """Plan, zarr.json documents and records are restored without any other source."""
    storage = memory_storage()
    features = SMALL.build(storage)
    whole = contents(storage)
    paths = [path for path in whole if any(mark in path for mark in FOLLOWS)]
    assert len(paths) == 1 + 3 + 9
    for path in paths:
        damaged(storage, path, how)
        assert repair(features).left == ()
        assert contents(storage) == whole, path
    for path in paths:
        if "/records/" not in path:
            damaged(storage, path, how)
    assert repair(features).left == ()
    assert contents(storage) == whole


def test_a_restarted_build() -> None:
    """The plan of a restarted build follows from the manifest too."""
    storage = memory_storage()
    SMALL.build(storage)
    storage.delete(SMALL.address.manifest)
    features = SMALL.build(storage, restart=True)
    data = storage.get(SMALL.address.plan)
    assert b'"attempt":1' in data
    storage.delete(SMALL.address.plan)
    assert repair(features).left == ()
    assert storage.get(SMALL.address.plan) == data


def test_the_advice_of_a_failed_read_helps(filled_store: Path, source: Store) -> None:
    """A reader's error names the command, after which the same set can be read."""
    features, root = source["demo:train"], source.storage.url
    wanted = features.read()
    source.storage.delete(f"{features.data_path}/value/c/0")
    with pytest.raises(DamagedError, match=r"value/c/0 \(missing\)\. To restore it, run spikestore repair"):
        features.read()
    assert main(["repair", "demo:train", "--store", root, "--from", str(filled_store)]) == 0
    assert same(features.read(), wanted)


def test_values_that_nobody_has() -> None:
    """Without any source, the damage is reported with what to do, and nothing is changed."""
    storage = memory_storage()
    features = SMALL.build(storage)
    path = f"{features.data_path}/value/c/0"
    damaged(storage, path, "flip")
    before = contents(storage)
    done = repair(features)
    reason = (
        "its SHA-256 differs from its record; pass a store that has a copy (--from URL), or the recordings"
    )
    assert done.left == (Damage(path, f"{reason} (--data FOLDER)", fragment=0),)
    assert done.repaired == ()
    assert contents(storage) == before
    for how in ("flip", "delete"):
        damaged(upstream := memory_storage_with(SMALL), path, how)
        (left,) = repair(features, upstream=upstream).left
        assert "not encoded again from the rows of the upstream: the store memory" in left.detail
        assert contents(storage) == before


def memory_storage_with(small: SmallSet, fragment_samples: int = 64) -> ObjectStorage:
    """Return a store in memory that has a set."""
    storage = memory_storage()
    small.build(storage, fragment_samples)
    return storage


def test_rows_of_another_build() -> None:
    """An upstream with other fragments provides rows, which are encoded to the bytes that the record lists."""
    storage, upstream = memory_storage(), memory_storage_with(SMALL, 128)
    features = SMALL.build(storage)
    whole = contents(storage)
    for name in ("index", "check"):
        damaged(storage, f"{features.data_path}/{name}/c/2", "flip")
    damaged(storage, features.address.record(features.manifest.plan_id, 2), "delete")
    done = repair(features, upstream=upstream)
    assert done.left == ()
    assert {one.how for one in done.repaired} == {"encoded again from the rows of the upstream"}
    assert contents(storage) == whole


def test_rows_from_the_recordings() -> None:
    """Every object of a fragment, also its record, is restored from its rows."""
    storage = memory_storage()
    features = SMALL.build(storage)
    whole = contents(storage)
    for path in whole:
        if path.endswith(("/c/0", "records/00000.json")):
            damaged(storage, path, "delete")
    assert repair(features, rows=truth()).left == ()
    assert contents(storage) == whole


def test_reasons_in_other_words() -> None:
    """The manifest has the reasons of skipped rows, so a version with other messages repairs the record too."""
    storage = memory_storage()
    features = SMALL.build(storage)
    whole = contents(storage)
    number = SMALL.skipped[0] // features.manifest.fragment_samples
    for path in whole:
        if path.endswith((f"/c/{number}", f"records/{number:05d}.json")):
            damaged(storage, path, "delete")

    def rows(plan: Plan, fragment: int) -> FragmentRows:
        made = truth()(plan, fragment)
        return made._replace(
            skipped=tuple(row.model_copy(update={"reason": "other"}) for row in made.skipped)
        )

    assert repair(features, rows=rows).left == ()
    assert contents(storage) == whole


def test_other_rows_are_refused() -> None:
    """Recordings that result in other values than the committed ones are an error, and nothing of them is stored."""
    storage = memory_storage()
    features = SMALL.build(storage)
    damaged(storage, f"{features.data_path}/value/c/0", "flip")
    before = contents(storage)
    with pytest.raises(
        ConflictError, match=rf"fragment 0 of {features.data_path}, recomputed .* has other values"
    ):
        repair(features, rows=truth(small_set(seed=1)))
    assert contents(storage) == before


def test_an_upstream_of_another_digest() -> None:
    """Nothing is copied from a set with the same keys and another digest."""
    storage = memory_storage()
    features = SMALL.build(storage)
    twin = small_set(seed=1)
    other = SmallSet(SMALL.transform, SMALL.source, SMALL.layout, twin.n_events, twin.truth, twin.skipped)
    damaged(storage, f"{features.data_path}/value/c/0", "flip")
    with pytest.raises(ConflictError, match="nothing was copied from it"):
        repair(features, upstream=memory_storage_with(other))


def test_foreign_objects_are_removed() -> None:
    """An unexpected object is removed; all others stay unchanged."""
    storage = memory_storage()
    features = SMALL.build(storage)
    whole = contents(storage)
    storage.put_if_absent(f"{features.data_path}/index/c/1", b"?")
    assert repair(features).left == ()
    assert contents(storage) == whole


def otherwise_encoded(storage: Storage, small: SmallSet = SMALL) -> FeatureSet:
    """Build a set whose first labels are stored as other bytes, as by another version of a codec."""
    build = Build.join_or_start(storage, small.address, small.plan)
    root = copy.deepcopy(build.plan.zarr)
    root["consolidated_metadata"]["metadata"]["label"]["codecs"][0]["configuration"]["level"] = 0
    rows = small.truth.rows(0, 64)
    check = block_checks(rows, small.layout, check_seed(*small.address), 0)
    other = encode_fragment(build.plan.model_copy(update={"zarr": root}), 0, rows, check)["label/c/0"]
    storage.put_if_absent(f"{small.address.data(build.plan.hash[:12])}/label/c/0", other)
    return small.build(storage)


def test_equal_values_as_other_bytes() -> None:
    """They are rejected, with the possible remedies; on request they are stored, and only digest and names stay."""
    storage = memory_storage()
    store = Store(storage)
    features = otherwise_encoded(storage)
    store.point("small", {"train": features})
    path = f"{features.data_path}/label/c/0"
    damaged(storage, path, "flip")
    before = contents(storage)
    (left,) = repair(features, rows=truth()).left
    assert left.path == path
    assert "encodes them as other bytes" in left.detail
    assert "--rewrite" in left.detail
    assert contents(storage) == before
    assert repair(features, rows=truth(), rewrite=True).left == ()
    found = store["small"]
    assert found.manifest.fragments != features.manifest.fragments
    assert found.manifest.provenance == features.manifest.provenance
    assert verify(found, depth="deep") == []
    assert same(found.read(), SMALL.truth)


def test_rewriting_without_a_record() -> None:
    """If the record is damaged too, the stored check tells whether rows are the committed ones."""
    for rows, ends_well in ((truth(), True), (truth(small_set(seed=1)), False)):
        storage = memory_storage()
        features = otherwise_encoded(storage)
        damaged(storage, f"{features.data_path}/label/c/0", "flip")
        damaged(storage, features.address.record(features.manifest.plan_id, 0), "flip")
        done = repair(features, rows=rows, rewrite=True)
        assert (done.left == ()) is ends_well
        assert opened(storage).digest == features.digest
        assert (verify(opened(storage), depth="deep") == []) is ends_well


def writes(verbs: list[tuple[str, str]]) -> list[int]:
    """Return the numbers, from 1, of the operations that change something: a crash at any other has no new effect."""
    return [place for place, (verb, _) in enumerate(verbs, 1) if verb in {"put", "replace", "delete"}]


def test_a_crash_at_every_write() -> None:
    """A repair that stops anywhere leaves a set that can be repaired, and whose reads are right or fail."""
    upstream = memory_storage_with(SHORT)

    def broken() -> tuple[Storage, FeatureSet, dict[str, str]]:
        storage = memory_storage()
        features = SHORT.build(storage)
        whole = contents(storage)
        for path in (
            "data.zarr/index/c/0",
            "data.zarr/nnz/c/1",
            "data.zarr/nnz/zarr.json",
            "records/00001.json",
        ):
            damaged(storage, f"{features.address.build(features.manifest.plan_id)}/{path}", "flip")
        return storage, features, whole

    def repaired(storage: Storage, features: FeatureSet, watch: Crashing) -> None:
        watched = FeatureSet(WatchedStorage(storage, watch), features.address, features.manifest)
        assert repair(watched, upstream=upstream).left == ()

    storage, features, whole = broken()
    watch = Crashing()
    repaired(storage, features, watch)
    assert contents(storage) == whole
    assert len(writes(watch.verbs)) == 4
    for at in writes(watch.verbs):
        storage, features, whole = broken()
        with pytest.raises(Crash):
            repaired(storage, features, Crashing(at))
        try:
            assert same(FeatureSet.open(storage, SHORT.address).read(), SHORT.truth)
        except DamagedError as error:
            assert "is damaged" in str(error)  # noqa: PT017 - either is right
        repaired(storage, features, Crashing())
        assert contents(storage) == whole


def test_a_crash_at_every_write_of_a_rewrite() -> None:
    """A rewrite that stops anywhere is completed by the next repair, or by the next build."""

    def broken() -> tuple[Storage, FeatureSet]:
        storage = memory_storage()
        features = otherwise_encoded(storage, SHORT)
        damaged(storage, f"{features.data_path}/label/c/0", "flip")
        return storage, features

    def rewritten(storage: Storage, features: FeatureSet, watch: Crashing) -> None:
        watched = FeatureSet(WatchedStorage(storage, watch), features.address, features.manifest)
        assert repair(watched, rows=truth(SHORT), rewrite=True).left == ()

    storage, features = broken()
    watch = Crashing()
    rewritten(storage, features, watch)
    assert len(writes(watch.verbs)) == 19
    for at in writes(watch.verbs)[::2]:
        storage, features = broken()
        with pytest.raises(Crash):
            rewritten(storage, features, Crashing(at))
        try:
            again = FeatureSet.open(storage, SHORT.address)
        except MissingObjectError:
            again = SHORT.build(storage)
        rewritten(storage, again, Crashing())
        found = FeatureSet.open(storage, SHORT.address)
        assert found.digest == features.digest
        assert verify(found, depth="deep") == []


@pytest.mark.parametrize("how", ["flip", "delete"])
def test_a_manifest(how: str) -> None:
    """It is copied from the upstream, if it has the digest that the name pins."""
    storage, upstream = memory_storage(), memory_storage_with(SMALL)
    features = SMALL.build(storage)
    data = storage.get(SMALL.address.manifest)
    damaged(storage, SMALL.address.manifest, how)
    with pytest.raises(ConflictError, match="but the name in this store requires abababababab"):
        repair_manifest(storage, SMALL.address, upstream, digest="ab" * 32)
    assert repair_manifest(storage, SMALL.address, upstream, digest=features.digest).digest == features.digest
    assert verify(opened(storage), depth="deep") == []
    assert opened(storage).manifest.digest == features.digest
    assert (storage.get(SMALL.address.manifest) == data) is (
        opened(storage).manifest.provenance == features.manifest.provenance
    )


def test_decoding_other_bytes_of_one_fragment() -> None:
    """A decoder keeps nothing of the bytes that it decoded before."""
    storage = memory_storage()
    features = SMALL.build(storage)
    objects = {
        f"{name}/c/{fragment}": storage.get(f"{features.data_path}/{name}/c/{fragment}")
        for name in (*(name for name, _ in SMALL.layout.columns), "start", "check")
        for fragment in (0, 2)
        if name not in {"label"} or fragment == 0
    }
    decoder = FragmentDecoder(features.manifest, features.root)
    first, _ = decoder.read(0, objects)
    other = small_set(seed=1).build(memory_storage())
    objects["label/c/0"] = other.storage.get(f"{other.data_path}/label/c/0")
    second, _ = decoder.read(0, objects)
    assert same(first, SMALL.truth, 0, 64)
    assert second.label.tolist() == small_set(seed=1).truth.label[:64].tolist() != first.label.tolist()


def test_only_damaged_objects_are_replaced() -> None:
    """Intact objects are never replaced, and no damaged bytes are ever written."""
    storage = memory_storage()
    storage.put_if_absent("a", b"right")
    watch = Crashing()
    watched = WatchedStorage(storage, watch)
    assert put_right(watched, "a", b"right", sha256_hex(b"right")) is False
    assert [verb for verb, _ in watch.verbs] == ["get"]
    with pytest.raises(DamagedError, match="do not have the recorded SHA-256"):
        put_right(watched, "a", b"wrong", sha256_hex(b"right"))
    assert storage.get("a") == b"right"
