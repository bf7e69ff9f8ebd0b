"""Sources by content: the key follows the bytes and the way of reading, never the place or the time."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spikestore.pipeline import hash_cache, source_files
from spikestore.pipeline.hash_cache import HashCache
from spikestore.pipeline.source_files import (
    FileStamp,
    LocatedSource,
    check_unchanged,
    hash_files,
    make_source,
)
from spikestore.store_schemas.errors import (
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
    SpecError,
    UnknownNameError,
)

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several blocks
LATER = 10 * 10**9


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tonic's ``save_to`` with a training file; nothing here looks inside it."""
    (tmp_path / "data" / "SSC").mkdir(parents=True)
    (tmp_path / "data" / "SSC" / "ssc_train.h5").write_bytes(CONTENT)
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were hashed; and the clock is 10 s ahead, so that new files are old enough."""
    hashed: list[str] = []
    original = source_files._sha256

    def counted(path: Path, tally: Any) -> str:
        hashed.append(path.name)
        return original(path, tally)

    monkeypatch.setattr(source_files, "_sha256", counted)
    real = hash_cache.now_ns
    monkeypatch.setattr(source_files, "now_ns", lambda: real() + LATER)
    return hashed


def ssc(data: Path, cache: Path, **options: Any) -> LocatedSource:
    return make_source("SSC", "train", data, cache=cache, **options)


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


# ------------------------------------------------------------------------------------- keys


def test_a_source(data: Path, cache: Path) -> None:
    located = ssc(data, cache, sort=True, on_error="skip", limit=5)
    file = data / "SSC" / "ssc_train.h5"
    assert located.root == data / "SSC"
    assert located.source.to_mapping() == {
        "reader": "cochlea-hdf5",
        "reader_version": 1,
        "dataset": "SSC",
        "split": "train",
        "sort": True,
        "on_error": "skip",
        "limit": 5,
        "files": [
            {"name": "ssc_train.h5", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
        ],
    }
    status = file.stat()
    assert located.stamps == (FileStamp(file, status.st_size, status.st_mtime_ns, status.st_ino),)
    assert pickle.loads(pickle.dumps(located)) == located  # noqa: S301 - our own bytes


def test_the_place_is_not_in_the_key(data: Path, cache: Path, tmp_path: Path) -> None:
    key = ssc(data, cache).source.key
    moved = tmp_path / "elsewhere"
    shutil.copytree(data / "SSC", moved, copy_function=shutil.copy)
    os.utime(moved / "ssc_train.h5", ns=(1, 1))
    assert ssc(moved, cache).source.key == key
    assert ssc(data / "SSC", cache).source.key == key
    assert ssc(data, tmp_path / "another cache").source.key == key


@pytest.mark.parametrize("place", [0, 1_048_576, len(CONTENT) - 1])
def test_one_changed_byte_changes_the_key(data: Path, cache: Path, reads: list[str], place: int) -> None:
    key = ssc(data, cache).source.key
    with (data / "SSC" / "ssc_train.h5").open("r+b") as file:
        file.seek(place)
        file.write(bytes([CONTENT[place] ^ 1]))
    assert ssc(data, cache).source.key != key
    assert len(reads) == 2


def test_one_changed_byte_with_the_old_time_put_back_changes_the_key(
    data: Path, cache: Path, reads: list[str]
) -> None:
    key = ssc(data, cache).source.key
    path = data / "SSC" / "ssc_train.h5"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    assert ssc(data, cache).source.key != key


def test_options_change_the_key(data: Path, cache: Path) -> None:
    options: list[dict[str, Any]] = [{}, {"sort": True}, {"on_error": "skip"}, {"limit": 1}, {"limit": 2}]
    assert len({ssc(data, cache, **one).source.key for one in options}) == len(options)
    assert (
        ssc(data, cache, sort=False, on_error="raise", limit=None).source.key == ssc(data, cache).source.key
    )


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": 1.5}, {"on_error": "ignore"}, {"sort": "yes"}])
def test_wrong_options_are_told_before_anything_is_hashed(
    data: Path, cache: Path, reads: list[str], options: dict[str, Any]
) -> None:
    with pytest.raises(SpecError, match=f"source SSC/train: 1 problem\n  {next(iter(options))}:"):
        ssc(data, cache, **options)
    assert not reads


def test_missing_data(data: Path, cache: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"no ssc_test\.h5 for SSC/test: looked in"):
        make_source("SSC", "test", data, cache=cache)
    with pytest.raises(UnknownNameError, match="did you mean train"):
        make_source("SSC", "trian", data, cache=cache)


# ------------------------------------------------------------------------------------- the cache


def test_a_second_time_reads_nothing(data: Path, cache: Path, reads: list[str]) -> None:
    first = ssc(data, cache)
    assert ssc(data, cache) == first
    assert ssc(data / "SSC", cache, limit=3).source.files == first.source.files
    assert reads == ["ssc_train.h5"]
    (entry,) = entries(cache)
    assert entry.stat().st_size < 1000


def test_touching_hashes_again_to_the_same_key(data: Path, cache: Path, reads: list[str]) -> None:
    first = ssc(data, cache)
    os.utime(data / "SSC" / "ssc_train.h5")
    assert ssc(data, cache).source == first.source
    assert len(reads) == 2
    assert len(entries(cache)) == 1  # one a path, not one a change


def test_a_file_that_took_the_place_is_hashed(data: Path, cache: Path, reads: list[str]) -> None:
    path = data / "SSC" / "ssc_train.h5"
    before = path.stat()
    key = ssc(data, cache).source.key
    other = path.with_name("new")
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert ssc(data, cache).source.key != key


def test_a_file_written_just_before_is_not_cached(data: Path, cache: Path) -> None:
    ssc(data, cache)
    assert entries(cache) == []


@pytest.mark.parametrize(("age_ns", "cached"), [(1_900_000_000, False), (2_100_000_000, True)])
def test_how_old_a_file_must_be(data: Path, cache: Path, age_ns: int, cached: bool) -> None:
    path = data / "SSC" / "ssc_train.h5"
    status = path.stat()
    newest = max(status.st_mtime_ns, status.st_ctime_ns)
    HashCache(cache).put(path, status, "0" * 64, started_ns=newest + age_ns)
    assert (HashCache(cache).get(path, status) is not None) == cached


def test_a_time_in_the_future_is_not_cached(data: Path, cache: Path, reads: list[str]) -> None:
    path = data / "SSC" / "ssc_train.h5"
    future = path.stat().st_mtime_ns + 3600 * 10**9
    os.utime(path, ns=(future, future))
    ssc(data, cache)
    assert entries(cache) == []


@pytest.mark.parametrize("field", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_each_of_the_files_numbers_counts(data: Path, cache: Path, field: str) -> None:
    path = data / "SSC" / "ssc_train.h5"
    real = path.stat()
    numbers = {name: getattr(real, name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")}
    HashCache(cache).put(path, real, "0" * 64, started_ns=real.st_ctime_ns + LATER)
    same: Any = SimpleNamespace(**numbers)
    other: Any = SimpleNamespace(**{**numbers, field: numbers[field] + 1})
    assert HashCache(cache).get(path, same) == "0" * 64
    assert HashCache(cache).get(path, other) is None


def test_the_path_counts(data: Path, cache: Path) -> None:
    """Inode numbers repeat from one file system to the next."""
    path, status = data / "SSC" / "ssc_train.h5", (data / "SSC" / "ssc_train.h5").stat()
    own = HashCache(cache)
    for one in (path, path.with_name("other")):
        own.put(one, status, "0" * 64, started_ns=status.st_ctime_ns + LATER)
    first, second = entries(cache)
    first.write_bytes(second.read_bytes())
    assert sorted(str(own.get(one, status)) for one in (path, path.with_name("other"))) == ["0" * 64, "None"]


def damage_cut(data: bytes) -> bytes:
    return data[:-1]


def damage_digit(data: bytes) -> bytes:
    at = data.index(b'"sha256":"') + 10
    return data[:at] + (b"0" if data[at : at + 1] != b"0" else b"1") + data[at + 1 :]


def damage_empty(data: bytes) -> bytes:
    return b""


def damage_noise(data: bytes) -> bytes:
    return b"\x00\xff" * 50


def damage_huge(data: bytes) -> bytes:
    return data + b" " * 2**17


@pytest.mark.parametrize("damage", [damage_cut, damage_digit, damage_empty, damage_noise, damage_huge])
def test_damaged_entries_are_ignored(
    data: Path, cache: Path, reads: list[str], damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first = ssc(data, cache)
    (entry,) = entries(cache)
    entry.write_bytes(damage(entry.read_bytes()))
    with caplog.at_level(logging.DEBUG, "spikestore"):
        assert ssc(data, cache) == first
    assert "hash cache entry ignored" in caplog.text
    assert len(reads) == 2
    assert ssc(data, cache) == first  # and mended
    assert len(reads) == 2


def test_an_entry_of_another_file_is_ignored(data: Path, cache: Path, reads: list[str]) -> None:
    """Even one with the right name and a right seal."""
    (data / "SSC" / "ssc_test.h5").write_bytes(CONTENT[::-1])
    first = ssc(data, cache)
    (entry,) = entries(cache)
    make_source("SSC", "test", data, cache=cache)
    (other,) = [path for path in entries(cache) if path != entry]
    entry.write_bytes(other.read_bytes())
    assert ssc(data, cache) == first
    assert len(reads) == 3


def test_an_unwritable_cache_is_left_alone(
    data: Path, tmp_path: Path, reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"not a folder")
    with caplog.at_level(logging.DEBUG, "spikestore"):
        assert ssc(data, file) == ssc(data, file)
    assert len(reads) == 2
    assert "not cached" in caplog.text
    assert all(record.levelno == logging.DEBUG for record in caplog.records)


def test_a_failed_write_leaves_nothing(
    data: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    ssc(data, cache)
    assert entries(cache) == []


def test_the_default_cache_is_the_users(
    data: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "user" / name))
    make_source("SSC", "train", data)
    assert [path.suffix for path in entries(tmp_path / "user" / "spikestore")] == [".json"]


def test_many_writers_of_one_entry(data: Path, cache: Path) -> None:
    path = data / "SSC" / "ssc_train.h5"
    status = path.stat()
    digest = hashlib.sha256(CONTENT).hexdigest()
    wrong = []

    def work() -> None:
        own = HashCache(cache)
        for _ in range(50):
            own.put(path, status, digest, started_ns=status.st_ctime_ns + LATER)
            if own.get(path, status) != digest:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(entries(cache)) == 1


# ------------------------------------------------------------------------------------- changes


def in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(1, 1))


def longer(path: Path) -> None:
    before = path.stat()
    with path.open("ab") as file:
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    before = path.stat()
    other = path.with_name("new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


CHANGES = [
    (in_place, "it was written to"),
    (longer, "its size went from"),
    (replaced, "another file took its"),
]


@pytest.mark.parametrize(("change", "how"), CHANGES, ids=[how for _, how in CHANGES])
def test_check_unchanged(data: Path, cache: Path, change: Any, how: str) -> None:
    located = ssc(data, cache)
    check_unchanged(located.stamps)
    path = data / "SSC" / "ssc_train.h5"
    change(path)
    with pytest.raises(SourceChangedError, match=f"{path} changed while it was used: {how}"):
        check_unchanged(located.stamps)


def test_check_unchanged_when_the_file_is_gone(data: Path, cache: Path) -> None:
    located = ssc(data, cache)
    (data / "SSC" / "ssc_train.h5").unlink()
    with pytest.raises(SourceChangedError, match=r"ssc_train\.h5 changed .*can't be looked at any more"):
        check_unchanged(located.stamps)


@pytest.mark.parametrize(("change", "how"), CHANGES, ids=[how for _, how in CHANGES])
def test_a_change_while_hashing(
    data: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, change: Any, how: str
) -> None:
    original = source_files._sha256

    def slow(path: Path, tally: Any) -> str:
        digest = original(path, tally)
        change(path)
        return digest

    monkeypatch.setattr(source_files, "_sha256", slow)
    with pytest.raises(SourceChangedError, match=how):
        ssc(data, cache)
    assert entries(cache) == []


def test_a_file_that_cannot_be_read(data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, tally: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(source_files, "_sha256", refuse)
    with pytest.raises(SourceError, match=r"ssc_train\.h5 can't be read: Permission denied"):
        ssc(data, cache)


# ------------------------------------------------------------------------------------- progress, many files


def test_progress(data: Path, cache: Path, reads: list[str]) -> None:
    calls: list[tuple[int, int, str]] = []
    for _ in range(2):  # hashed, then from the cache
        calls.clear()
        ssc(data, cache, progress=lambda *call: calls.append(call))
        assert calls[-1] == (len(CONTENT), len(CONTENT), "ssc_train.h5")
        assert [call[0] for call in calls] == sorted({call[0] for call in calls})
    assert reads == ["ssc_train.h5"]


def test_many_files_are_hashed_in_order_and_add_up(tmp_path: Path) -> None:
    paths = []
    for i in range(20):
        paths.append(tmp_path / f"{i}.h5")
        paths[-1].write_bytes(os.urandom(1000 * i))
    calls: list[int] = []
    found = hash_files(paths, HashCache(tmp_path / "cache"), lambda done, total, label: calls.append(done))
    assert [digest for _, digest in found] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    ]
    assert [stamp.path for stamp, _ in found] == paths
    assert calls[-1] == sum(path.stat().st_size for path in paths)


def test_one_of_many_files_is_missing(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"")
    with pytest.raises(SourceNotFoundError, match="1 does not exist"):
        hash_files([tmp_path / "0", tmp_path / "1"], HashCache(tmp_path / "cache"), None)


@pytest.mark.parametrize("content", [b"", b"x", CONTENT[: 2**20], CONTENT[: 2**20 + 1]])
def test_sizes_about_a_block(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    ((_, digest),) = hash_files([path], HashCache(tmp_path / "cache"), None)
    assert digest == hashlib.sha256(content).hexdigest()
