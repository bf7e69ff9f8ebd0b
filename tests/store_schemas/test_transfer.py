"""Copies from store to store: whole or not at all, resumed, checked on the way."""

from __future__ import annotations

import logging
import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.store_schemas.small_sets import SmallSet, files_of, memory_storage, same, small_set
from tests.store_schemas.watched_storage import Crash, WatchedStorage

from spikestore.store_schemas import Store, transfer, verify
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    StorageFullError,
    StoreError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.storage import FolderStorage, Storage

Result = TypeVar("Result")

# Three fragments: the second one silent, the third one short.
SMALL = small_set(140)
VALID = small_set(70, split="valid", seed=1)


class Log:
    """A watch that notes every verb."""

    def __init__(self) -> None:
        self.verbs: list[tuple[str, str]] = []

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Note the verb, perform it."""
        self.verbs.append((verb, path))
        return effect()

    def paths(self, *verbs: str) -> list[str]:
        """Return the paths of some verbs."""
        return [path for verb, path in self.verbs if verb in verbs]


class PowerCut:
    """A watch behind which nothing takes effect any more after some puts."""

    def __init__(self, puts: int) -> None:
        self._left = puts
        self._lock = threading.Lock()

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Perform the verb while there is power."""
        with self._lock:
            self._left -= verb == "put"
            if self._left < 0:
                raise Crash(f"before {verb} {path}")
            return effect()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ``demo:train`` and ``demo:valid``, not to be changed."""
    folder = tmp_path_factory.mktemp("built") / "store"
    filled(Store(folder))
    return folder


@pytest.fixture
def source(built: Path, tmp_path: Path) -> Store:
    """Return a folder store with ``demo:train`` and ``demo:valid``."""
    shutil.copytree(built, tmp_path / "source")
    return Store(tmp_path / "source")


def filled(store: Store) -> Store:
    """Build both splits."""
    store.point("demo", {"train": SMALL.build(store.storage), "valid": VALID.build(store.storage)})
    return store


@pytest.fixture(params=["folder", "bucket"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return an empty storage."""
    return FolderStorage(tmp_path / "destination") if request.param == "folder" else memory_storage()


def assert_whole(store: Store, name: str = "demo") -> None:
    """Assert that both splits are there, under their name, and that a deep look finds nothing wrong."""
    for split, small in (("train", SMALL), ("valid", VALID)):
        assert verify(store[f"{name}:{split}"], depth="deep") == []
        assert same(store[f"{name}:{split}"].read(), small.truth)


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_copy_is_the_same_store(source: Store, destination: Storage, tmp_path: Path, verb: str) -> None:
    """All objects, byte for byte, and the name; also back again."""
    there = Store(destination)
    done = source.push("demo", there) if verb == "push" else there.pull("demo", source)
    assert list(done) == ["demo:train", "demo:valid"]
    assert all(one.total > 0 and one.there == 0 for one in done.values())
    assert_whole(there)
    back = Store(tmp_path / "back")
    back.pull("demo", there, deep=True)
    assert files_of(tmp_path / "back") == files_of(tmp_path / "source")
    for path in files_of(tmp_path / "back"):
        assert (tmp_path / "back" / path).read_bytes() == (tmp_path / "source" / path).read_bytes(), path


def test_only_the_committed_build_is_copied(tmp_path: Path, destination: Storage) -> None:
    """What a restart left behind stays behind."""
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
    """The plan first, a record after its fragment's objects, the manifest after all of them, the name last."""
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


def puts_of_a_copy() -> int:
    """Return how many puts a copy of ``demo:train`` takes, with the name."""
    source, log = filled(Store(memory_storage("source"))), Log()
    source.push("demo:train", Store(WatchedStorage(memory_storage(), log)))
    return len(log.paths("put"))


PUTS = puts_of_a_copy()


@pytest.mark.parametrize("deep", [False, True])
def test_cut_off_at_any_put(deep: bool) -> None:
    """Until the manifest is there nobody sees a set; the next copy goes on, and ends as an undisturbed one."""
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


def test_what_is_there_is_not_fetched_again(
    source: Store, destination: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """A second copy asks for nothing but the manifest; one that goes on, for what is missing; both say so."""
    with pytest.raises(Crash):
        Store(WatchedStorage(destination, PowerCut(PUTS - 6))).pull("demo:train", source)
    before = {one.path: one.size for one in destination.list("features") if "/builds/" in one.path}
    log, reports = Log(), []
    caplog.set_level(logging.INFO)
    done = Store(destination).pull(
        "demo:train", Store(WatchedStorage(source.storage, log)), progress=lambda *one: reports.append(one)
    )["demo:train"]
    assert done.there == sum(before.values())
    assert f"{done.there:,} of {done.total:,} bytes are in {destination.url} already" in caplog.text
    assert not before.keys() & {path for path in log.paths("get") if "/c/" in path}
    assert reports[0] == (done.there, done.total, "demo:train")
    assert reports[-1] == (done.total, done.total, "demo:train")
    assert [done for done, _, _ in reports] == sorted(done for done, _, _ in reports)
    log.verbs.clear()
    again = Store(destination).pull("demo:train", Store(WatchedStorage(source.storage, log)))
    assert again["demo:train"].total == 0
    assert log.paths("get") == ["refs/demo/00000001.json"] * 2 + [SMALL.address.manifest]


def test_a_build_goes_on_with_an_interrupted_copy(source: Store, destination: Storage) -> None:
    """Somebody who has the recordings need not wait for the rest."""
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


def test_a_copy_goes_on_with_a_build(source: Store, destination: Storage) -> None:
    """The other way round: equal objects of a build that is under way are used."""
    with pytest.raises(Crash):
        SMALL.build(WatchedStorage(destination, PowerCut(30)))
    done = Store(destination).pull("demo:train", source)
    assert done["demo:train"].there > 0
    assert verify(Store(destination)["demo:train"], depth="deep") == []


def objects_of(source: Store) -> list[str]:
    """Return the objects of ``demo:train`` that are copied and checked."""
    features = source["demo:train"]
    build = features.address.build(features.manifest.plan_id)
    arrays = re.compile(r"data\.zarr/[a-z_]+/zarr\.json$")  # derived from the group's, never read
    return [one.path for one in source.storage.list(build) if not arrays.search(one.path)]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "missing"])
def test_damage_at_the_source(source: Store, how: str, deep: bool) -> None:
    """Each damaged object is named, and nothing is committed or named at the destination."""
    root = Path(source.storage.url)
    for path in [*objects_of(source), SMALL.address.plan][:: 7 if deep else 2]:
        data = (root / path).read_bytes()
        changed = {"flipped": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "longer": data + b"\0"}.get(
            how
        )
        (root / path).unlink()
        if changed is not None:
            (root / path).write_bytes(changed)
        there = Store(memory_storage())
        if path == SMALL.address.plan and how == "missing":
            continue  # a hint, without which a set is whole
        with pytest.raises(DamagedError, match=re.escape(path)) as caught:
            there.pull("demo:train", source, deep=deep)
        assert caught.value.details["objects"] == (path,)
        assert [*there.feature_sets()] == []
        assert there.names() == []
        (root / path).write_bytes(data)


def test_a_source_that_changes_its_mind(source: Store, tmp_path: Path) -> None:
    """A manifest that is another one at the end than at the beginning is not committed."""
    other = SMALL.address.manifest

    def watch(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        if verb == "put" and path.endswith("/records/00002.json"):
            (Path(source.storage.url) / other).write_bytes(foreign)
        return effect()

    stranger = Store(tmp_path / "stranger")
    SMALL.build(stranger.storage, 128)
    foreign = (tmp_path / "stranger" / other).read_bytes()
    there = Store(WatchedStorage(memory_storage(), watch))
    with pytest.raises(StoreError, match=r"changed in .* while it was copied"):
        there.pull("demo:train", source)
    assert [*there.feature_sets()] == []


def test_somebody_cleans_up_meanwhile(source: Store) -> None:
    """What was put and is gone before the manifest is noticed: no manifest promises it."""
    destination = memory_storage()
    lost = f"{source['demo:train'].data_path}/label/c/1"

    def watch(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        done = effect()
        if verb == "put" and path.endswith("records/00001.json"):
            destination.delete(lost)
        return done

    with pytest.raises(StoreError, match=re.escape(f"{lost} did not stay in memory://test (1 such objects)")):
        Store(WatchedStorage(destination, watch)).pull("demo:train", source)
    assert [*Store(destination).feature_sets()] == []


def test_a_plan_of_another_set(source: Store) -> None:
    """The hint for builders is checked, too: a wrong one would mislead the next build."""
    root = Path(source.storage.url)
    (root / SMALL.address.plan).write_bytes((root / VALID.address.plan).read_bytes())
    with pytest.raises(DamagedError, match="belongs to another feature set"):
        Store(memory_storage()).pull("demo:train", source)


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
    with pytest.raises(ConflictError, match="under the same keys") as caught:
        source.push("demo:train", there)
    assert source.storage.url in str(caught.value)
    assert destination.url in str(caught.value)
    assert there["demo:train"].digest == other.build(destination).digest


@pytest.mark.parametrize("column", ["label", "value"])
def test_other_objects_in_the_way(source: Store, destination: Storage, column: str) -> None:
    """An object that is there, of the same size or not, is not believed without its record."""
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
    """Whoever comes second to a name looks at what is there: the same is fine, anything else ends the copy."""

    def faster(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        if verb == "put" and path.endswith("/label/c/0"):
            destination.put_if_absent(path, source.storage.get(path)[: None if equal else -1])
        return effect()

    there = Store(WatchedStorage(destination, faster))
    if equal:
        there.pull("demo:train", source)
        assert verify(Store(destination)["demo:train"], depth="deep") == []
    else:
        with pytest.raises(ConflictError, match=r"label/c/0 in .* is not what"):
            there.pull("demo:train", source)
        assert [*Store(destination).feature_sets()] == []


def test_a_folder_is_looked_at_again(source: Store, tmp_path: Path) -> None:
    """What rotted between an interrupted pull and the next one is not committed."""
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


def test_no_room(source: Store, destination: Storage) -> None:
    """What does not fit is refused before anything is written, with both numbers."""
    watched = WatchedStorage(destination, Log())
    watched.free_bytes = lambda: 5000  # type: ignore[method-assign]
    with pytest.raises(StorageFullError, match=r"takes [0-9,]+ bytes more, .* has 5,000 free") as caught:
        source.push("demo:train", Store(watched))
    assert caught.value.details["needed"] == sum(
        one.size for one in source.storage.list(f"{SMALL.address.folder}/builds")
    )
    assert [*destination.list("features")] == []


def test_names_at_the_destination(
    source: Store, destination: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """One split keeps the others; what the name stood for is told; a key brings no name."""
    there = Store(destination)
    source.push("demo:valid", there)
    source.push("demo:train", there)
    assert_whole(there)
    other = small_set(64, split="train", seed=9)
    source.point("demo", {"train": other.build(source.storage)})
    source.push("demo", there)
    assert "demo:train stood for digest" in caplog.text
    assert len(there["demo:train"]) == 64
    keyless = Store(memory_storage())
    source.push(f"{SMALL.transform.key[:8]}/{SMALL.source.key[:8]}", keyless)
    assert keyless.names() == []
    assert len([*keyless.feature_sets()]) == 1


def test_refusals(source: Store, destination: Storage) -> None:
    """What can't be meant."""
    there = Store(destination)
    with pytest.raises(UnknownNameError, match="did you mean 'demo'"):
        source.push("demmo", there)
    with pytest.raises(UnknownNameError, match="has no split 'test'"):
        source.push("demo:test", there)
    with pytest.raises(UsageError, match="is the store itself"):
        source.push("demo", source.storage.url)
    assert [*destination.list("features")] == []


def test_memory_is_bounded(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never are more bytes of objects under way than the budget; one that is larger goes alone."""
    sizes = {one.path: one.size for one in source.storage.list("features") if "/c/" in one.path}
    budget = sorted(sizes.values())[-3]
    monkeypatch.setattr(transfer, "BUDGET", budget)
    holding: list[int] = []
    peaks: list[list[int]] = []
    lock = threading.Lock()

    def watch(verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        with lock:
            if path in sizes and verb == "get":
                holding.append(sizes[path])
                peaks.append([*holding])
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


def test_ctrl_c_ends_soon(source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interruption no new object is begun; the next pull goes on."""
    monkeypatch.setattr(transfer, "THREADS", 1)
    log, noticed = Log(), threading.Event()

    def handler(number: int, frame: object) -> None:
        noticed.set()
        raise KeyboardInterrupt

    def press(done: int, total: int, label: str) -> None:
        if done > total // 2 and not noticed.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert noticed.wait(60)  # else all may be copied before the main thread wakes up

    before = signal.signal(signal.SIGINT, handler)

    there = Store(memory_storage())
    try:
        with pytest.raises(KeyboardInterrupt):
            there.pull("demo:train", Store(WatchedStorage(source.storage, log)), progress=press)
    finally:
        signal.signal(signal.SIGINT, before)
    objects = [path for path in log.paths("get") if "/c/" in path]
    assert 0 < len(objects) < len([path for path in objects_of(source) if "/c/" in path]) - 4
    assert [*there.feature_sets()] == []
    assert there.pull("demo:train", source)["demo:train"].there > 0
