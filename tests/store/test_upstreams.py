"""Upstreams are searched in order, copies are decoded and checked, and unusable upstreams are reported."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import pytest
from tests.faults.forger import Forgery
from tests.store.small_sets import files_of, memory_storage, same, small_set

from spikestore.store import FeatureSet, Store, verify
from spikestore.store.storage import FolderStorage
from spikestore.store.upstreams import Upstreams, locate_upstreams
from spikestore.store_schemas.errors import ReadOnlyStoreError, UsageError

SMALL = small_set(140)
VALID = small_set(70, split="valid", seed=1)


@pytest.fixture(autouse=True)
def _said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "here")


@functools.cache
def contents() -> tuple[tuple[str, bytes], ...]:
    """Return the objects of an upstream."""
    store = Store(memory_storage())
    store.point("demo", {"train": SMALL.build(store.storage), "valid": VALID.build(store.storage)})
    paths = [one.path for folder in ("features", "refs") for one in store.storage.list(folder)]
    return tuple((path, store.storage.get(path)) for path in paths)


def upstream(root: Path) -> Path:
    """Fill a folder store."""
    for path, data in contents():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    return root


def fetch(store: Store, *locations: Path | str, digest: str | None = None) -> FeatureSet | None:
    """Fetch the train split."""
    asked = Upstreams(str(one) for one in locations)
    return asked.fetch(store, SMALL.address, label="SSC train", digest=digest)


def test_the_first_that_has_it(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An empty upstream is skipped; the log names the upstream that has the set; later ones are not asked."""
    (tmp_path / "empty").mkdir()
    full = upstream(tmp_path / "full")
    found = fetch(store, tmp_path / "empty", full, "s3://never/asked")
    assert found is not None
    assert same(found.read(), SMALL.truth)
    assert found.storage is store.storage
    assert verify(found, depth="deep") == []
    assert f"SSC train is not in the upstream {tmp_path / 'empty'}" in caplog.text
    assert f"copied SSC train from the upstream {full}" in caplog.text
    assert "never" not in caplog.text


def test_none_has_it(store: Store, tmp_path: Path) -> None:
    """Without an upstream that has it, the result is None, and nothing is written."""
    (tmp_path / "empty").mkdir()
    assert fetch(store, tmp_path / "empty") is None
    assert fetch(store) is None
    assert not (tmp_path / "here").exists()


def test_a_folder_that_is_not_there(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing folder, because of a lost mount or a mistake, is named once in a warning, and the next upstream is asked."""
    asked = Upstreams([str(tmp_path / "lost"), str(upstream(tmp_path / "full"))])
    for small in (SMALL, VALID):
        assert asked.fetch(store, small.address, label="a set") is not None
    assert caplog.text.count(f"cannot use the upstream {tmp_path / 'lost'}") == 1
    assert "WARNING" in caplog.text


def test_a_server_that_does_not_answer(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that does not answer is named once, and is not asked again for the next set."""
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL", "http://somebody:hidden-password@127.0.0.1:9"
    )  # no server listens at this port
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-for-anybodys-eyes")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    asked = Upstreams(["s3://team/features", str(upstream(tmp_path / "full"))])
    for small in (SMALL, VALID):
        assert asked.fetch(store, small.address, label="a set") is not None
    assert caplog.text.count("cannot use the upstream s3://team/features") == 1
    assert "***@127.0.0.1:9" in caplog.text
    for secret in ("somebody", "hidden-password", "not-for-anybodys-eyes"):
        assert secret not in caplog.text


def test_another_digest_than_pinned(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The set is rejected by name before anything is copied; the next upstream may have the right one."""
    first, second = upstream(tmp_path / "first"), upstream(tmp_path / "second")
    right = Store(second)["demo:train"].digest
    forgery = Forgery.build(tmp_path / "liar", SMALL)
    forgery.change_manifest(lambda document: document.update(digest="e" * 64))
    found = fetch(store, forgery.root, second, digest=right)
    assert found is not None
    assert found.digest == right
    assert f"SSC train in the upstream {forgery.root} is rejected: its digest is eeeeeeeeeeee" in caplog.text
    assert fetch(Store(tmp_path / "other"), first, digest="0" * 64) is None
    assert not (tmp_path / "other").exists()


def test_a_liar_with_the_right_digest(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Objects with other samples under the pinned digest are rejected, and the correct upstream after it is used.

    Both have the same plan, so the false objects would be at the paths of the true ones.
    """
    honest = upstream(tmp_path / "honest")
    liar = Forgery.build(tmp_path / "liar", SMALL)
    liar.replace_object(
        "speaker/c/0" if "speaker" in SMALL.layout.extras else "n_events/c/0", _other_events()
    )
    found = fetch(store, liar.root, honest, digest=Store(honest)["demo:train"].digest)
    assert found is not None
    assert same(found.read(), SMALL.truth)
    assert verify(found, depth="deep") == []
    assert f"SSC train is not copied from the upstream {liar.root}" in caplog.text
    assert "do not trust this store" in caplog.text


def _other_events() -> bytes:
    """Return the object of ``n_events`` of another set with as many rows."""
    other = small_set(140, seed=8).build(memory_storage())
    return other.storage.get(f"{other.data_path}/n_events/c/0")


@pytest.mark.parametrize("what", ["manifest", "record", "object"])
def test_a_damaged_one(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """The upstream and the damaged object are named; the next upstream is asked."""
    damaged = Forgery.build(tmp_path / "damaged", SMALL)
    place = {
        "manifest": damaged.manifest,
        "record": damaged.data.parent / "records/00001.json",
        "object": damaged.data / "label/c/2",
    }[what]
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    found = fetch(store, damaged.root, upstream(tmp_path / "full"))
    assert found is not None
    assert verify(found, depth="deep") == []
    assert f"the upstream {damaged.root}" in caplog.text
    assert place.name in caplog.text


def test_our_own_store_can_not_be_written(tmp_path: Path) -> None:
    """The error is not taken for one of the upstream, and ends the search."""

    class ReadOnly(FolderStorage):
        def put_if_absent(self, path: str, data: bytes) -> bool:
            raise ReadOnlyStoreError("the store can't be written to", path=path)

    with pytest.raises(ReadOnlyStoreError):
        fetch(Store(ReadOnly(tmp_path / "here")), upstream(tmp_path / "full"), upstream(tmp_path / "next"))


def test_the_store_itself_is_not_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A shared recipe may name the store of the user who fills it: it is not asked."""
    full = upstream(tmp_path / "full")
    (full / SMALL.address.manifest).unlink()
    assert fetch(Store(full), full) is None
    assert caplog.text == ""


def test_by_name(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All splits and the name come from one upstream; an upstream that lacks a split is skipped."""
    half = Store(tmp_path / "half")
    half.point("demo", {"train": SMALL.build(half.storage)})
    full = upstream(tmp_path / "full")
    assert Upstreams([str(tmp_path / "half"), str(full)]).fetch_named(store, "demo", ["train", "valid"])
    assert {split: len(one) for split, one in store.splits("demo").items()} == {"train": 140, "valid": 70}
    assert f"demo (train, valid) is not in the upstream {tmp_path / 'half'}" in caplog.text
    assert not Upstreams([str(full)]).fetch_named(store, "demo", ["train", "test"])
    assert not Upstreams([str(full)]).fetch_named(store, "other", ["train"])


def test_by_name_half_of_it_damaged(store: Store, tmp_path: Path) -> None:
    """If the second split can't be copied, the first one does not get the name."""
    full = upstream(tmp_path / "full")
    (full / VALID.address.manifest).write_bytes(b"{}")
    assert not Upstreams([str(full)]).fetch_named(store, "demo", ["train", "valid"])
    assert store.names() == []


def test_where_they_are(tmp_path: Path) -> None:
    """Folders are relative to the file that names them; URLs and absolute paths are used unchanged."""
    recipe = tmp_path / "recipes" / "demo.toml"
    assert locate_upstreams(["s3://a/b", "../store", "/mnt/c", "~/d"], recipe) == (
        "s3://a/b",
        str(tmp_path / "recipes" / "../store"),
        "/mnt/c",
        str(Path("~/d").expanduser()),
    )
    assert locate_upstreams(["store"], None) == ("store",)
    with pytest.raises(UsageError, match="a store must be a folder"):
        Upstreams(["ftp://a/b"])
    assert not Upstreams(())
    assert str(Upstreams(["/a", "/b"])) == "/a, /b"
    assert files_of(tmp_path) == []
