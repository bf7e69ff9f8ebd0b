"""Tonic's data sets with one file per recording: accepted if unmodified, otherwise an error."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tonic
from tests.pipeline.event_files import tonic_dataset, write_dvsgesture, write_nmnist
from tonic import transforms

from spikestore.pipeline import preprocess, rows_of_items
from spikestore.pipeline.transforms.from_tonic import dataset_from_tonic
from spikestore.store_schemas.errors import UnsupportedTransformError

TONIC_FRAMES = transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000)


def a_function(events: Any) -> Any:
    return events


WRITE: dict[str, Callable[[Path], Path]] = {"NMNIST": write_nmnist, "DVSGesture": write_dvsgesture}


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("split", ["train", "test"])
def test_data_sets_with_a_file_per_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, split: str
) -> None:
    """Split, folder and transform are recognised, also of a data set that was made with a relative ``save_to``."""
    root = WRITE[name](tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "data", Path("data"), Path("./x/../data")):
        (tmp_path / "x").mkdir(exist_ok=True)
        dataset = tonic_dataset(name, split, folder, monkeypatch, transform=TONIC_FRAMES)
        found = dataset_from_tonic(dataset)
        assert (found.dataset, found.split, found.transform) == (name, split, TONIC_FRAMES)
        assert found.folder.resolve() == root


@pytest.mark.parametrize("option", ["first_saccade_only", "stabilize"])
def test_options_that_change_events_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    write_nmnist(tmp_path)
    dataset = tonic_dataset("NMNIST", "train", tmp_path, monkeypatch, **{option: True})
    with pytest.raises(
        UnsupportedTransformError, match=rf"nmnist.NMNIST with {option}=True has no reader: use the d"
    ):
        dataset_from_tonic(dataset)


def cut(dataset: Any) -> None:
    dataset.data, dataset.targets = dataset.data[:-1], dataset.targets[:-1]


def twice(dataset: Any) -> None:
    dataset.data, dataset.targets = [*dataset.data, dataset.data[0]], [*dataset.targets, dataset.targets[0]]


def relabelled(dataset: Any) -> None:
    dataset.targets = [target % 2 for target in dataset.targets]


def without_labels(dataset: Any) -> None:
    dataset.targets = [*dataset.targets, 3]


def other_split(dataset: Any) -> None:
    dataset.train = not dataset.train


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("change", [cut, twice, relabelled, without_labels, other_split])
def test_a_data_set_with_another_list_of_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Any
) -> None:
    """It is rejected, because the store would have the files of the folder, under the labels that they have there."""
    WRITE[name](tmp_path)
    dataset = tonic_dataset(name, "train", tmp_path, monkeypatch)
    change(dataset)
    with pytest.raises(UnsupportedTransformError, match=rf"{name} has other files or labels than its folder"):
        dataset_from_tonic(dataset)


def test_a_subclass_and_a_target_transform_of_these_are_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dvsgesture(tmp_path)
    dataset = tonic_dataset("DVSGesture", "train", tmp_path, monkeypatch, target_transform=a_function)
    with pytest.raises(UnsupportedTransformError, match=r"DVSGesture has target_transform = .*a_function"):
        dataset_from_tonic(dataset)
    dataset.target_transform = None
    dataset.__class__ = type("Mine", (tonic.datasets.DVSGesture,), {})
    with pytest.raises(UnsupportedTransformError, match="Mine is a subclass"):
        dataset_from_tonic(dataset)


def test_another_order_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tonic's own order may be that of the file system; the reported mapping leads from its items to rows."""
    write_nmnist(tmp_path / "data")
    for link in ("5/linked", "4/linked", "4/also"):
        (tmp_path / "data/NMNIST/Train" / link).symlink_to(tmp_path / "data/NMNIST/Test/5")
    frames = transforms.ToFrame(sensor_size=(34, 34, 2), time_window=10_000)
    for reverse in (False, True):
        caplog.clear()
        dataset = tonic_dataset("NMNIST", "train", tmp_path / "data", monkeypatch, transform=frames)
        paths = sorted(zip(dataset.data, dataset.targets, strict=True), reverse=reverse)
        dataset.data, dataset.targets = map(list, zip(*paths, strict=True))
        with caplog.at_level(logging.INFO):
            features = preprocess(dataset, store=tmp_path / "store", workers=0)
        assert ("row i of the set is not item i of" in caplog.text) is reverse
        links = [one.getMessage() for one in caplog.records if "is a link to a folder" in one.getMessage()]
        assert len(links) == (not reverse)
        assert all(
            re.search(r"Train.4.also is a link .*\(the first of 3 such links\)$", link) for link in links
        )
        labels = features.column("label")[rows_of_items(dataset)]
        assert labels.tolist() == dataset.targets
