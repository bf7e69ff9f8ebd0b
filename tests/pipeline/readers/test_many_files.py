"""Sources of thousands of files: hashed once, remembered in one document, and sent to workers in parts."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.pipeline.event_files import tonic_dataset, write_nmnist
from tests.pipeline.hashed_sources import (
    LATER,
    damage_cut,
    damage_empty,
    damage_noise,
    entries,
    in_place,
    ssc,
)
from torch.utils.data import Subset

from spikestore.pipeline.building.feature_build import BuildRequest, open_build
from spikestore.pipeline.execution.fragment_task import FragmentJob, build_fragment
from spikestore.pipeline.sources import file_hashes
from spikestore.pipeline.sources.file_hashes import FileStamp, check_unchanged
from spikestore.pipeline.sources.hash_cache import HashCache
from spikestore.pipeline.sources.item_sources import source_of_dataset
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store.storage.folder import FolderStorage
from spikestore.store_schemas.errors import SourceChangedError, SourceError
from spikestore.store_schemas.specs.items import FilePart
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Return Tonic's ``save_to`` with 150 files of N-MNIST: enough for one document of hashes."""
    return write_nmnist(tmp_path / "digits", per_class=15, longest=21).parent


def nmnist(folder: Path, cache: Path, split: str = "train", **options: Any) -> LocatedSource:
    return make_source("NMNIST", split, folder, cache=cache, **options)


def test_many_files_share_one_document(digits: Path, cache: Path, reads: list[str]) -> None:
    """There is one document for each split; the second time no file is read, whichever of the two folders is given."""
    first, second = nmnist(digits, cache), nmnist(digits, cache, "test")
    assert len(reads) == 300
    assert len(entries(cache)) == 2
    assert nmnist(digits, cache) == nmnist(digits / "NMNIST", cache) == first
    assert nmnist(digits, cache, "test", limit=3).source.files == second.source.files
    assert len(reads) == 300
    for file in first.source.files:
        content = (digits / "NMNIST" / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [file.name for file in first.source.files] == sorted(file.name for file in first.source.files)


def test_one_file_of_many_that_changed_is_hashed_again(digits: Path, cache: Path, reads: list[str]) -> None:
    """Also if its old time was restored; afterwards its hash is cached with the others."""
    first = nmnist(digits, cache)
    path = digits / "NMNIST" / first.source.files[70].name
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = nmnist(digits, cache)
    assert [a == b for a, b in zip(first.source.files, second.source.files, strict=True)].count(False) == 1
    assert nmnist(digits, cache) == second
    assert len(reads) == 151


def test_a_document_forgets_files_that_are_gone(digits: Path, cache: Path, reads: list[str]) -> None:
    first = nmnist(digits, cache)
    (entry,) = entries(cache)
    size = entry.stat().st_size
    for file in first.source.files[5:15]:
        (digits / "NMNIST" / file.name).unlink()
    nmnist(digits, cache)
    assert len(reads) == 150
    assert entry.stat().st_size < size * 0.95


def test_new_files_of_many_are_not_cached(digits: Path, cache: Path) -> None:
    nmnist(digits, cache)
    assert entries(cache) == []


def test_hashes_from_before_a_failure_are_kept(
    digits: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interruption, the next run continues with the cached hashes."""
    counted = file_hashes._sha256

    def stop(file: str, tally: Any) -> str:
        if len(reads) == 100:
            raise PermissionError(13, "Permission denied")
        return counted(file, tally)

    monkeypatch.setattr(file_hashes, "_sha256", stop)
    with pytest.raises(SourceError, match="Permission denied"):
        nmnist(digits, cache)
    monkeypatch.setattr(file_hashes, "_sha256", counted)
    done = len(reads)
    nmnist(digits, cache)
    assert len(reads) - done <= 75  # what other threads did meanwhile differs from run to run


def test_a_failure_forgets_no_file_that_was_not_reached(
    digits: Path, cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nmnist(digits, cache)
    counted = file_hashes._sha256

    def refuse(file: str, tally: Any) -> str:
        raise PermissionError(13, "Permission denied")

    os.utime(digits / "NMNIST" / first.source.files[0].name)
    monkeypatch.setattr(file_hashes, "_sha256", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        nmnist(digits, cache)
    monkeypatch.setattr(file_hashes, "_sha256", counted)
    assert nmnist(digits, cache).source == first.source
    assert len(reads) == 151


@pytest.mark.parametrize("damage", [damage_cut, damage_empty, damage_noise])
def test_a_damaged_document_is_ignored(digits: Path, cache: Path, reads: list[str], damage: Any) -> None:
    first = nmnist(digits, cache)
    (entry,) = entries(cache)
    entry.write_bytes(damage(entry.read_bytes()))
    assert nmnist(digits, cache) == first
    assert len(reads) == 300
    assert nmnist(digits, cache) == first
    assert len(reads) == 300


def test_a_document_of_another_folder_is_ignored(
    digits: Path, cache: Path, tmp_path: Path, reads: list[str]
) -> None:
    """It is ignored even with the right name and a valid hash, because a copy with equal times and inodes could be another file."""
    nmnist(digits, cache)
    (entry,) = entries(cache)
    moved = tmp_path / "moved"
    digits.rename(moved)
    nmnist(moved, cache)
    (other,) = [path for path in entries(cache) if path != entry]
    other.write_bytes(entry.read_bytes())
    nmnist(moved, cache)
    assert len(reads) == 450


@pytest.mark.parametrize("field", ["st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"])
def test_each_number_of_a_file_counts_among_many(tmp_path: Path, cache: Path, field: str) -> None:
    """Names with spaces, line ends and bytes that are not UTF-8 are distinguished."""
    numbers = {"st_size": 5, "st_mtime_ns": 6, "st_ctime_ns": 7, "st_ino": 8}
    same: Any = SimpleNamespace(**numbers)
    other: Any = SimpleNamespace(**{**numbers, field: 9})
    names = ["a", "a b", "a\nb", "a%20b", os.fsdecode(b"\xff"), "ü/ü"]
    for _ in range(2):
        with HashCache(cache).table(tmp_path, "train") as table:
            for i, name in enumerate(names):
                table.put(tmp_path / name, same, f"{i}" * 64, started_ns=LATER)
    with HashCache(cache).table(tmp_path, "train") as table:
        for i, name in enumerate(names):
            assert table.get(tmp_path / name, same) == f"{i}" * 64
            assert table.get(tmp_path / name, other) is None


def test_an_unwritable_cache_of_many_is_left_alone(digits: Path, tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"not a folder")
    assert nmnist(digits, file) == nmnist(digits, file)
    assert len(reads) == 300


def test_progress_of_many(digits: Path, cache: Path, reads: list[str]) -> None:
    """It ends at all bytes, hashed or from the cache, and never goes back."""
    for _ in range(2):
        calls: list[tuple[int, int, str]] = []
        source = nmnist(digits, cache, progress=lambda *call, calls=calls: calls.append(call))
        total = sum(file.size for file in source.source.files)
        assert [call[0] for call in calls] == sorted(call[0] for call in calls)
        assert calls[-1][:2] == (total, total)


def test_a_part_is_small(digits: Path, cache: Path) -> None:
    """A worker gets only the files of its rows; other files may change meanwhile."""
    whole = nmnist(digits, cache)
    part = whole.part(range(64, 74))
    assert (part.source.files, part.stamps) == (whole.source.files[64:74], whole.stamps[64:74])
    assert len(pickle.dumps(part)) < len(pickle.dumps(whole)) / 5
    in_place(whole.stamps[0].path)
    check_unchanged(part.stamps)
    in_place(part.stamps[9].path)
    with pytest.raises(SourceChangedError, match=part.source.files[9].name):
        check_unchanged(part.stamps)


def test_a_part_of_a_subset_has_the_stamps_of_its_files(
    digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all files of the data set, for each task: a path object for each of 60,000 would take a quarter of a second."""
    rows = [149, 3, 70, 3, 0]
    whole = source_of_dataset(Subset(tonic_dataset("NMNIST", "train", digits, monkeypatch), rows))
    with monkeypatch.context() as patch:
        patch.setattr(FileStamp, "path", property(lambda stamp: pytest.fail("no path object is needed")))
        part = whole.part(range(1, 4))
    assert part.source.items is not None
    (files,) = (each.files for each in part.source.items.parts if isinstance(each, FilePart))
    assert [stamp.file for stamp in part.stamps] == [str(digits / "NMNIST" / file.name) for file in files]
    in_place(part.stamps[1].path)
    with pytest.raises(SourceChangedError, match=files[1].name):
        check_unchanged(part.stamps)


def test_a_task_looks_at_its_own_files_only(digits: Path, cache: Path, tmp_path: Path) -> None:
    """Otherwise each of many tasks would check all 60,000 files. The pickled job builds the same fragment."""
    located = nmnist(digits, cache)
    transform = Transform(operations=(ToFrame(sensor_size=(34, 34, 2), time_window=1e4),))
    build = open_build(
        FolderStorage(tmp_path / "store"), located, transform, BuildRequest(fragment_samples=64)
    )
    job = FragmentJob(build, located, transform)
    in_place(located.stamps[0].path)
    sent = pickle.loads(pickle.dumps(job.only(1)))  # noqa: S301 - our own bytes
    assert len(sent.located.stamps) == 64
    assert build_fragment(sent, 1).samples == 64
    assert build_fragment(job, 2).samples == 22
    with pytest.raises(SourceChangedError, match=located.source.files[0].name):
        build_fragment(job, 0)
    assert build.unfinished() == [0]


def test_a_part_of_one_file_is_the_whole(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "ssc_train.h5").write_bytes(b"nothing looks inside")
    whole = ssc(tmp_path, cache, limit=5)
    assert whole.part(range(2, 3)) is whole
