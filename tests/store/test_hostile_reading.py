"""Direct reads from a malicious store: errors name the fault, within limited time and memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from pcodec import ChunkConfig, standalone
from tests.faults.forger import SMALL, Forgery, reseal
from tests.store.small_sets import same

from spikestore.store import FeatureSet, Store, verify
from spikestore.store.storage import FolderStorage
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import DamagedError, NewerFormatError, SpikestoreError, StoreError
from spikestore.store_schemas.specs.canonical import seal, unseal

ROOT = Path(__file__).parents[2]


def damaged(forged: Forgery, match: str) -> None:
    """Assert that opening and reading ends in a `DamagedError`."""
    with pytest.raises(DamagedError, match=match):
        Store(forged.root)["small:train"].read()


def bomb(chunks: int) -> bytes:
    """Return a pco file of `chunks` times 262,144 zeros: 13 bytes represent a megabyte."""
    two, three = (standalone.simple_compress(np.zeros(n * 2**18, np.int32), ChunkConfig()) for n in (2, 3))
    size = len(three) - len(two)
    return bytes(two[:-1] + two[-1 - size : -1] * (chunks - 2) + two[-1:])


def crc(data: bytes) -> bytes:
    """Return data followed by the crc32c that Zarr's codec appends."""
    return data + int(google_crc32c.value(data)).to_bytes(4, "little")


def test_a_chunk_that_holds_more_than_it_claims(forged: Forgery) -> None:
    """A hundred gigabytes of zeros in a megabyte of a column are an error, within a gigabyte of memory."""
    assert len(standalone.simple_decompress(bomb(5))) == 5 * 2**18
    forged.replace_object("label/c/0", crc(bomb(100_000)))
    script = (
        "import resource\n"
        "from spikestore.store import Store, verify\n"
        f"features = Store({str(forged.root)!r})['small:train']\n"
        "features.read(64, 65)\n"  # memory of the imports
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))\n"
        "for use in (lambda: features.read(0, 64), lambda: print(verify(features, depth='deep')[0].detail)):\n"
        "    try:\n"
        "        use()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("DamagedError ")
    assert "do not match their stored hash" in first
    assert "do not match their stored hash" in second


def test_a_chunk_that_holds_fewer(forged: Forgery) -> None:
    """Missing values of a chunk are an error, and are not replaced."""
    forged.replace_object("label/c/0", crc(standalone.simple_compress(np.zeros(32, np.int32), ChunkConfig())))
    with pytest.raises(DamagedError, match="a chunk has 32 values, expected 64"):
        Store(forged.root)["small:train"].read()


@pytest.mark.parametrize("place", [0, 1])
def test_a_shard_index_with_huge_numbers(forged: Forgery, place: int) -> None:
    """Chunks that begin or end far beyond their object are an error, whatever the checksum says."""
    data = (forged.data / "index/c/0").read_bytes()
    index = np.frombuffer(data[-20:-4], "<u8").copy()
    index[place] = 2**62
    forged.replace_object("index/c/0", data[:-20] + crc(index.tobytes()))
    with pytest.raises(StoreError, match="fragment 0"):
        Store(forged.root)["small:train"].read()


def huge(document: dict[str, Any]) -> None:
    """Change the manifest to one fragment of 2^40 rows."""
    document.update(samples=2**40, fragment_samples=2**40, nnz=0, skipped=[], max_index=0, max_value=0)
    row = max(document["fragments"], key=lambda fragment: fragment[2])
    document["fragments"] = [[2**40, 0, row[2], row[3]]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (huge, "needs [0-9,]{15,} bytes of memory, but this machine has .*read it on a larger machine"),
        (
            lambda one: one.update(shard_values=2**50 // 262144 * 262144),
            r"have room for [0-9,]{20,} values, more than the limit of",
        ),
        (lambda one: one["fragments"][0].__setitem__(1, 2**45) or one.update(nnz=one["nnz"] + 2**45), None),
    ],
    ids=["rows", "room in shards", "non-zeros"],
)
def test_giant_manifests(
    forged: Forgery, change: Callable[[dict[str, Any]], None], match: str | None
) -> None:
    """Sizes that no machine can have are rejected before memory is allocated; `verify` rejects them too."""
    if match is None:
        document = unseal(forged.manifest.read_bytes(), path="manifest")
        others = sum(row[1] for row in document["fragments"][1:])
        forged.change_manifest(
            lambda one: (one["fragments"][0].__setitem__(1, 2**45), one.update(nnz=others + 2**45))
        )
        damaged(forged, "a fragment has more non-zeros than its shard or its frames can contain")
        return  # `verify` reads nothing either: the set can't be opened
    forged.change_manifest(change)
    damaged(forged, match)
    assert verify(Store(forged.root)["small:train"], depth="deep") != []


@pytest.mark.parametrize("by", [-1, 1, 2**30])
def test_counts_that_the_manifest_does_not_know(forged: Forgery, by: int) -> None:
    """A column of counts can't make a reader request more values than the manifest says."""
    document = unseal(forged.manifest.read_bytes(), path="manifest")
    count = document["fragments"][0][1] + by
    total = document["nnz"] + by
    forged.change_manifest(lambda one: (one["fragments"][0].__setitem__(1, count), one.update(nnz=total)))
    with pytest.raises(
        StoreError, match=r"fragment 0 has [\d,]+ non-zeros, but the manifest lists|than its shard"
    ):
        Store(forged.root)["small:train"].read()


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays["index"].update(shape=[2**52]),
        lambda arrays: arrays["label"]["chunk_grid"]["configuration"].update(chunk_shape=[2**40]),
        lambda arrays: arrays["label"].update(data_type="float64"),
        lambda arrays: arrays.update({"../../escaped": arrays["label"]}),
    ],
    ids=["giant shape", "giant chunk", "dtype", "traversal"],
)
def test_arrays_that_do_not_fit(forged: Forgery, change: Callable[[dict[str, Any]], object]) -> None:
    """The metadata have the arrays, shapes and dtypes that follow from the manifest."""
    forged.change_root(lambda root: change(root["consolidated_metadata"]["metadata"]))
    damaged(forged, r"data\.zarr/zarr\.json does not fit the manifest")
    found = verify(Store(forged.root)["small:train"], depth="deep")
    assert "data.zarr/zarr.json does not fit the manifest" in found[0].detail


@pytest.mark.parametrize("name", ["manifest", "root", "ref"])
def test_deep_documents(forged: Forgery, name: str) -> None:
    """Deep nesting raises an error that names the document, not Python's own error, with or without a valid hash."""
    place = {
        "manifest": forged.manifest,
        "root": forged.data / "zarr.json",
        "ref": forged.root / "refs/small/00000001.json",
    }[name]
    for depth in (500, 900, 100_000):
        bare = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        own = hashlib.sha256(bare).hexdigest().encode()
        if name == "root":
            place.write_bytes(bare)
            forged.vouch_for_root()
        else:
            place.write_bytes(bare[:-1] + b',"self":"' + own + b'"}')
        damaged(forged, r"\.json")
        if name == "root":
            assert verify(Store(forged.root)["small:train"])[0].path.endswith("data.zarr/zarr.json")


@pytest.mark.parametrize("what", ["object", "document", "column", "set"])
def test_links_out_of_the_store(forged: Forgery, tmp_path: Path, what: str) -> None:
    """Nothing is read, written or deleted through them, even if their targets are right; on request they are followed."""
    place = {
        "object": forged.data / "label/c/0",
        "document": forged.manifest,
        "column": forged.data / "label",
        "set": forged.manifest.parent,
    }[what]
    outside = tmp_path / "outside"
    shutil.move(place, outside)
    place.symlink_to(outside)
    kept = {one: one.read_bytes() for one in (outside, *outside.rglob("*")) if one.is_file()}

    def read(store: Store) -> bool:
        return same(store["small:train"].read(), SMALL.truth)

    with pytest.raises(SpikestoreError, match="is a link that leads out of the store"):
        read(Store(forged.root))
    storage = FolderStorage(forged.root)
    if what in {"column", "set"}:
        inside = (place / "new").relative_to(forged.root).as_posix()
        for verb in (lambda: storage.put_if_absent(inside, b""), lambda: storage.delete(inside)):
            with pytest.raises(StoreError, match="is a link that leads out"):
                verb()
    assert read(Store(FolderStorage(forged.root, follow_links=True)))
    assert {one: one.read_bytes() for one in kept} == kept


def test_links_inside_the_store(forged: Forgery) -> None:
    """They are treated like copies."""
    place = forged.data / "label/c/0"
    place.rename(forged.root / "moved")
    place.symlink_to(forged.root / "moved")
    assert same(Store(forged.root)["small:train"].read(), SMALL.truth)


@pytest.mark.parametrize("path", ["data.zarr/label/c/0", "records/00000.json"])
def test_pipes(forged: Forgery, path: str) -> None:
    """A pipe is opened neither by reading nor by verifying, because it may never end."""
    place = forged.data.parent / path
    place.unlink()
    os.mkfifo(place)
    features = Store(forged.root)["small:train"]
    with pytest.raises(DamagedError, match="is not a regular file"):
        (features.record(0), features.read())
    assert {one.path.rpartition("/data.zarr/")[2].rpartition("/records/")[2] for one in verify(features)} == {
        path.removeprefix("data.zarr/").removeprefix("records/")
    }


@pytest.mark.parametrize(
    "name", ["../small", "/etc/passwd", "small/../small", "..", "small\\train", "C:small", "a\nb"]
)
def test_names_that_lead_elsewhere(forged: Forgery, name: str) -> None:
    """Names from other sources are unknown, and never become paths."""
    store = Store(forged.root)
    with pytest.raises(SpikestoreError, match=r"^no "):
        store[name]
    with pytest.raises(SpikestoreError, match=r"^no "):
        store.forget(name)
    with pytest.raises(SpikestoreError):
        store.tag("small", name)
    if "/" not in name:
        shutil.copytree(forged.root / "refs/small", forged.root / "refs" / "Bad Name")
        assert store.names() == ["small"]


def test_a_pipe_hides_no_other_damage(forged: Forgery) -> None:
    """A failed read names the pipe, and the objects that are missing."""
    for name in ("label", "n_bins"):
        (forged.data / name / "c/0").unlink()
    os.mkfifo(forged.data / "label/c/0")
    with pytest.raises(DamagedError, match=r"n_bins/c/0 \(missing\)") as caught:
        Store(forged.root)["small:train"].read()
    assert [path.rpartition("data.zarr/")[2] for path in caught.value.details["objects"]] == [
        "label/c/0",
        "n_bins/c/0",
    ]


def test_absolute_paths_in_a_ref(forged: Forgery) -> None:
    """Keys are hashes: a ref that pins anything else is damaged."""

    def elsewhere(document: dict[str, Any]) -> None:
        document["splits"]["train"]["source_key"] = "/etc"

    reseal(forged.root / "refs/small/00000001.json", elsewhere)
    with pytest.raises(DamagedError, match="is not a valid ref"):
        Store(forged.root)["small:train"]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (
            "2.1",
            "install version 2.1, which wrote this object, or a newer version (pip install --upgrade 'spikestore>=2.1')",
        ),
        ("2.0rc1", "'spikestore>=2.0rc1'"),
        ("2'; rm -rf ~'", "install a newer version (pip install --upgrade spikestore)"),
        (["2"], "install a newer version (pip install --upgrade spikestore)"),
        (None, "install a newer version (pip install --upgrade spikestore)"),
    ],
)
def test_a_newer_format(forged: Forgery, version: object, words: str) -> None:
    """The error has the version to install, if the document states one that may be part of a command."""
    document = unseal(forged.manifest.read_bytes(), path="manifest")
    document["format"] = 2
    document["provenance"] = {"packages": {"spikestore": version}}
    forged.manifest.write_bytes(seal(document))
    with pytest.raises(NewerFormatError) as caught:
        FeatureSet.open(FolderStorage(forged.root), Address(*SMALL.address))
    assert str(caught.value).endswith(words) or words in str(caught.value)
    assert "rm -rf" not in str(caught.value)
