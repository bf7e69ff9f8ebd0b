"""A folder store after a power failure at any time, on a full disk, with a quota, after an unmount, and without hard links."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.store.copies import filled
from tests.store.small_sets import files_of, memory_storage, same, small_set

from spikestore.store import Store
from spikestore.store.sharing import copy_set as transfer
from spikestore.store.storage import FolderStorage
from spikestore.store.storage.publishing import Publisher
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.errors import (
    MissingObjectError,
    ReadOnlyStoreError,
    StorageFullError,
    StoreError,
)

SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))
LARGE = small_set(640, seed=3)
SMALL_DIGEST = SMALL.build(memory_storage()).digest
DIGEST = LARGE.build(memory_storage()).digest


class Trace:
    """Records the system calls that change a disk, and performs them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self.on_call: Callable[[str, str], None] = lambda call, path: None
        self._paths: dict[int, str] = {}
        for name in ("open", "write", "fsync", "close", "link", "mkdir", "unlink", "replace", "rename"):
            monkeypatch.setattr(os, name, self._traced(name, getattr(os, name)))

    def _traced(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **more: Any) -> Any:
            path = self._paths.get(first, "?") if isinstance(first, int) else os.fspath(first)
            if name in {"link", "replace", "rename"}:
                path = os.fspath(rest[0])
                self.on_call(f"{name} from", os.fspath(first))
            if name not in {"open", "close"}:
                self.on_call(name, path)
                self.calls.append((name, path))
            result = real(first, *rest, **more)
            if name == "open":
                self._paths[result] = path
            return result

        return call

    def below(self, root: Path) -> list[str]:
        """Return the calls since the last query, with paths below `root`; names of temporary files as ``*``."""
        said = []
        for name, path in self.calls:
            place = Path(path)
            if place.parent.name == ".tmp":
                place = place.with_name("*")
            said.append(f"{name} {place.relative_to(root.parent).as_posix()}")
        self.calls.clear()
        return said


def test_the_order_of_a_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and their parents are fsynced, a temporary file is written and fsynced, linked, and its folder fsynced."""
    trace, root = Trace(monkeypatch), tmp_path / "store"
    storage = FolderStorage(root)
    storage.put_if_absent("a/b", b"data")
    first = ["mkdir store", "fsync .", "mkdir store/.tmp", "fsync store"]
    write = ["write store/.tmp/*", "fsync store/.tmp/*"]
    folder = ["mkdir store/a", "fsync store"]
    link = ["link store/a/b", "fsync store/a", "unlink store/.tmp/*"]
    assert trace.below(root) == [*first, *write, *folder, *link]
    storage.put_if_absent("a/c", b"data")
    assert trace.below(root) == [*write, "link store/a/c", *link[1:]]
    storage.put_if_absent("a/c", b"data")
    assert trace.below(root) == ["fsync store/a"]
    storage.replace("a/c", b"data")
    assert trace.below(root) == [*write, "replace store/a/c", *link[1:]]
    storage.delete("a/c")
    assert trace.below(root) == ["unlink store/a/c", "fsync store/a"]
    # Another process made the folder, and may have crashed before its fsync: a new process does it instead.
    Publisher.of.cache_clear()
    FolderStorage(root).put_if_absent("a/d", b"data")
    assert trace.below(root) == ["fsync store", *write, "fsync store", "link store/a/d", *link[1:]]


@pytest.mark.parametrize("copied", [False, True], ids=["built", "pulled"])
def test_a_power_failure_at_any_moment(copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a record gets its name, its objects are on the disk; when the manifest does, everything is.

    A file is on the disk if its bytes were fsynced after the last write, and its folder after the file got its name; the same
    holds for that folder.
    """
    source = filled(Store(memory_storage("source")))
    monkeypatch.setattr(transfer, "THREADS", 1)  # one call at a time, because their order is checked
    monkeypatch.setattr(transfer, "_FRAGMENTS", 1)
    trace, root = Trace(monkeypatch), tmp_path / "store"
    synced: set[str] = set()  # files whose bytes are on the disk
    pending: dict[str, set[str]] = {}
    names: set[str] = set()  # names that are on the disk
    content: dict[str, str] = {}
    checked = []

    def watch(call: str, path: str) -> None:
        if call == "write":
            synced.discard(path)
        elif call == "fsync":
            synced.add(path)
            names.update(pending.pop(path, set()))
        elif call == "mkdir":
            pending.setdefault(os.path.dirname(path), set()).add(path)  # noqa: PTH120 - paths are text here
        elif call == "link from":
            content["next"] = path
        elif call == "link":
            content[path] = content["next"]
            pending.setdefault(os.path.dirname(path), set()).add(path)  # noqa: PTH120
            assert content[path] in synced
            for needed in vouched_for(path):
                checked.append(needed)
                assert content[needed] in synced, needed
                while needed != str(root.parent):
                    assert needed in names, needed
                    needed = os.path.dirname(needed)  # noqa: PTH120

    def vouched_for(path: str) -> list[str]:
        if "/records/" in path:
            record = Record.from_bytes(Path(content[path]).read_bytes(), path=path)
            data = Path(path).parents[1] / "data.zarr"
            return [str(data / entry.path) for entry in record.objects]
        return (
            [one for one in content if one != path and one != "next"]
            if path.endswith("manifest.json")
            else []
        )

    trace.on_call = watch
    if copied:
        Store(root).pull("demo:train", source)
    else:
        SMALL.build(FolderStorage(root))
    assert len(checked) > 2 * 7 + 20


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that never replaces a file suffices: each object is put once, by one of many, and sets are built."""

    def link(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    storage = FolderStorage(tmp_path)
    won = []
    start = threading.Barrier(4)

    def put(content: bytes) -> None:
        start.wait(60)
        won.append((storage.put_if_absent("a/b", content), content))

    threads = [threading.Thread(target=put, args=(bytes([n]) * 9,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (content for first, content in won if first)
    assert storage.get("a/b") == winner
    assert storage.put_if_absent("a/b", b"again") is False
    assert same(SMALL.build(storage).read(), SMALL.truth)
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_neither_links_nor_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that supports neither is rejected by name, and not called read-only."""

    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: object())
    with pytest.raises(
        StoreError, match="cannot create a file without the risk of replacing another file"
    ) as caught:
        FolderStorage(tmp_path).put_if_absent("a", b"")
    assert not isinstance(caught.value, ReadOnlyStoreError)
    assert files_of(tmp_path) == []


@pytest.mark.parametrize(
    ("call", "number", "error", "words"),
    [
        ("write", errno.ENOSPC, StorageFullError, "no space left for features/"),
        ("write", errno.EFBIG, StorageFullError, "is larger than the largest file that is allowed"),
        ("write", errno.EDQUOT, StorageFullError, "quota exhausted for features/"),
        ("link", errno.EDQUOT, StorageFullError, "quota exhausted for features/"),
        ("fsync", errno.EIO, StoreError, "(Input/output error): mount it"),
        ("link", errno.ESTALE, StoreError, "(Stale file handle): mount it"),
        ("write", errno.ENOTCONN, StoreError, "mount it and run the command again"),
        ("link", errno.EROFS, ReadOnlyStoreError, "mount it for writing, or use another store"),
    ],
)
def test_a_disk_that_fails_in_mid_build(
    number: int,
    error: type[StoreError],
    words: str,
    call: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says what happened and what to do, no incomplete file has a name, and the next run resumes."""
    calls = 0
    real = getattr(os, call)

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    storage = FolderStorage(tmp_path / "store")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing)
        with pytest.raises(error) as caught:
            SMALL.build(storage)
    assert words in str(caught.value)
    assert str(tmp_path / "store") in str(caught.value)
    assert type(caught.value) is error
    before = len(files_of(tmp_path / "store"))
    assert before > 1
    assert SMALL.build(storage).digest == SMALL_DIGEST


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 256 KiB, if this machine allows it."""
    place = tmp_path / "disk"
    place.mkdir()
    if mount("-t", "tmpfs", "-o", "size=256k", "spikestore-test", str(place)):
        pytest.skip("may not mount here")
    yield place
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)  # noqa: S607


def mount(*arguments: str) -> int:
    """Run mount; return its status."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode  # noqa: S607


def test_a_full_disk_and_a_larger_one(disk: Path) -> None:
    """A build that fills a real disk reports it, and resumes to the same digest when there is room."""
    storage = FolderStorage(disk / "store")
    with pytest.raises(StorageFullError, match="no space left for features/"):
        LARGE.build(storage)
    assert list((disk / "store" / ".tmp").iterdir()) == []
    finished = [path for path in files_of(disk / "store") if "/records/" in path]
    assert finished
    assert mount("-o", "remount,size=8m", str(disk)) == 0
    assert LARGE.build(storage).digest == DIGEST


def test_a_read_only_disk(disk: Path) -> None:
    """The error says that the disk is read-only; it can be read, and the build succeeds when it is writable again."""
    storage = FolderStorage(disk)
    storage.put_if_absent("a", b"data")
    assert mount("-o", "remount,ro", str(disk)) == 0
    for verb in (
        lambda: storage.put_if_absent("b", b""),
        lambda: storage.delete("a"),
        lambda: storage.replace("a", b""),
    ):
        with pytest.raises(ReadOnlyStoreError, match="Read-only file system"):
            verb()
    assert storage.get("a") == b"data"
    assert mount("-o", "remount,rw", str(disk)) == 0
    assert storage.put_if_absent("b", b"")


def test_a_lost_mount(disk: Path) -> None:
    """The empty folder that an unmounted disk leaves is not mistaken for an empty store, and nothing is written into it."""
    storage = FolderStorage(disk)
    storage.put_if_absent("features/a", b"data")
    subprocess.run(["umount", str(disk)], check=True)  # noqa: S607
    verbs: list[Callable[[], object]] = [
        lambda: storage.get("features/a"),
        lambda: storage.put_if_absent("features/b", b""),
        lambda: storage.folders("features"),
        lambda: [*storage.list("features")],
        lambda: storage.delete("features/a"),
    ]
    for verb in verbs:
        with pytest.raises(StoreError, match=r"is not available .*mount it") as caught:
            verb()
        assert not isinstance(caught.value, MissingObjectError)
    assert list(disk.iterdir()) == []
    # Another process, perhaps on another machine, has other numbers of disks: the check is not pickled.
    assert pickle.loads(pickle.dumps(storage)).folders("features") == []  # noqa: S301 - our own


def test_a_folder_that_is_emptied_meanwhile(tmp_path: Path) -> None:
    """A put succeeds although another process empties, and so removes, the folder."""
    storage, stop, errors = FolderStorage(tmp_path), threading.Event(), []

    def empty() -> None:
        other = FolderStorage(tmp_path)
        try:
            while not stop.is_set():
                other.delete("a/b/c")
        except StoreError as error:
            errors.append(error)

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        for number in range(100):
            storage.put_if_absent("a/b/c", bytes([number % 256]))
    finally:
        stop.set()
        thread.join()
    assert errors == []


def test_renameat2_exists_on_this_machine() -> None:
    """On Linux, the rename that never replaces a file exists: the tests above have used it."""
    if os.uname().sysname == "Linux":
        assert hasattr(ctypes.CDLL(None), "renameat2")
