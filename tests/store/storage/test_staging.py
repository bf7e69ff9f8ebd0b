"""Objects that are fsynced together, and pulls that end at any time."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.copies import filled
from tests.store.small_sets import files_of, memory_storage
from tests.store.storage.test_durability import Trace
from tests.store.watched_storage import Crash

from spikestore.store import Store, verify
from spikestore.store.storage import FolderStorage
from spikestore.store.storage.staging import Staging, put_together
from spikestore.store_schemas.errors import MissingObjectError


def test_objects_of_a_fragment_reach_the_disk_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes are synced before any name is given, all names before `publish` returns; existing objects stay."""
    storage = FolderStorage(tmp_path / "store")
    storage.put_if_absent("a/taken", b"before")
    trace = Trace(monkeypatch)
    with Staging(storage) as staging:
        for path in ("a/1", "a/2", "b/1", "a/taken"):
            staging.write(path, (b"da", memoryview(b"ta")))
        assert "fsync store/.tmp/*" not in trace.below(storage.root)
        assert [*storage.list("b")] == []
        assert staging.publish() == ["a/taken"]
    said = [one for one in trace.below(storage.root) if not one.startswith(("mkdir", "unlink"))]
    named = said.index(next(one for one in said if one.startswith("link")))
    assert said[:named].count("fsync store/.tmp/*") == 4
    last = max(n for n, one in enumerate(said) if one.startswith("link"))
    assert {"fsync store/a", "fsync store/b"} <= set(said[last:])
    assert not any("fsync store/.tmp/*" in one for one in said[named:])
    assert [storage.get(path) for path in ("a/1", "b/1", "a/taken")] == [b"data", b"data", b"before"]
    assert list((tmp_path / "store" / ".tmp").iterdir()) == []


def test_new_folders_are_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are created before their parents are synced, and the parents are on disk before any object has its name."""
    storage = FolderStorage(tmp_path / "store")
    storage.put_if_absent("before", b"")
    trace = Trace(monkeypatch)
    with Staging(storage) as staging:
        for name in ("a", "b", "c"):
            staging.write(f"data/{name}/0", (b"data",))
        assert staging.publish() == []
    said = [one for one in trace.below(storage.root) if one.startswith(("mkdir", "link")) or "/." not in one]
    assert sorted(said[:4]) == [f"mkdir store/data{name}" for name in ("", "/a", "/b", "/c")]
    assert said[4:6] == ["fsync store", "fsync store/data"]
    assert [one.split()[0] for one in said[6:]] == ["link"] * 3 + ["fsync"] * 3


def test_folders_that_the_process_has_synced_are_not_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task of a build has its own copy of the storage. A folder that another process has made again is synced again."""
    root = tmp_path / "store"
    put_together(FolderStorage(root), {"data/index/0": b"", "data/value/0": b""})
    trace = Trace(monkeypatch)
    put_together(FolderStorage(root), {"data/index/1": b"", "data/value/1": b""})
    synced = [one for one in trace.below(root) if one.startswith("fsync") and "/." not in one]
    assert sorted(synced) == ["fsync store/data/index", "fsync store/data/value"]
    (root / "data").rename(tmp_path / "removed")
    (root / "data/index").mkdir(parents=True)
    trace.calls.clear()
    put_together(FolderStorage(root), {"data/index/2": b""})
    synced = [one for one in trace.below(root) if one.startswith("fsync") and "/." not in one]
    assert synced == ["fsync store", "fsync store/data", "fsync store/data/index"]


def test_an_object_that_breaks_off(tmp_path: Path) -> None:
    """The error of its source is raised, and no file of it is left, nor of the other objects if they are not published."""
    storage = FolderStorage(tmp_path / "store")

    def pieces() -> Iterator[memoryview]:
        yield memoryview(b"half")
        raise MissingObjectError("it went away")

    with Staging(storage) as staging:
        staging.write("a", (b"whole",))
        with pytest.raises(MissingObjectError, match="it went away"):
            staging.write("b", pieces())
    staging.write("c", (b"too late",))
    assert files_of(tmp_path) == []
    assert list((tmp_path / "store" / ".tmp").iterdir()) == []


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_a_pull_that_ends_at_any_call(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies at any call to the disk leaves no set, and the next pull completes the same set."""
    source = filled(Store(memory_storage("source")))
    digest, ended, committed = source["demo:train"].digest, 0, 0
    for number in range(0, 200, 7):
        root = tmp_path / str(number)
        with monkeypatch.context() as patched:
            patched.setattr(os, call, _dying(getattr(os, call), number))
            try:
                Store(root).pull("demo:train", source)
            except Crash:
                ended += 1
            else:
                break
        for features in Store(root).feature_sets():  # the set was committed, and has no name yet
            assert verify(features, depth="deep") == []
            committed += 1
        records = [path for path in files_of(root) if "/records/" in path]
        done = Store(root).pull("demo:train", source)["demo:train"]
        assert done.features.digest == digest
        assert bool(records) <= bool(done.present) or done.total == 0
        assert verify(done.features, depth="deep") == []
        assert list((root / ".tmp").iterdir()) == []
    assert ended > committed + 3


def _dying(real: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """Return a function that works this many times, and then fails."""
    numbers = itertools.count()

    def call(*arguments: Any) -> Any:
        if next(numbers) >= calls:
            raise Crash("no power")
        return real(*arguments)

    return call
