"""Data sets by name: the same samples as from their own classes or descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.pipeline.cochlea_files import bad, good
from tests.pipeline.event_files import located
from tests.pipeline.small_data_sets import OF_TONIC, SPLITS, WRITE, Item, judged, tonics

from spikestore.pipeline.readers.recording import Recording
from spikestore.pipeline.readers.registry import DATASETS, find_dataset, open_reader
from spikestore.pipeline.transforms.from_tonic import dataset_from_tonic
from spikestore.store_schemas.errors import (
    LayoutError,
    SourceChangedError,
    SourceNotFoundError,
    UnsupportedTransformError,
)

ALL = [(name, split) for name in WRITE for split in SPLITS[name]]


def item(recording: Recording, classes: tuple[str, ...]) -> Item:
    fields = [field for field in "txyp" if field in (recording.events.dtype.names or ())]
    events = [tuple(int(event[field]) for field in fields) for event in recording.events]
    return events, classes[recording.label]


@pytest.mark.parametrize(("name", "split"), ALL)
def test_recordings_are_those_of_the_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, split: str
) -> None:
    """Events in their order, and classes, are those of the reference; rows are sorted by name, and blocks have the same events."""
    WRITE[name](tmp_path)
    theirs = judged(name, split, tmp_path, monkeypatch)
    source = located(name, split, tmp_path)
    with open_reader(source.source, source.root) as reader:
        ours = [item(good(one), reader.classes) for one in reader.read(0, len(reader))]
        assert len(ours) == len(theirs) > 0
        assert sorted(ours) == sorted(theirs)
        names = [reader.name_of(row) for row in range(len(reader))]
        assert name == "NTIDIGITS18" or names == sorted(names)
        assert (reader.name, reader.version) == (DATASETS[name].reader, DATASETS[name].reader_version)
        assert len(reader.n_events()) == len(reader)
        block = reader.read_block(1, len(reader)) if len(reader) > 1 else reader.read_block(0, 1)
        assert [classes_of[1] for classes_of in ours[-len(block) :]] == [
            reader.classes[i] for i in block.labels
        ]
        assert block.x.tolist() == [event[1] for events, _ in ours[-len(block) :] for event in events]
        assert reader.has_y == (block.y is not None)


@pytest.mark.parametrize("name", WRITE)
def test_the_folder_tells_which_one_it_is(tmp_path: Path, name: str) -> None:
    root = WRITE[name](tmp_path)
    assert find_dataset(tmp_path) == find_dataset(root) == name


@pytest.mark.parametrize(("name", "split"), [one for one in ALL if one[0] in OF_TONIC])
def test_tonics_objects_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, split: str
) -> None:
    root = WRITE[name](tmp_path)
    found = dataset_from_tonic(tonics(name, split, tmp_path, monkeypatch))
    assert (found.dataset, found.split, found.folder) == (name, split, root)


@pytest.mark.parametrize("name", [name for name in OF_TONIC if name != "NTIDIGITS18"])
def test_tonics_objects_with_other_recordings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    WRITE[name](tmp_path)
    for change in ("fewer", "other labels"):
        dataset = tonics(name, SPLITS[name][0], tmp_path, monkeypatch)
        if change == "fewer":
            dataset.data.pop()
        else:
            dataset.targets.reverse()
        with pytest.raises(UnsupportedTransformError, match="has other files or labels than its folder"):
            dataset_from_tonic(dataset)


def test_sequences_of_digits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITE["NTIDIGITS18"](tmp_path)
    dataset = tonics("NTIDIGITS18", "train", tmp_path, monkeypatch, single_digits=False)
    with pytest.raises(
        UnsupportedTransformError, match=r"reads sequences of digits, .*: pass single_digits=True"
    ):
        dataset_from_tonic(dataset)
    dataset.single_digits = True  # but the object still has the recordings of sequences
    with pytest.raises(
        UnsupportedTransformError,
        match=rf"has {len(dataset)} recordings, but its file has {len(dataset.single_indices)} of a single digit: create",
    ):
        dataset_from_tonic(dataset)


FILES = {
    **({"CIFAR10DVS": "airplane/airplane_1.aedat4"} if "CIFAR10DVS" in WRITE else {}),
    "ASLDVS": "a/a_0001.mat",
    "DVSLip": "DVS-Lip/train/accused/10.npy",
    "NCALTECH101": "Caltech101/airplanes/image_0001.bin",
    "NCARS": "n-cars_train/background/obj_004396_td.dat",
    "POKERDVS": "pips_train/cl/cl0.npy",
    "STMNIST": "data_submission/0/LUC_0.mat",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path, name: str, damage: str) -> None:
    path = WRITE[name](tmp_path) / FILES[name]
    content = path.read_bytes()
    noise = np.random.default_rng(0).bytes(len(content) // 2 * 2 + 1)
    path.write_bytes({"empty": b"", "cut": content[: len(content) * 2 // 3 + 1], "noise": noise}[damage])
    source = located(name, SPLITS[name][0], tmp_path)
    with open_reader(source.source, source.root) as reader:
        first, *others = sorted(reader.read(0, len(reader)), key=lambda one: isinstance(one, Recording))
        if damage == "noise" and name == "NCALTECH101" and isinstance(first, Recording):
            pytest.skip("any bytes are events in this format")
        assert str(bad(first)).startswith(f"{FILES[name]}: ")
        assert all(isinstance(one, Recording) for one in others)
        block = reader.read_block(0, len(reader))
        assert {str(error) for error in block.errors.values()} == {str(bad(first))}


@pytest.mark.parametrize("name", FILES)
def test_a_file_in_a_folder_of_no_class(tmp_path: Path, name: str) -> None:
    root = WRITE[name](tmp_path)
    path = root / FILES[name]
    (path.parent.parent / "others").mkdir()
    path.rename(path.parent.parent / "others" / path.name)
    source = located(name, SPLITS[name][0], tmp_path)
    with pytest.raises(
        LayoutError, match=r"others/.* is not a recording of this data set: expected a file in a folder"
    ):
        open_reader(source.source, source.root)


def change_digits(path: Path, change: Any) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda file: file["train_timestamps"].pop("man-ae-o"),
            "it has no times or no addresses: download it again",
        ),
        (
            lambda file: file["train_addresses/man-ae-o"].__setitem__(3, 64),
            "event 3: address 64 is no channel",
        ),
        (
            lambda file: file["train_timestamps/man-ae-o"].__setitem__(5, np.nan),
            "event 5: nan s is not a valid time",
        ),
    ],
)
def test_a_wrong_recording_of_ntidigits_is_named(tmp_path: Path, change: Any, why: str) -> None:
    path = WRITE["NTIDIGITS18"](tmp_path) / "n-tidigits.hdf5"
    change_digits(path, change)
    source = located("NTIDIGITS18", "train", tmp_path)
    with open_reader(source.source, source.root) as reader:
        first, second = reader.read(0, 2)
        assert isinstance(second, Recording)
        assert str(bad(first)).startswith(f"n-tidigits.hdf5: man-ae-o: {why}")


def test_a_file_that_is_not_ntidigits(tmp_path: Path) -> None:
    path = WRITE["NTIDIGITS18"](tmp_path) / "n-tidigits.hdf5"
    change_digits(path, lambda file: file.pop("train_labels"))
    source = located("NTIDIGITS18", "train", tmp_path)
    with pytest.raises(LayoutError, match=r"n-tidigits.hdf5 has no train_labels; expected N-TIDIGITS18"):
        open_reader(source.source, source.root)


def test_a_changed_file_of_digits_is_not_called_damaged(tmp_path: Path) -> None:
    """The file is compared with the source before it is opened, and again if HDF5 fails."""
    path = WRITE["NTIDIGITS18"](tmp_path) / "n-tidigits.hdf5"
    source = located("NTIDIGITS18", "train", tmp_path)
    with open_reader(source.source, source.root) as reader:
        path.write_bytes(b"another file")
        with pytest.raises(SourceChangedError, match="shrank"):
            reader.read(0, len(reader))
    with pytest.raises(SourceChangedError, match="has 12 bytes, but had"):
        open_reader(source.source, source.root)
    path.unlink()
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        open_reader(source.source, source.root)
