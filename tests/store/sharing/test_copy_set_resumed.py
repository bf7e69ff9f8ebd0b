"""Copies that are interrupted at any time and resumed."""

from __future__ import annotations

import logging
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.store.copies import (
    PUTS,
    SMALL,
    Log,
    PowerCut,
    filled,
    objects_of,
)
from tests.store.small_sets import memory_storage
from tests.store.watched_storage import Crash, WatchedStorage

from spikestore.store import Store, verify
from spikestore.store.sharing import copy_set as transfer
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store_schemas.errors import ConflictError, DamagedError


@pytest.mark.parametrize("deep", [False, True])
def test_cut_off_at_any_put(deep: bool) -> None:
    """Until the manifest exists, no set is visible; the next copy resumes, and ends as an undisturbed one."""
    source = filled(Store(memory_storage("source")))
    for puts in range(PUTS - 1, -1, -6 if deep else -2):
        destination = memory_storage()
        with pytest.raises(Crash):
            Store(WatchedStorage(destination, PowerCut(puts))).pull("demo:train", source, deep=deep)
        there = Store(destination)
        assert len([*there.feature_sets()]) == (puts == PUTS - 1), puts
        assert there.names() == []
        log = Log()
        copied = there.pull("demo:train", Store(WatchedStorage(source.storage, log)), deep=deep)
        assert verify(there["demo:train"], depth="deep") == []
        objects = len([path for path in log.paths("get") if "/c/" in path])
        stored = len([one for one in destination.list("features") if "/c/" in one.path])
        assert objects <= stored - max(0, puts - 20) or copied["demo:train"].total == 0, puts


def test_existing_objects_are_not_fetched_again(
    source: Store, destination: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """A second copy requests only the manifest; a resumed copy, only what is missing. Both report it."""
    with pytest.raises(Crash):
        Store(WatchedStorage(destination, PowerCut(PUTS - 6))).pull("demo:train", source)
    before = {one.path: one.size for one in destination.list("features") if "/builds/" in one.path}
    log, reports = Log(), []
    caplog.set_level(logging.INFO)
    done = Store(destination).pull(
        "demo:train", Store(WatchedStorage(source.storage, log)), progress=lambda *one: reports.append(one)
    )["demo:train"]
    assert done.present == sum(before.values())
    assert f"{done.present:,} of {done.total:,} bytes are in {destination.url} already" in caplog.text
    assert not before.keys() & {path for path in log.paths("get") if "/c/" in path}
    assert reports[0] == (done.present, done.total, "demo:train")
    assert reports[-1] == (done.total, done.total, "demo:train")
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    log.verbs.clear()
    again = Store(destination).pull("demo:train", Store(WatchedStorage(source.storage, log)))
    assert again["demo:train"].total == 0
    assert log.paths("get") == ["refs/demo/00000001.json", SMALL.address.manifest]


def test_a_build_resumes_an_interrupted_copy(source: Store, destination: Storage) -> None:
    """A user who has the recordings can complete the set with a build."""
    with pytest.raises(Crash):
        Store(WatchedStorage(destination, PowerCut(PUTS - 4))).pull("demo:train", source)
    finished = [one.path[-10:-5] for one in destination.list("features") if "/records/" in one.path]
    log = Log()
    features = SMALL.build(WatchedStorage(destination, log), 128)
    assert features.digest == source["demo:train"].digest
    built = {path[-10:-5] for path in log.paths("put") if "/records/" in path}
    assert finished
    assert built.isdisjoint(finished)
    assert len(built) + len(finished) == 3
    assert verify(features, depth="deep") == []


def test_a_copy_resumes_a_build(source: Store, destination: Storage) -> None:
    """A copy uses equal objects of an unfinished build."""
    with pytest.raises(Crash):
        SMALL.build(WatchedStorage(destination, PowerCut(30)))
    done = Store(destination).pull("demo:train", source)
    assert done["demo:train"].present > 0
    assert verify(Store(destination)["demo:train"], depth="deep") == []


def test_a_folder_is_checked_again(source: Store, tmp_path: Path) -> None:
    """Objects that were damaged between an interrupted pull and the next one are not committed."""
    folder = FolderStorage(tmp_path / "destination")
    with pytest.raises(Crash):
        Store(WatchedStorage(folder, PowerCut(PUTS - 2))).pull("demo:train", source)
    path = f"{source['demo:train'].data_path}/label/c/0"
    place = tmp_path / "destination" / path
    data = place.read_bytes()
    place.chmod(0o600)
    place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ConflictError, match=re.escape(path)):
        Store(folder).pull("demo:train", source)


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_no_record_without_its_objects(
    kind: str, source: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error, a fragment with missing objects gets no record."""

    class Slow(ThreadPoolExecutor):
        """A pool that ends some time after it is told to stop."""

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            if wait:
                super().shutdown()

    monkeypatch.setattr(transfer, "ThreadPoolExecutor", Slow)
    monkeypatch.setattr(transfer, "THREADS", 1)
    broken = next(path for path in objects_of(source) if path.endswith("/check/c/0"))
    source.storage.replace(broken, b"x" * len(source.storage.get(broken)))
    where = FolderStorage(tmp_path / "there") if kind == "folder" else memory_storage()
    with pytest.raises(DamagedError, match=re.escape(broken)):
        Store(where).pull("demo:train", source)
    there, features = {one.path for one in where.list("features")}, source["demo:train"]
    for number in (int(path[-10:-5]) for path in there if "/records/" in path):
        missing = {f"{features.data_path}/{entry.path}" for entry in features.record(number).objects} - there
        assert missing == set()


def test_ctrl_c_ends_soon(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interruption no object is begun; the next pull resumes."""
    monkeypatch.setattr(transfer, "THREADS", 1)
    log, noticed = Log(), threading.Event()

    def handler(number: int, frame: object) -> None:
        if not noticed.is_set():
            noticed.set()
            raise KeyboardInterrupt

    def copied() -> list[str]:
        return [path for path in log.paths("get") if "/c/" in path]

    def press(done: int, total: int, label: str) -> None:
        if copied() and not noticed.is_set():
            # Otherwise all may be copied before the main thread continues. Python notices a signal that arrives just before a
            # wait only after the wait, so it is sent again.
            for _ in range(60):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                if noticed.wait(1):
                    return
            raise AssertionError("the main thread notices no signal")

    before = signal.signal(signal.SIGINT, handler)

    there = Store(memory_storage())
    try:
        with pytest.raises(KeyboardInterrupt):
            there.pull("demo:train", Store(WatchedStorage(source.storage, log)), progress=press)
    finally:
        signal.signal(signal.SIGINT, before)
    assert 0 < len(copied()) < len([path for path in objects_of(source) if "/c/" in path]) - 4
    assert [*there.feature_sets()] == []
    assert there.pull("demo:train", source)["demo:train"].present > 0
