"""Datasets by name: files are found in Tonic's folder and beside it, and every miss says what to do."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline import small_data_sets
from tests.pipeline.cochlea_files import SPLITS, write_dataset
from tests.pipeline.event_files import (
    DVSGESTURE_FOLDERS,
    NMNIST_FOLDERS,
    tonic_dataset,
    write_dvsgesture,
    write_nmnist,
)

from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.pipeline.readers.event_files.dvsgesture import DVSGestureReader
from spikestore.pipeline.readers.event_files.nmnist import NMNISTReader
from spikestore.pipeline.readers.registry import DATASETS, dataset_files, find_dataset, open_reader, splits_of
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store_schemas.errors import (
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.source import Source

TREES = {"NMNIST": NMNIST_FOLDERS, "DVSGesture": DVSGESTURE_FOLDERS}
WRITE: dict[str, Callable[[Path], Path]] = {"NMNIST": write_nmnist, "DVSGesture": write_dvsgesture}
KNOWN = ", ".join([*DATASETS, "folder"])
ALL = [(dataset, split) for dataset, splits in SPLITS.items() for split in splits]


def touch(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_names_are_tonics() -> None:
    expected = {
        **SPLITS,
        **small_data_sets.SPLITS,
        "NMNIST": ("train", "test"),
        "DVSGesture": ("train", "test"),
    }
    assert {name: splits_of(name) for name in DATASETS} == expected


READERS: dict[str, Any] = {
    "SSC": CochleaReader,
    "SHD": CochleaReader,
    "NMNIST": NMNISTReader,
    "DVSGesture": DVSGestureReader,
}


@pytest.mark.parametrize("name", READERS)
def test_the_registry_and_the_reader_agree_on_name_and_version(name: str) -> None:
    dataset, reader = DATASETS[name], READERS[name]
    assert (dataset.reader, dataset.reader_version) == (reader.name, reader.version)
    assert dataset.file_per_recording == (name in TREES)


@pytest.mark.parametrize(("dataset", "split"), ALL)
def test_both_folders_give_the_same_files(tmp_path: Path, dataset: str, split: str) -> None:
    root = write_dataset(tmp_path, dataset)
    expected = (root, [f"{dataset.lower()}_{split}.h5"])
    assert dataset_files(dataset, split, tmp_path) == expected
    assert dataset_files(dataset, split, str(tmp_path)) == expected
    assert dataset_files(dataset, split, root) == expected
    assert find_dataset(tmp_path) == find_dataset(root) == dataset


def test_tonics_folder_takes_precedence(tmp_path: Path) -> None:
    touch(tmp_path / "ssc_train.h5")
    assert dataset_files("SSC", "train", tmp_path)[0] == tmp_path
    touch(tmp_path / "SSC" / "ssc_train.h5")
    assert dataset_files("SSC", "train", tmp_path)[0] == tmp_path / "SSC"


def test_relative_folders_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "data" / "shd_test.h5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in ("data", "./data", "~/data"):
        assert dataset_files("SHD", "test", folder)[0] == tmp_path / "data"
        assert find_dataset(folder) == "SHD"


def test_one_split_is_enough_to_find_a_dataset(tmp_path: Path) -> None:
    touch(tmp_path / "SSC" / "ssc_valid.h5")
    assert find_dataset(tmp_path) == "SSC"


def test_both_datasets_in_one_folder(tmp_path: Path) -> None:
    files = [touch(tmp_path / "SHD" / "shd_test.h5"), touch(tmp_path / "ssc_valid.h5")]
    with pytest.raises(UsageError, match="holds files of SHD and SSC: pass the folder") as caught:
        find_dataset(tmp_path)
    assert str(caught.value).splitlines()[1:] == [f"  SHD: {files[0]}", f"  SSC: {files[1]}"]
    assert caught.value.details["candidates"] == ("SHD", "SSC")


def test_neither_dataset(tmp_path: Path) -> None:
    touch(tmp_path / "other.h5")
    with pytest.raises(SourceNotFoundError, match="no files of a known dataset in") as caught:
        find_dataset(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert (
        "\n  SHD: shd_train.h5, shd_test.h5\n  SSC: ssc_train.h5, ssc_valid.h5, ssc_test.h5\n  STMNIST: "
        in message
    )
    assert "unpack" not in message


@pytest.mark.parametrize("place", ["", "SSC"])
@pytest.mark.parametrize("ending", [".zip", ".gz"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, place: str, ending: str) -> None:
    archive = touch(tmp_path / place / f"ssc_train.h5{ending}", b"packed")
    for look in (lambda: find_dataset(tmp_path), lambda: dataset_files("SSC", "train", tmp_path)):
        with pytest.raises(SourceNotFoundError) as caught:
            look()
        assert f"; unpack {archive} first" in str(caught.value)


def test_tonics_empty_zip_is_no_archive(tmp_path: Path) -> None:
    touch(tmp_path / "ssc_train.h5.zip")
    with pytest.raises(SourceNotFoundError) as caught:
        dataset_files("SSC", "train", tmp_path)
    assert "unpack" not in str(caught.value)


def test_missing_split_says_where_it_looked(tmp_path: Path) -> None:
    touch(tmp_path / "SSC" / "ssc_train.h5")
    (tmp_path / "SSC" / "ssc_test.h5").mkdir()
    with pytest.raises(SourceNotFoundError) as caught:
        dataset_files("SSC", "test", tmp_path)
    assert str(caught.value) == (f"no ssc_test.h5 for SSC/test: looked in {tmp_path / 'SSC'} and {tmp_path}")
    assert caught.value.details["looked_in"] == (str(tmp_path / "SSC"), str(tmp_path))


def test_missing_folder_and_a_file_for_a_folder(tmp_path: Path) -> None:
    file = touch(tmp_path / "ssc_train.h5")
    with pytest.raises(
        SourceNotFoundError, match=r"the data folder .*nowhere does not exist: pass another --data"
    ):
        dataset_files("SSC", "train", tmp_path / "nowhere")
    with pytest.raises(SourceNotFoundError, match="nowhere does not exist"):
        find_dataset(tmp_path / "nowhere")
    with pytest.raises(
        SourceNotFoundError, match="is not a folder: pass the folder that contains the recordings"
    ):
        dataset_files("SSC", "train", file)


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        ("ssc", "train", f"no dataset is called 'ssc', did you mean 'SSC'? known: {KNOWN}"),
        ("SDH", "train", f"no dataset is called 'SDH', did you mean 'SHD'? known: {KNOWN}"),
        ("EBSSA", "train", f"no dataset is called 'EBSSA', did you mean 'SSC'? known: {KNOWN}"),
        (
            "SSC",
            "validation",
            "no split of SSC is called 'validation', did you mean 'valid'? known: train, valid, test",
        ),
        ("SHD", "valid", "no split of SHD is called 'valid'; known: train, test"),
    ],
)
def test_unknown_names(tmp_path: Path, dataset: str, split: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        dataset_files(dataset, split, tmp_path / "not even looked at")
    assert str(caught.value) == message
    if dataset not in DATASETS:
        with pytest.raises(UnknownNameError):
            splits_of(dataset)


# ------------------------------------------------------------------------------------- files found in folders


@pytest.mark.parametrize("dataset", TREES)
def test_all_files_of_a_tree_from_both_folders(tmp_path: Path, dataset: str) -> None:
    """Paths are relative to the data set's folder, sorted, and the same for both folders that may be given."""
    root = WRITE[dataset](tmp_path)
    for split, folder in TREES[dataset].items():
        there = sorted(path.relative_to(root).as_posix() for path in (root / folder).rglob("*.*"))
        assert len(there) >= 6
        for given in (tmp_path, root, str(tmp_path)):
            assert dataset_files(dataset, split, given) == (root, there)
    assert find_dataset(tmp_path) == find_dataset(root) == dataset


def test_the_files_are_tonics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N-MNIST's files are in Tonic's order; DVSGesture's are those of Tonic, which has them in the order of the file system."""
    for dataset, write in WRITE.items():
        root, names = write(tmp_path), dataset_files(dataset, "test", tmp_path)[1]
        theirs = [Path(path) for path in tonic_dataset(dataset, "test", tmp_path, monkeypatch).data]
        ours = [root / name for name in names]
        assert (ours == theirs) if dataset == "NMNIST" else (ours == sorted(theirs))


def test_files_that_are_not_recordings_are_left_out(tmp_path: Path) -> None:
    """Files of other kinds, in the split's own folder, and those that macOS adds to archives, are left out."""
    root = write_nmnist(tmp_path)
    before = dataset_files("NMNIST", "train", tmp_path)
    for name in ("Train/1/notes.txt", "Train/readme.bin", "Train/1/._00000.bin", "Train/.cache/1/a.bin"):
        touch(root / name)
    assert dataset_files("NMNIST", "train", tmp_path) == before


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_class_folder_is_an_archive_unpacked_in_part(tmp_path: Path, empty: bool) -> None:
    root = write_nmnist(tmp_path)
    for digit in (3, 7):
        shutil.rmtree(root / f"Train/{digit}")
        if empty:
            (root / f"Train/{digit}").mkdir()
    with pytest.raises(SourceNotFoundError) as caught:
        dataset_files("NMNIST", "train", tmp_path)
    assert (
        str(caught.value)
        == f"{root / 'Train'} is not complete: no .bin file in 3, 7; unpack its archive again"
    )
    assert len(dataset_files("NMNIST", "test", tmp_path)[1]) == 20


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own walk would skip it silently, and half of the data set would be taken for all of it."""
    root = write_dvsgesture(tmp_path)
    real = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("user10_lab"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        SourceError, match=f"{root}/ibmGestureTest/user10_lab can't be listed: Permission denied"
    ):
        dataset_files("DVSGesture", "test", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "folder", "archive"),
    [
        ("NMNIST", "NMNIST", "train.zip"),
        ("NMNIST", "", "Train.zip"),
        ("DVSGesture", "DVSGesture", "ibmGestureTrain.tar.gz"),
    ],
)
def test_a_download_of_a_tree_is_to_be_unpacked(
    tmp_path: Path, dataset: str, folder: str, archive: str
) -> None:
    """Empty folders beside the archive do not hide it; an empty archive, which tests create for Tonic, is ignored."""
    (tmp_path / folder / TREES[dataset]["train"] / "1").mkdir(parents=True)
    path = touch(tmp_path / folder / archive)
    for content, hint in ((b"", False), (b"packed", True)):
        path.write_bytes(content)
        for look in (lambda: find_dataset(tmp_path), lambda: dataset_files(dataset, "train", tmp_path)):
            with pytest.raises(SourceNotFoundError) as caught:
                look()
            assert (f"; unpack {path} first" in str(caught.value)) == hint


def test_a_missing_tree_is_an_error_with_the_searched_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError) as caught:
        dataset_files("NMNIST", "train", tmp_path)
    message = f"no Train/*/*.bin for NMNIST/train: looked in {tmp_path / 'NMNIST'} and {tmp_path}"
    assert str(caught.value) == message


def test_a_tree_and_a_file_in_one_folder(tmp_path: Path) -> None:
    root = write_nmnist(tmp_path)
    file = touch(tmp_path / "SSC" / "ssc_valid.h5")
    with pytest.raises(UsageError, match="holds files of NMNIST and SSC") as caught:
        find_dataset(tmp_path)
    assert str(caught.value).splitlines()[1:] == [
        f"  NMNIST: {root / 'Train'}, {root / 'Test'}",
        f"  SSC: {file}",
    ]


# ------------------------------------------------------------------------------------- opening


@pytest.fixture
def located(tmp_path: Path) -> tuple[Source, Path]:
    write_dataset(tmp_path, "SSC")
    found = make_source("SSC", "valid", tmp_path, cache=tmp_path / "cache", limit=3)
    return found.source, found.root


def test_open_reader(located: tuple[Source, Path]) -> None:
    source, root = located
    with open_reader(source, root) as reader:
        assert (reader.name, reader.version) == (source.reader, source.reader_version)
        assert len(reader) == source.limit
        assert len(reader.read(0, 3)) == 3


def test_open_reader_of_another_version(located: tuple[Source, Path]) -> None:
    source, root = located
    for change in ({"reader_version": 2}, {"reader": "other"}):
        with pytest.raises(UsageError, match="this version of spikestore has cochlea-hdf5 version 1"):
            open_reader(source.model_copy(update=change), root)
    with pytest.raises(UnknownNameError):
        open_reader(source.model_copy(update={"dataset": "EBSSA"}), root)
    with pytest.raises(UsageError, match="this version of spikestore has nmnist-bin version 1"):
        open_reader(source.model_copy(update={"dataset": "NMNIST"}), root)


def test_open_reader_rejects_a_file_that_changed_after_hashing(located: tuple[Source, Path]) -> None:
    source, root = located
    path = root / source.files[0].name
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(SourceChangedError, match=f"{path} has .* bytes, but had"):
        open_reader(source, root)
    path.unlink()
    with pytest.raises(SourceNotFoundError, match=f"{path} does not exist"):
        open_reader(source, root)


def test_finding_and_hashing_import_neither_h5py_nor_tonic_nor_other_readers(tmp_path: Path) -> None:
    write_dataset(tmp_path, "SHD")
    code = (
        "import sys; from pathlib import Path\n"
        "from spikestore.pipeline.readers.registry import find_dataset\n"
        "from spikestore.pipeline.sources.source_files import make_source\n"
        "from spikestore.pipeline.sources.file_hashes import check_unchanged\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "found = make_source('SHD', 'train', folder, cache=folder / 'cache')\n"
        "others = [name for name in sys.modules if 'readers.event_files.' in name or 'readers.folder.folder_' in name]\n"
        "assert not others, others\n"
        "assert find_dataset(folder) == 'SHD'\n"
        "check_unchanged(found.stamps)\n"
        "heavy = {'h5py', 'tonic', 'torch', 'dask', 'distributed'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_datasets_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DATASETS["SSC"].reader = "other"  # type: ignore[misc]
