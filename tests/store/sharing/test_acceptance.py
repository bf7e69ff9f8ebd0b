"""Pulls from a malicious store: each is rejected with a clear error, and nothing is committed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.forger import Forgery, reseal, with_column
from tests.store.small_sets import files_of, memory_storage, small_set

from spikestore.store import Store, verify
from spikestore.store.cli.main import main
from spikestore.store.storage import FolderStorage, Storage, bounds
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    SpikestoreError,
    StoreError,
)
from spikestore.store_schemas.specs.canonical import seal


def refused(forged: Forgery, tmp_path: Path, match: str, *, deep: bool = False) -> SpikestoreError:
    """Assert that a pull fails, and leaves no set, no name and nothing outside its folder."""
    before = files_of(tmp_path)
    there = Store(tmp_path / "here")
    with pytest.raises(SpikestoreError, match=match) as caught:
        there.pull("small", forged.root, deep=deep)
    assert [*there.feature_sets()] == []
    assert there.names() == []
    outside = {path for path in files_of(tmp_path) if not path.startswith("here/features/")}
    assert outside == set(before)
    return caught.value


def entry(document: dict[str, Any], column: str = "label") -> dict[str, Any]:
    """Return the entry of a column in a record."""
    found = next(one for one in document["objects"] if one["path"].startswith(f"{column}/"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "path",
    [
        "../../../../../../escaped/c/0",
        "/etc/passwd",
        "label/c/../../../../x",
        "label/c/0/../1",
        "label\\c\\0",
        "label/c/0\n",
        "file:///etc/passwd",
        "",
    ],
)
def test_paths_in_records(forged: Forgery, tmp_path: Path, path: str) -> None:
    """A record may name only objects that the layout names; no part of a path comes from elsewhere."""
    forged.change_record(lambda document: entry(document).update(path=path))
    error = refused(forged, tmp_path, r"00000\.json is not a valid record|other objects")
    assert "objects[" in str(error)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: entry(document).update(path="label/c/1"),
        lambda document: entry(document).update(path="secrets/c/0"),
        lambda document: document["objects"].append(dict(entry(document))),
        lambda document: document["objects"].append({**entry(document), "path": "label/c/00"}),
        lambda document: document["objects"].remove(entry(document)),
        lambda document: document["objects"].clear(),
    ],
    ids=["another fragment", "no column", "twice", "two spellings", "one left out", "none"],
)
def test_other_objects_in_records(
    forged: Forgery, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """The objects of a fragment follow from the layout; each is listed once."""
    forged.change_record(change)
    refused(forged, tmp_path, "lists other objects than fragment 0 has")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(fragment=1),
        lambda document: document.update(plan="0" * 64),
        lambda document: document.update(samples=63),
        lambda document: document.update(nnz=document["nnz"] + 1),
    ],
    ids=["fragment", "plan", "samples", "nnz"],
)
def test_records_of_something_else(
    forged: Forgery, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """A record must agree with its manifest."""
    forged.change_record(change)
    refused(forged, tmp_path, "contradicts the manifest")


@pytest.mark.parametrize("size", [2**20, 2**40, 2**53 - 1])
def test_giant_objects_in_records(forged: Forgery, tmp_path: Path, size: int) -> None:
    """No object may be larger than its values can be; such an object is not requested."""
    forged.change_record(lambda document: entry(document).update(size=size))
    refused(
        forged,
        tmp_path,
        r"lists [0-9,]+ bytes for label/c/0, but the values of this object can take at most [0-9,]+",
    )


def test_objects_larger_than_said(forged: Forgery, tmp_path: Path) -> None:
    """An object that is larger than its record says is not read, even if the disk has room for all of it."""
    os.truncate(forged.data / "label/c/0", 2**40)
    refused(forged, tmp_path, r"label/c/0 in .* has 1,099,511,627,776 bytes, more than the limit of [0-9,]+")


@pytest.mark.parametrize("name", ["manifest", "record", "root", "ref"])
def test_giant_documents(forged: Forgery, tmp_path: Path, name: str) -> None:
    """No document is read that is larger than a document can be."""
    place = {
        "manifest": forged.manifest,
        "record": forged.data.parent / "records/00000.json",
        "root": forged.data / "zarr.json",
        "ref": forged.root / "refs/small/00000001.json",
    }[name]
    os.truncate(place, 2**40)
    refused(forged, tmp_path, rf"{place.name} in .* has 1,099,511,627,776 bytes")


@pytest.mark.parametrize("name", ["manifest", "record", "root", "ref"])
def test_deep_documents(forged: Forgery, tmp_path: Path, name: str) -> None:
    """Deep nesting raises an error that names the document, not Python's own error."""
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    text = b"[" * 100_000 + b"]" * 100_000

    def nested(document: dict[str, Any]) -> None:
        document["attributes"] = deep

    if name == "root":
        place = forged.data / "zarr.json"
        place.write_bytes(b'{"a":' + text + b"}")
        forged.vouch_for_root()
    elif name == "record":
        forged.change_record(nested)
    elif name == "ref":
        place = forged.root / "refs/small/00000001.json"
        place.write_bytes(b'{"a":' + text + b',"self":"' + b"0" * 64 + b'"}')
    else:
        bare = b'{"a":' + text + b"}"
        import hashlib

        own = hashlib.sha256(bare).hexdigest().encode()
        forged.manifest.write_bytes(bare[:-1] + b',"self":"' + own + b'"}')
    refused(forged, tmp_path, r"\.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays["index"].update(shape=[2**52]),
        lambda arrays: arrays["label"]["chunk_grid"]["configuration"].update(chunk_shape=[2**40]),
        lambda arrays: arrays["label"].update(data_type="float64"),
        lambda arrays: arrays.pop("label"),
        lambda arrays: arrays.update({"../../escaped": arrays["label"]}),
    ],
    ids=["giant shape", "giant chunk", "dtype", "one left out", "traversal"],
)
def test_arrays_that_do_not_fit(
    forged: Forgery, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    """The metadata have the arrays, shapes and dtypes that follow from the manifest."""
    forged.change_root(lambda root: change(root["consolidated_metadata"]["metadata"]))
    refused(forged, tmp_path, r"data\.zarr/zarr\.json does not fit the manifest")


def test_samples_that_are_not_the_digests(forged: Forgery, tmp_path: Path) -> None:
    """All documents agree with objects that decode to other samples: only a deep pull finds it."""
    other = small_set(140, seed=7)
    liar = Forgery.build(tmp_path / "liar", other)
    for column in ("index", "value", "nnz", "n_bins", "label", "start", "check", "n_events"):
        forged.replace_object(f"{column}/c/0", (liar.data / f"{column}/c/0").read_bytes())
    shutil.rmtree(liar.root)

    def counts(document: dict[str, Any]) -> None:
        document["nnz"] = int(other.truth.nnz[:64].sum())

    forged.change_record(counts)
    forged.change_manifest(
        lambda document: (
            document["fragments"][0].__setitem__(1, int(other.truth.nnz[:64].sum())),
            document.update(nnz=sum(row[1] for row in document["fragments"])),
        )
    )
    refused(forged, tmp_path, "contradicts its record", deep=True)


def test_a_digest_that_the_records_do_not_give(forged: Forgery, tmp_path: Path) -> None:
    """A manifest with the digest of another set is rejected before anything is written."""
    forged.change_manifest(lambda document: document.update(digest="0" * 64))
    refused(forged, tmp_path, "has digest = 000000000000, but its records give")
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(name="../../escaped"),
        lambda document: document.update(name="other"),
        lambda document: document["splits"].update({"../up": document["splits"]["train"]}),
        lambda document: document["splits"]["train"].update(transform_key="../../../../etc"),
        lambda document: document.update(number=7),
    ],
    ids=["traversal", "another name", "split", "key", "number"],
)
def test_names_that_lead_elsewhere(
    forged: Forgery, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """The parts of a ref must follow the rules for names and keys, and its path must be that of its entry."""
    reseal(forged.root / "refs/small/00000001.json", change)
    refused(forged, tmp_path, r"00000001\.json is (damaged|not a valid ref)")


@pytest.mark.parametrize("what", ["label/c/0", "zarr.json", "folder"])
def test_links_out_of_a_folder(forged: Forgery, tmp_path: Path, what: str) -> None:
    """A link to a file that only the reader may read is rejected, even if the record has the hash of its content."""
    place = forged.data if what == "folder" else forged.data / what
    secret = tmp_path / "secret"
    place.rename(secret)
    place.symlink_to(secret)
    error = refused(forged, tmp_path, "is a link that leads out of the store|leads out of")
    assert isinstance(error, StoreError)


def test_links_inside_a_folder(forged: Forgery, tmp_path: Path) -> None:
    """A link to another place in the same store is accepted."""
    place = forged.data / "label/c/0"
    place.rename(forged.root / "elsewhere")
    place.symlink_to(forged.root / "elsewhere")
    Store(tmp_path / "here").pull("small", forged.root)
    assert not (tmp_path / "here" / place.relative_to(forged.root)).is_symlink()


def test_ones_own_store_may_lie_on_two_disks(forged: Forgery, tmp_path: Path) -> None:
    """Links that lead out of a store are followed only on request."""
    (forged.root / "features").rename(tmp_path / "large disk")
    (forged.root / "features").symlink_to(tmp_path / "large disk")
    there = Store(memory_storage())
    with pytest.raises(StoreError, match="a link that leads out of the store"):
        Store(forged.root).push("small", there)
    Store(FolderStorage(forged.root, follow_links=True)).push("small", there)
    assert len(there["small:train"]) == 140


def test_pipes(forged: Forgery, tmp_path: Path) -> None:
    """A pipe is not opened, because it may never end."""
    (forged.data / "label/c/0").unlink()
    os.mkfifo(forged.data / "label/c/0")
    refused(forged, tmp_path, "label/c/0 in .* is not a regular file")


@pytest.mark.parametrize("kind", ["folder", "bucket"])
class TestBounds:
    """Objects of any storage have a limit of size, also those of the own store."""

    @staticmethod
    def storage(kind: str, tmp_path: Path) -> Storage:
        return FolderStorage(tmp_path) if kind == "folder" else memory_storage()

    def test_a_limit(self, kind: str, tmp_path: Path) -> None:
        """An object of exactly the limit is read; one byte more is an error, whole or in pieces."""
        storage = self.storage(kind, tmp_path)
        storage.put_if_absent("a/b", b"12345")
        for read in (
            storage.get,
            storage.buffer,
            lambda path, limit: b"".join(storage.pieces(path, limit=limit)),
        ):
            assert bytes(read("a/b", limit=5)) == b"12345"
            with pytest.raises(DamagedError, match="has 5 bytes, more than the limit of 4"):
                read("a/b", limit=4)
            with pytest.raises(MissingObjectError):
                read("a/c", limit=5)

    def test_documents_have_a_bound_of_their_own(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An object whose name ends in .json is a document; its size is checked before a byte is read."""
        monkeypatch.setattr(bounds, "LARGEST_DOCUMENT", 3)
        storage = self.storage(kind, tmp_path)
        for path in ("a.json", "a"):
            storage.put_if_absent(path, b"1234")
        assert storage.get("a") == b"1234"
        with pytest.raises(
            DamagedError, match=r"a\.json in .* has 4 bytes, more than the limit of 3; it was not read"
        ):
            storage.get("a.json")


def test_a_forger_is_believed_without_a_change(forged: Forgery, tmp_path: Path) -> None:
    """The forger's work is valid: the tests above reject the change, not the way in which it is made."""
    forged.change_record(lambda document: None)
    forged.change_root(lambda document: None)
    forged.replace_object("label/c/0", (forged.data / "label/c/0").read_bytes())
    assert json.loads(forged.manifest.read_bytes())["digest"]
    assert seal({"a": 1})
    Store(tmp_path / "here").pull("small", forged.root, deep=True)
    assert len(Store(tmp_path / "here")["small:train"]) == 140


def pull_deep(store: Path, source: Path) -> DamagedError:
    """Assert that ``pull --deep`` rejects a set that exists already, and return the error."""
    with pytest.raises(DamagedError, match=r"is in .* already, and is damaged there") as caught:
        Store(store).pull("small", source, deep=True)
    return caught.value


def test_a_damaged_set_that_exists_already(forged: Forgery, tmp_path: Path) -> None:
    """``pull --deep`` names the object, and following the advice repairs it."""
    source = Path(shutil.copytree(forged.root, tmp_path / "source"))
    path = forged.data / "value/c/0"
    path.write_bytes(path.read_bytes()[:-1])
    Store(forged.root).pull("small", source)  # a pull without --deep trusts the manifest
    error = pull_deep(forged.root, source)
    assert error.details["objects"] == (path.relative_to(forged.root).as_posix(),)
    (command,) = re.findall(r"spikestore (repair .*?);", str(error))
    assert main(command.split()) == 0
    done = Store(forged.root).pull("small", source, deep=True)
    assert done["small:train"].total == 0


def test_a_forged_set_that_exists_already(forged: Forgery, tmp_path: Path) -> None:
    """The bytes of the set agree with its documents, but its values do not have its digest: following the advice removes it."""
    source = Path(shutil.copytree(forged.root, tmp_path / "source"))
    digest = forged.features.digest
    other = with_column(forged.rows(), "value", 0, 7)
    forged.replace_rows(other)
    forged.change_record(lambda record: record.update(blocks=Forgery(source).features.record(0).blocks))
    forged.change_manifest(lambda manifest: manifest.update(digest=digest))
    Store(forged.root).pull("small", source)
    error = pull_deep(forged.root, source)
    (command, folder) = re.findall(
        r"spikestore (repair .*?); if this command finds nothing to repair, delete (\S+) in", str(error)
    )[0]
    assert main(command.split()) == 0
    pull_deep(forged.root, source)
    shutil.rmtree(forged.root / folder)
    assert Store(forged.root).pull("small", source, deep=True)["small:train"].total > 0
    pulled = Store(forged.root)["small:train"]
    assert verify(pulled, depth="deep") == []


def test_foreign_objects_in_a_set_that_exists_already(forged: Forgery, tmp_path: Path) -> None:
    """Foreign objects belong to no sample: ``verify`` reports them."""
    source = shutil.copytree(forged.root, tmp_path / "source")
    (forged.data / "value/c/77").write_bytes(b"")
    assert Store(forged.root).pull("small", source, deep=True)["small:train"].total == 0
