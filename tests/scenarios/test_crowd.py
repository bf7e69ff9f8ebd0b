"""Concurrent builders, pushes, readers, names and gc, on a folder, in memory and on a real S3 server, without locks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from tests.store.s3_server import BUCKET, options
from tests.store.small_sets import memory_storage, same, small_set

from spikestore.store import FeatureSet, Store, verify
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store.upkeep.garbage import collect, find_garbage
from spikestore.store_schemas import Address

SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))
DIGEST = SMALL.build(memory_storage()).digest
CROWD = 8


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.slow])])
def open_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """Return a function that opens the same empty storage, with a new object at each call, as another process has it."""
    if request.param == "folder":
        return lambda: FolderStorage(tmp_path / "store")
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: ObjectStorage(memory, "memory://crowd")
    endpoint = request.getfixturevalue("s3_endpoint")
    return lambda: ObjectStorage.from_url(f"s3://{BUCKET}/{tmp_path.name}", **options(endpoint))


def test_a_crowd(open_storage: Callable[[], Storage]) -> None:
    """Eight builders, two of which push, each commit a split of their own, while gc and readers run."""
    source = Store(memory_storage("source"))
    source.point("demo", {"pushed-0": SMALL.build(source.storage)})
    source.point("demo", {"pushed-1": source["demo:pushed-0"]})
    start, over = threading.Barrier(CROWD + 3), threading.Event()

    def commit(number: int) -> str:
        store = Store(open_storage())
        start.wait(60)
        if number < 2:
            return str(store.pull(f"demo:pushed-{number}", source) and DIGEST)
        features = SMALL.build(store.storage, 64 if number % 2 else 128)
        store.point("demo", {f"split-{number}": features})
        return features.digest

    def read() -> int:
        storage = open_storage()
        start.wait(60)
        seen = 0
        while not (over.is_set() and seen):
            features = Store(storage).find(Address(*SMALL.address))
            if features is not None:
                assert same(features.read(), SMALL.truth)
                seen += 1
        return seen

    def clean() -> int:
        storage = open_storage()
        start.wait(60)
        removed = 0
        while not over.is_set():
            removed += len(collect(storage, find_garbage(storage, unreferenced=True).garbage))
        return removed

    with ThreadPoolExecutor(CROWD + 3) as pool:
        others = [pool.submit(read), pool.submit(read), pool.submit(clean)]
        try:
            digests = [*pool.map(commit, range(CROWD))]
        finally:
            over.set()
        readers = [one.result() for one in others]
    assert digests == [DIGEST] * CROWD
    assert min(readers[:2]) > 0
    assert readers[2] == 0
    store = Store(open_storage())
    (committed,) = store.feature_sets()
    assert committed.digest == DIGEST
    assert verify(committed, depth="deep") == []
    expected = {"pushed-0", "pushed-1", *(f"split-{number}" for number in range(2, CROWD))}
    assert {*store.splits("demo")} == expected


def test_names_under_fire(open_storage: Callable[[], Storage]) -> None:
    """Eight writers add splits while one removes others: no update is lost, and no removed split returns."""
    features = SMALL.build(open_storage())
    Store(features.storage).point("demo", {f"old-{number}": features for number in range(4)})
    start = threading.Barrier(CROWD + 1)

    def add(number: int) -> None:
        store = Store(open_storage())
        start.wait(60)
        store.point("demo", {f"new-{number}": FeatureSet(store.storage, features.address, features.manifest)})

    def forget() -> None:
        store = Store(open_storage())
        start.wait(60)
        for number in range(4):
            assert store.forget(f"demo:old-{number}") == (f"old-{number}",)

    with ThreadPoolExecutor(CROWD + 1) as pool:
        jobs = [pool.submit(forget), *(pool.submit(add, number) for number in range(CROWD))]
        for job in jobs:
            job.result()
    ref = Store(open_storage()).ref("demo")
    assert ref is not None
    assert {*ref.splits} == {f"new-{number}" for number in range(CROWD)}
    assert ref.number == 1 + CROWD + 4
