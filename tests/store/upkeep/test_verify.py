"""The findings of each depth of verify, and the objects that it reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.store.small_sets import memory_storage, small_set
from tests.store.watched_storage import Crashing, Result, WatchedStorage

from spikestore.store import Damage, FeatureSet, verify
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store.upkeep.verify import Depth
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.specs.canonical import seal, sha256_hex, unseal

SMALL = small_set()
DEPTHS: tuple[Depth, ...] = ("quick", "normal", "deep")


def built() -> tuple[ObjectStorage, FeatureSet]:
    """Return a fresh set, to be damaged."""
    storage = memory_storage()
    return storage, SMALL.build(storage)


def replace(storage: ObjectStorage, path: str, data: bytes) -> None:
    """Replace the bytes of an object."""
    storage.delete(path)
    storage.put_if_absent(path, data)


@pytest.mark.parametrize("depth", DEPTHS)
def test_an_intact_set(depth: Depth) -> None:
    """An intact set has no findings, and progress ends at its total."""
    _, features = built()
    seen: list[tuple[int, int]] = []
    assert verify(features, depth=depth, progress=lambda done, total: seen.append((done, total))) == []
    assert seen
    assert all(0 <= done <= total for done, total in seen)
    assert seen[-1][0] > 0


def test_depths_differ_in_what_they_find() -> None:
    """A flipped bit is found by hashing, not by sizes; a missing byte is found by sizes."""
    storage, features = built()
    path = f"{features.data_path}/label/c/1"
    data = storage.get(path)
    replace(storage, path, data[:-1] + bytes([data[-1] ^ 1]))
    assert verify(features, depth="quick") == []
    for depth in DEPTHS[1:]:
        assert verify(features, depth=depth) == [
            Damage(path, "its SHA-256 differs from its record", fragment=1)
        ]
    replace(storage, path, data[:-1])
    for depth in DEPTHS:
        (found,) = verify(features, depth=depth)
        assert found == Damage(path, f"has {len(data) - 1} bytes, expected {len(data)}", fragment=1)
    storage.delete(path)
    for depth in DEPTHS:
        assert verify(features, depth=depth) == [Damage.missing(path, 1)]


def test_quick_reads_no_data() -> None:
    """``quick`` requests only documents."""
    storage, features = built()
    watch = Crashing()
    assert (
        verify(FeatureSet(WatchedStorage(storage, watch), SMALL.address, features.manifest), depth="quick")
        == []
    )
    assert not [path for verb, path in watch.verbs if verb == "get" and "/c/" in path]


def test_all_damage_is_found_at_once() -> None:
    """Every damaged, missing and unexpected object is named in one run."""
    storage, features = built()
    data, records = features.data_path, features.address.build(features.manifest.plan_id) + "/records"
    for path in (
        f"{data}/nnz/c/0",
        f"{data}/start/zarr.json",
        f"{records}/00001.json",
        features.address.plan,
    ):
        storage.delete(path)
    replace(storage, f"{data}/value/c/2", b"short")
    extra = [f"{data}/nnz/c/9", f"{data}/other/zarr.json", f"{records}/00009.json"]
    for path in extra:
        storage.put_if_absent(path, b"?")
    found = {one.path: one.detail for one in verify(features)}
    assert {path for path, what in found.items() if what == "does not belong to the set"} == {*extra}
    assert {*found} - {*extra} == {
        f"{data}/nnz/c/0",
        f"{data}/start/zarr.json",
        f"{data}/value/c/2",
        f"{records}/00001.json",
        features.address.plan,
    }


def test_a_damaged_record_hides_no_other_damage() -> None:
    """Missing and unreadable objects beside the record are named too; an intact fragment is not."""
    storage, features = built()
    record = features.address.record(features.manifest.plan_id, 0)
    replace(storage, record, b"?")
    for depth in DEPTHS:
        assert [one.path for one in verify(features, depth=depth)] == [record]
    storage.delete(f"{features.data_path}/nnz/c/0")
    replace(storage, f"{features.data_path}/value/c/0", b"?")
    expected = {record, f"{features.data_path} (fragment 0)", f"{features.data_path}/nnz/c/0"}
    for depth in DEPTHS[1:]:
        assert {one.path for one in verify(features, depth=depth)} == expected


def test_block_digests_of_a_record() -> None:
    """If block digests of a record are not those of the values, the manifest's digest differs, and a deep verify finds the place."""
    storage, features = built()
    path = features.address.record(features.manifest.plan_id, 2)
    record = unseal(storage.get(path), path="record")
    record["blocks"][0] = "ab" * 32
    replace(storage, path, seal(record))
    document = unseal(storage.get(features.address.manifest), path="manifest.json")
    document["fragments"][2][3] = sha256_hex(storage.get(path))
    replace(storage, features.address.manifest, seal(document))
    forged = FeatureSet.open(storage, features.address)
    (digest,) = verify(forged)
    assert digest.path == features.address.manifest
    assert digest.detail.startswith(f"has digest = {features.digest[:12]}, but its records give ")
    assert verify(forged, depth="deep") == [
        Damage(path, "the block digests of the record differ from those of the stored values", fragment=2),
        digest,
    ]


@pytest.mark.parametrize("workers", [1, 3, 40])
def test_any_number_of_threads(workers: int) -> None:
    """The number of threads changes neither the findings nor their order, and progress never decreases."""
    storage, features = built()
    for name in ("label/c/2", "nnz/c/0", "value/c/2"):
        replace(storage, f"{features.data_path}/{name}", b"?")
    seen: list[int] = []
    found = verify(features, workers=workers, progress=lambda done, total: seen.append(done))
    assert [one.path.rpartition("data.zarr/")[2] for one in found] == ["nnz/c/0", "label/c/2", "value/c/2"]
    assert seen == sorted(seen)


def test_values_of_a_silent_fragment_are_unexpected() -> None:
    """An object of index in a fragment without non-zeros does not belong to the set."""
    storage, features = built()
    storage.put_if_absent(f"{features.data_path}/index/c/1", storage.get(f"{features.data_path}/index/c/0"))
    (found,) = verify(features)
    assert found == Damage(f"{features.data_path}/index/c/1", "does not belong to the set", "foreign")


def test_other_builds_are_no_concern() -> None:
    """Objects of another build of the same set are no damage: gc removes them."""
    storage, features = built()
    SMALL.build(storage, 128, restart=True)
    assert verify(features, depth="deep") == []


def test_damaged_root_metadata() -> None:
    """Damage of the root document is named."""
    storage, features = built()
    path = f"{features.data_path}/zarr.json"
    replace(storage, path, storage.get(path).replace(b"170", b"171"))
    assert Damage(path, "its SHA-256 differs from the manifest") in verify(features)
    storage.delete(path)
    assert Damage.missing(path) in verify(features)


def test_the_digest_is_recomputed() -> None:
    """If all objects match their records, but not the digest, every depth that reads the records finds it."""
    storage, features = built()
    document = unseal(storage.get(features.address.manifest), path="manifest.json")
    replace(storage, features.address.manifest, seal({**document, "digest": "ab" * 32}))
    forged = FeatureSet.open(storage, features.address)
    for depth in DEPTHS:
        (found,) = verify(forged, depth=depth)
        assert found.path == features.address.manifest
        assert found.detail == f"has digest = abababababab, but its records give {features.digest[:12]}"


def test_deep_decodes() -> None:
    """If objects match their forged records, but their values fail the check, the deep verify finds it."""
    storage, features = built()
    path = f"{features.data_path}/label/c/0"
    other = memory_storage()
    replace(storage, path, other.get(f"{small_set(seed=1).build(other).data_path}/label/c/0"))
    record_path = features.address.record(features.manifest.plan_id, 0)
    record = unseal(storage.get(record_path), path="record")
    for entry in record["objects"]:
        if entry["path"] == "label/c/0":
            entry |= {"sha256": sha256_hex(storage.get(path)), "size": len(storage.get(path))}
    replace(storage, record_path, seal(record))
    document = unseal(storage.get(features.address.manifest), path="manifest.json")
    document["fragments"][0][3] = sha256_hex(storage.get(record_path))
    replace(storage, features.address.manifest, seal(document))
    forged = FeatureSet.open(storage, features.address)
    assert verify(forged) == []
    (found,) = verify(forged, depth="deep")
    assert "do not match their stored hash" in found.detail
    assert "(fragment 0)" in found.path


def test_a_storage_that_fails() -> None:
    """If a store can't be listed, the result is an error, neither "no damage" nor damage."""
    storage, features = built()

    def fail(verb: str, path: str, effect: Callable[[], Result]) -> Result:
        raise StoreError(f"can't {verb} {path}: connection reset", path=path)

    with pytest.raises(StoreError, match="connection reset"):
        verify(FeatureSet(WatchedStorage(storage, fail), SMALL.address, features.manifest))
