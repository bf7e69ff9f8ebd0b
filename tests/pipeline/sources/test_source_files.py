"""The key of a source depends on the bytes and the options of reading, not on the location or the times of files."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.hashed_sources import CONTENT, entries, in_place, ssc, write_content

from spikestore.pipeline.building.recompute import located_recordings
from spikestore.pipeline.sources import file_hashes
from spikestore.pipeline.sources.file_hashes import FileStamp, check_unchanged, hash_files
from spikestore.pipeline.sources.hash_cache import HashCache
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store_schemas.errors import (
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
    SpecError,
    UnknownNameError,
)
from spikestore.store_schemas.specs.source import Source


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_content(tmp_path / "data")


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
    assert located.stamps == (
        FileStamp(str(file), status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns),
    )
    assert pickle.loads(pickle.dumps(located)) == located  # noqa: S301 - our own bytes


def test_another_version_of_the_reader_is_named(data: Path, cache: Path) -> None:
    recorded = ssc(data, cache).source.to_mapping() | {"reader_version": 2}
    message = r"has version 1 of the reader .*, but .* version 2 of the reader; install the package versions of the build"
    with pytest.raises(SourceError, match=message):
        located_recordings(Source.from_mapping(recorded, origin="recorded"), data)


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
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        make_source("SSC", "trian", data, cache=cache)


# ------------------------------------------------------------------------------------- changes


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


def in_place_unseen(path: Path) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = [
    (in_place, "it was written to;"),
    (in_place_unseen, "it was written to, or its permissions"),
    (longer, "its size changed from"),
    (replaced, "it was replaced by another file"),
]


@pytest.mark.parametrize(("change", "how"), CHANGES, ids=[how for _, how in CHANGES])
def test_check_unchanged(data: Path, cache: Path, change: Any, how: str) -> None:
    located = ssc(data, cache)
    check_unchanged(located.stamps)
    path = data / "SSC" / "ssc_train.h5"
    change(path)
    with pytest.raises(SourceChangedError, match=f"{path} changed while spikestore used it: {how}"):
        check_unchanged(located.stamps)


def test_check_unchanged_when_the_file_is_gone(data: Path, cache: Path) -> None:
    located = ssc(data, cache)
    (data / "SSC" / "ssc_train.h5").unlink()
    with pytest.raises(SourceChangedError, match=r"ssc_train\.h5 changed .*can no longer be accessed"):
        check_unchanged(located.stamps)


@pytest.mark.parametrize(("change", "how"), CHANGES, ids=[how for _, how in CHANGES])
def test_a_change_while_hashing(
    data: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, change: Any, how: str
) -> None:
    original = file_hashes._sha256

    def slow(file: str, tally: Any) -> str:
        digest = original(file, tally)
        change(Path(file))
        return digest

    monkeypatch.setattr(file_hashes, "_sha256", slow)
    with pytest.raises(SourceChangedError, match=how):
        ssc(data, cache)
    assert entries(cache) == []


def test_a_file_that_cannot_be_read(data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: str, tally: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(file_hashes, "_sha256", refuse)
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


def test_a_pipe_among_the_files_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(SourceError, match=r"pipe.bin is a pipe, .*: move it out"):
        hash_files([tmp_path / "pipe.bin"], HashCache(tmp_path), None)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that replaces the file between its check and its opening is not waited for."""
    path = tmp_path / "0.bin"
    path.write_bytes(bytes(5))
    stat = file_hashes._stat

    def replaced(asked: str) -> os.stat_result:
        status = stat(asked)
        if asked == str(path) and path.is_file():
            path.unlink()
            os.mkfifo(path)
        return status

    hash_files([path], HashCache(tmp_path / "cache"), None)
    monkeypatch.setattr(file_hashes, "_stat", replaced)
    with pytest.raises(SourceChangedError, match="it was replaced by something that is not a file"):
        hash_files([path], HashCache(tmp_path / "other"), None)


@pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="needs /proc")
def test_a_file_that_holds_more_than_it_says(tmp_path: Path) -> None:
    """Files of the system report a size of 0; some of them have no end."""
    with pytest.raises(
        SourceChangedError,
        match="cmdline changed while spikestore used it: its size was 0 bytes, but it has more bytes now",
    ):
        hash_files([Path("/proc/self/cmdline")], HashCache(tmp_path), None)


def test_a_file_of_any_claimed_size_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "holes.bin"
    with path.open("wb") as file:
        file.truncate(2**40 + 1)
    with pytest.raises(SourceError, match=r"holes.bin has 1,099,511,627,777 bytes, more than the limit"):
        hash_files([path], HashCache(tmp_path), None)


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    """Names of files are stored in UTF-8, so such a name can't be kept unchanged."""
    for digit in range(10):
        (tmp_path / "NMNIST" / "Train" / str(digit)).mkdir(parents=True)
        (tmp_path / "NMNIST" / "Train" / str(digit) / "0.bin").write_bytes(bytes(5))
    path = os.fsdecode(bytes(tmp_path / "NMNIST" / "Train" / "3") + b"/a\xff.bin")
    Path(path).write_bytes(bytes(5))
    with pytest.raises(SourceError, match=r"the name of .*/3/a.+\.bin is not UTF-8: rename"):
        make_source("NMNIST", "train", tmp_path, cache=tmp_path / "cache")
