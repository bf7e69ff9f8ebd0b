"""The hash cache avoids hashing again, is used only if the file's status agrees, and causes no errors."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.pipeline.hashed_sources import (
    CONTENT,
    LATER,
    damage_cut,
    damage_digit,
    damage_empty,
    damage_huge,
    damage_noise,
    entries,
    ssc,
    write_content,
)

from spikestore.pipeline.sources import hash_cache
from spikestore.pipeline.sources.hash_cache import HashCache
from spikestore.pipeline.sources.source_files import make_source


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_content(tmp_path / "data")


def test_a_second_time_reads_nothing(data: Path, cache: Path, reads: list[str]) -> None:
    first = ssc(data, cache)
    assert ssc(data, cache) == first
    assert ssc(data / "SSC", cache, limit=3).source.files == first.source.files
    assert reads == ["ssc_train.h5"]
    (entry,) = entries(cache)
    assert entry.stat().st_size < 1000


def test_a_touched_file_is_hashed_again_and_keeps_its_key(data: Path, cache: Path, reads: list[str]) -> None:
    first = ssc(data, cache)
    os.utime(data / "SSC" / "ssc_train.h5")
    assert ssc(data, cache).source == first.source
    assert len(reads) == 2
    assert len(entries(cache)) == 1  # one entry for a path, not one for a change


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
    """The path is part of an entry, because inode numbers repeat from one file system to the next."""
    path, status = data / "SSC" / "ssc_train.h5", (data / "SSC" / "ssc_train.h5").stat()
    own = HashCache(cache)
    for one in (path, path.with_name("other")):
        own.put(one, status, "0" * 64, started_ns=status.st_ctime_ns + LATER)
    first, second = entries(cache)
    first.write_bytes(second.read_bytes())
    assert sorted(str(own.get(one, status)) for one in (path, path.with_name("other"))) == ["0" * 64, "None"]


@pytest.mark.parametrize("damage", [damage_cut, damage_digit, damage_empty, damage_noise, damage_huge])
def test_damaged_entries_are_dropped_with_a_warning_that_names_them(
    data: Path, cache: Path, reads: list[str], damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first = ssc(data, cache)
    (entry,) = entries(cache)
    entry.write_bytes(damage(entry.read_bytes()))
    assert ssc(data, cache) == first
    assert f"the cached hashes in {entry} are damaged" in caplog.text
    assert len(reads) == 2
    assert ssc(data, cache) == first  # and restored
    assert len(reads) == 2


def replace_by_pipe(entry: Path) -> None:
    entry.unlink()
    os.mkfifo(entry)


def replace_by_folder(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


def replace_by_endless_device(entry: Path) -> None:
    entry.unlink()
    entry.symlink_to("/dev/zero")


@pytest.mark.parametrize("replace", [replace_by_pipe, replace_by_folder, replace_by_endless_device])
def test_special_files_are_neither_read_nor_waited_for(
    data: Path, cache: Path, reads: list[str], replace: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first = ssc(data, cache)
    (entry,) = entries(cache)
    replace(entry)
    assert ssc(data, cache) == first
    assert caplog.text.count(f"the cached hashes in {entry} are damaged") == 1
    assert len(reads) == 2


def test_an_entry_of_another_file_is_ignored(data: Path, cache: Path, reads: list[str]) -> None:
    """It is ignored even with the right name and a valid hash."""
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
    assert ssc(data, file) == ssc(data, file)
    assert len(reads) == 2
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2  # one warning for reading, one for writing, and none after that
    assert all(str(file) in one and "set XDG_CACHE_HOME to a writable folder" in one for one in messages)


def test_without_a_home_folder_nothing_is_cached_and_one_warning_says_so(
    data: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A user without a home, as in a container, gets one warning, and nothing is cached."""
    monkeypatch.setattr(hash_cache, "user_cache_folder", lambda: None)
    hash_cache._warn_once.cache_clear()
    assert make_source("SSC", "train", data).source == make_source("SSC", "train", data).source
    with HashCache().table(data, "train") as table:
        table.put(data / "x", data.stat(), "0" * 64, started_ns=data.stat().st_ctime_ns + LATER)
    assert len(reads) == 2
    (record,) = caplog.records
    assert record.message == (
        "cannot cache file hashes, because this user has no home folder: every run hashes all files again; "
        "set XDG_CACHE_HOME to a writable folder"
    )


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
