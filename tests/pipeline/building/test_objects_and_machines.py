"""`preprocess` of objects in Python: faults outside their recordings, and sets that must not be confused."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.event_files import tonic_dataset, write_nmnist
from tests.pipeline.folders import draw
from tests.pipeline.map_datasets import Gestures, frames_transform
from tonic import transforms

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.readers.items import live_dataset
from spikestore.pipeline.readers.items.live_dataset import LiveDataset, hash_of
from spikestore.pipeline.sources.item_sources import source_of_dataset
from spikestore.store_schemas.errors import RecordingError, SourceError, UsageError

FRAMES = frames_transform()


class Failing(Gestures):
    """A data set whose reads fail after the first `good` ones, as if too many files were open."""

    def __init__(self, good: int, error: Exception, count: int = 10) -> None:
        super().__init__(count)
        self.good, self.error = good, error

    def __getitem__(self, index: int) -> Any:
        self.good -= 1
        if self.good < 0:
            raise self.error
        return super().__getitem__(index)


def copied(live: LiveDataset) -> Any:
    """Return the copy that a worker process gets."""
    return pickle.loads(pickle.dumps(live))  # noqa: S301 our own object


def build(dataset: Any, store: Path, **options: Any) -> Any:
    arguments: dict[str, Any] = {"version": "1", "workers": 0} | options
    return preprocess(dataset, FRAMES, store=store, **arguments)


@pytest.fixture(autouse=True)
def no_loaded_copies() -> Any:
    yield
    live_dataset._loaded.clear()


def test_tasks_of_one_process_share_the_lock_of_an_object() -> None:
    """A worker may have several threads: its copies of one object are read by one thread at a time."""
    live = LiveDataset(Gestures())
    first, second = (copied(live) for _ in range(2))
    assert hash_of(first.read(0), "") == hash_of(second.read(0), "") == hash_of(live.read(0), "")
    assert first._dataset is second._dataset
    assert first._lock is second._lock
    assert first._lock is not live._lock


def test_a_copy_that_reads_other_files_is_noticed() -> None:
    """It is noticed, because a copy may depend on the worker's folder or on variables that the worker lacks."""
    live = LiveDataset(Gestures())
    item = live.read(3)
    live.probe = (3, hash_of(item, str(item.label)))
    assert copied(live).read(0) is not None
    live_dataset._loaded.clear()
    live.probe = (3, "0" * 64)
    with pytest.raises(
        UsageError, match=r"worker process gets other events of .*Gestures: item 3 .* pass workers=0"
    ):
        copied(live).read(0)


class LostFiles(Gestures):
    """A data set whose copy in another process cannot read item 3."""

    is_copy = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.is_copy = True

    def __getitem__(self, index: int) -> Any:
        if self.is_copy and index == 3:
            raise FileNotFoundError(errno.ENOENT, "gone")
        return super().__getitem__(index)


def test_a_copy_that_reads_no_files_is_noticed() -> None:
    """The first process could read the item, so this is no fault of the item, which on_error = "skip" would skip."""
    live = LiveDataset(LostFiles())
    item = live.read(3)
    live.probe = (3, hash_of(item, str(item.label)))
    with pytest.raises(
        UsageError,
        match=r"worker process cannot read .*LostFiles: item 3 \(FileNotFoundError: .*gone\), .* pass workers=0",
    ):
        copied(live).read(0)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ESTALE, errno.EIO])
def test_a_fault_of_the_machine_skips_nothing(tmp_path: Path, code: int) -> None:
    """Even with on_error = "skip", such a fault is an error: otherwise the item would be lost for ever."""
    dataset = Failing(14, OSError(code, "no luck"))
    located = source_of_dataset(dataset, version="1", on_error="skip")
    with pytest.raises(SourceError, match=r"item \d can't be read: .*no luck"):
        preprocess(located, FRAMES, store=tmp_path / "store", workers=0)


def test_an_absent_file_is_a_fault_of_its_item(tmp_path: Path) -> None:
    """An item whose file is absent can be skipped."""
    dataset = Failing(14, FileNotFoundError(errno.ENOENT, "gone"))
    located = source_of_dataset(dataset, version="1", on_error="skip")
    features = preprocess(located, FRAMES, store=tmp_path / "store", workers=0)
    assert 0 < len(features.manifest.skipped) < 10


def test_an_item_that_cannot_be_read_has_not_changed(tmp_path: Path) -> None:
    """Its data have not changed, so the message must not advise another version: that would build everything again."""
    build(Gestures(), tmp_path)
    with pytest.raises(RecordingError, match=r"item 0: ValueError: stale .*this recording could be read"):
        build(_Stale(), tmp_path)


class _Stale(Gestures):
    """A data set whose first item becomes unreadable, with the same class name as the data set of the first build."""

    __qualname__ = Gestures.__qualname__
    __module__ = Gestures.__module__

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __getitem__(self, index: int) -> Any:
        self.reads += index == 0
        if index == 0 and self.reads > 3:  # after the first item and the sample
            raise ValueError("stale")
        return super().__getitem__(index)


def test_recordings_may_be_longer_than_the_sampled_ones(tmp_path: Path) -> None:
    """The plan is computed from a few items; the others have ten times as many events here."""
    dataset = Gestures(96)
    sampled = {round(place) for place in np.linspace(0, 95, 8)}
    dataset.recordings = [
        events if number in sampled else np.concatenate([events] * 10)
        for number, events in enumerate(dataset.recordings)
    ]
    for events in dataset.recordings:
        events.sort(order="t")
    assert len(build(dataset, tmp_path)) == 96


def test_the_split_of_a_data_set_with_files_may_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``split``, such a data set gives the ordinary set, not that of an object."""
    write_nmnist(tmp_path / "data")
    dataset = tonic_dataset("NMNIST", "train", tmp_path / "data", monkeypatch)
    frames = transforms.ToFrame(sensor_size=(34, 34, 2), time_window=1000)
    said, own = (
        preprocess(dataset, transforms.Compose([frames]), store=tmp_path / "store", split=split, workers=0)
        for split in ("train", None)
    )
    assert said is not None
    assert own is not None
    assert said.address == own.address


def test_targets_that_are_no_class_numbers(tmp_path: Path) -> None:
    """Numbers of files or times are rejected, because each number below would get a name."""
    dataset: Any = Gestures()
    dataset.classes = ()
    dataset.targets = list(range(10**9, 10**9 + 10))
    with pytest.raises(
        UsageError,
        match="Gestures is 1,000,000,009, too large for a class number",
    ):
        build(dataset, tmp_path)
    dataset.classes = ("left", "left")
    with pytest.raises(UsageError, match="Gestures lists a class twice: pass classes="):
        build(dataset, tmp_path)
    dataset.classes = ("left", "\ud800")
    with pytest.raises(UsageError, match=r"the class name '\\ud800' is not UTF-8: correct the text"):
        build(dataset, tmp_path)


def test_advice_is_for_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages do not advise fields of a recipe, because there is none."""
    dataset = Gestures(2)
    dataset.recordings = [draw(0)[["x", "y", "p"]], draw(1)]
    with pytest.raises(RecordingError, match="give the array the fields t, x, y and p") as caught:
        build(dataset, tmp_path)
    assert "source.folder" not in str(caught.value)
    dataset.recordings = [np.zeros(3, [("0", "i8"), ("1", "i4")]), draw(1)]
    with pytest.raises(RecordingError, match="have no names: give the array the fields t, x, y and p"):
        build(dataset, tmp_path)
    write_nmnist(tmp_path / "data")
    files = tonic_dataset("NMNIST", "train", tmp_path / "data", monkeypatch)
    with pytest.raises(UsageError, match=r"NMNIST is read from its files: omit time_unit= and target="):
        source_of_dataset(files, time_unit="ms")
