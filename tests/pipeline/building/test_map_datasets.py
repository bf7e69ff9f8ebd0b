"""`preprocess` of any map-style data set: the same samples as Tonic's chain over its items, identified without guesses."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.event_files import tonic_dataset, write_dvsgesture, write_nmnist
from tests.pipeline.folders import draw
from tests.pipeline.map_datasets import Gestures, assert_equals_tonic, frames_transform
from tests.pipeline.small_builds import seeds_transform, ssc, write_ssc
from tonic import transforms
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.readers.event_files.nmnist import NMNISTReader
from spikestore.pipeline.readers.items import live_dataset
from spikestore.pipeline.readers.recording import Recording
from spikestore.pipeline.sources.item_sources import source_of_dataset
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store.feature_set import FeatureSet
from spikestore.store.storage.folder import FolderStorage
from spikestore.store.store import Store
from spikestore.store_schemas.errors import (
    RecordingError,
    SourceChangedError,
    UnsupportedTransformError,
    UsageError,
)

FRAMES = frames_transform()


def subset(dataset: Any, indices: list[int]) -> Any:
    return Subset(dataset, indices)


def concatenated(datasets: list[Any]) -> Any:
    return ConcatDataset(datasets)


def build(dataset: Any, store: Path | Store, **options: Any) -> FeatureSet:
    arguments: dict[str, Any] = {"version": "1", "workers": 0} | options
    features = preprocess(dataset, arguments.pop("transform", FRAMES), store=store, **arguments)
    assert isinstance(features, FeatureSet)
    return features


def test_a_class_of_the_user(tmp_path: Path) -> None:
    dataset = Gestures()
    features = build(dataset, tmp_path, name="mine", split="train")
    assert_equals_tonic(features, dataset, FRAMES)
    assert features.classes == ("left", "right")
    again = Store(tmp_path)["mine:train"]
    assert again.manifest.source.items is not None
    assert build(dataset, tmp_path).digest == features.digest
    assert FeatureSet.open(FolderStorage(tmp_path), features.address).digest == features.digest


def assert_reads(located: LocatedSource, dataset: Any) -> None:
    """Compare what the reader returns, as a whole and for each task, with the items of an object."""
    middle = len(dataset) // 2
    for rows in (range(len(dataset)), range(middle or 1), range(middle, len(dataset))):
        with located.part(rows).open() as reader:
            for row, recording in zip(rows, reader.read(rows.start, rows.stop), strict=True):
                assert isinstance(recording, Recording)
                events, target = dataset[row]
                assert recording.label == target
                for field in ("t", "x", "y", "p"):
                    assert np.array_equal(recording.events[field], events[field])


FIELDS = st.permutations(["t", "x", "y", "p"])
DTYPES = {
    "t": ("<i8", "<u4", "<f8", ">i4", "<u8"),
    "x": ("<i2", "<u2", "<f4", ">u4", "u1"),
    "y": ("<i2", "<u2", "<f4", ">u4", "i1"),
    "p": ("?", "i1", "<i8", "<f4"),
}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_order_and_dtype_of_fields(data: st.DataObject) -> None:
    """The events are the same in any order and dtype of fields, and so is their hash."""
    order = data.draw(FIELDS)
    dtype = np.dtype([("other", "f4"), *((name, data.draw(st.sampled_from(DTYPES[name]))) for name in order)])
    count = data.draw(st.integers(1, 5))
    plain = [draw(data.draw(st.integers(0, 99)), data.draw(st.integers(1, 30))) for _ in range(count)]
    mixed = []
    for events in plain:
        other = np.zeros(len(events), dtype)
        for name in order:
            other[name] = events[name]
        if dtype["p"].kind == "i" and dtype["p"].itemsize == 1 and not events["p"].all():
            other["p"] = np.where(events["p"], 1, -1)
        mixed.append((other, int(data.draw(st.integers(0, 3)))))
    dataset = [(events, target) for events, (_, target) in zip(plain, mixed, strict=True)]
    keys = set()
    for each in (mixed, dataset):
        located = source_of_dataset(each, hash_events=True)
        keys.add(located.source.key)
        assert_reads(located, dataset)
    assert len(keys) == 1


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_subsets_and_concatenations(data: st.DataObject) -> None:
    """Subsets and concatenations may be nested, with repeated and negative indices: row i is item i."""

    def composed(depth: int) -> Any:
        kind = data.draw(st.sampled_from(["leaf", "subset", "concat"] if depth else ["leaf"]))
        if kind == "leaf":
            return leaves[data.draw(st.integers(0, 1))]
        if kind == "concat":
            return concatenated([composed(depth - 1) for _ in range(data.draw(st.integers(1, 3)))])
        inner = composed(depth - 1)
        index = st.integers(-len(inner), len(inner) - 1)
        return subset(inner, data.draw(st.lists(index, min_size=1, max_size=8)))

    leaves = (Gestures(4), Gestures(3, first=50))
    dataset = composed(3)
    identities: tuple[dict[str, Any], ...] = ({"version": "1"}, {"hash_events": True})
    for identity in identities:
        assert_reads(source_of_dataset(dataset, **identity), dataset)


def test_parts_of_tonic_data_sets_are_identified_by_files_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have one file with all recordings, or one file each, in another order than ours."""
    write_ssc(tmp_path / "speech")
    parts = [ssc(tmp_path / "speech", split, transform=None) for split in ("train", "valid")]
    speech = concatenated([subset(parts[0], [140, 3, 3, 17]), parts[1]])
    features = build(speech, tmp_path / "store", version=None, transform=seeds_transform())
    assert_equals_tonic(features, speech, seeds_transform())
    assert features.manifest.source.split == "all"

    write_dvsgesture(tmp_path / "gestures")
    gestures = tonic_dataset("DVSGesture", "train", tmp_path / "gestures", monkeypatch)
    order = np.random.default_rng(0).permutation(len(gestures)).tolist()
    for name in ("data", "targets"):
        setattr(gestures, name, [getattr(gestures, name)[place] for place in order])
    frames = transforms.Compose([transforms.ToFrame(sensor_size=(128, 128, 2), n_time_bins=3)])
    gestures.transform = frames
    part = subset(gestures, [len(gestures) - 1, 0, 1])
    features = build(part, tmp_path / "store", version=None, transform=None)
    gestures.transform = None
    assert_equals_tonic(features, part, frames)
    assert features.manifest.source.split == "train"


def test_files_and_objects_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nmnist(tmp_path / "digits")
    digits = tonic_dataset("NMNIST", "train", tmp_path / "digits", monkeypatch)
    own: Any = Gestures(3)
    frames = transforms.Compose([transforms.ToFrame(sensor_size=(34, 34, 2), n_time_bins=4)])
    own.classes = NMNISTReader.classes
    mixed = concatenated([subset(digits, [5, 2]), own, subset(digits, [2])])
    features = build(mixed, tmp_path / "store", transform=frames)
    assert_equals_tonic(features, mixed, frames)


def test_targets_that_are_texts_numbers_or_parts(tmp_path: Path) -> None:
    events = draw(1)
    texts = build([(events, "b"), (events, "a")], tmp_path / "texts")
    assert texts.classes == ("a", "b")
    assert texts.column("label").tolist() == [1, 0]
    assert build([(events, "10"), (events, "9")], tmp_path / "digits").classes == ("9", "10")
    numbers = build([(events, np.int8(2)), (events, np.array(0))], tmp_path / "numbers")
    assert numbers.classes == ("0", "1", "2")
    pairs = [(events, {"label": "b", "boxes": 3})]
    with pytest.raises(RecordingError, match=r"list: item 0: its target is a dict.*pass target="):
        source_of_dataset(pairs, version="1")
    located = source_of_dataset(pairs, version="1", target="label")
    assert build(located, tmp_path / "pairs", version=None).classes == ("b",)


class WithoutLength(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(draw(1), 0)])


class Noisy(Gestures):
    """A data set that returns other events at every access."""

    def __getitem__(self, index: int) -> Any:
        events, target = super().__getitem__(index)
        return events[np.random.default_rng().random(len(events)) < 0.5], target


def with_transform() -> Gestures:
    dataset: Any = Gestures()
    dataset.transform = FRAMES
    assert isinstance(dataset, Gestures)
    return dataset


class WithFrames(Gestures):
    def __getitem__(self, index: int) -> Any:
        return np.zeros((3, 2, 12, 16)), 0


@pytest.mark.parametrize(
    ("dataset", "options", "problem"),
    [
        (
            Gestures(),
            {"version": None},
            r'Gestures has no known files: identify its recordings by version="1"',
        ),
        (Gestures(), {"hash_events": True}, r"only one of version= and hash_events=True"),
        (Gestures(), {"version": ""}, r"only one of version= and hash_events=True"),
        (Gestures, {}, "Gestures is a class: pass an object"),
        (Gestures(0), {}, "has no items"),
        (WithoutLength(), {}, r"has no __len__.*list\(dataset\)"),
        (subset(Gestures(), [10]), {}, "index 10, but its data set has 10 items"),
        (Noisy(), {}, "item 0 has other events when read a second time"),
        (with_transform(), {}, "has a transform of its own"),
        (WithFrames(), {}, r"item 0: its events are an array of float64.*should be a structured array"),
        ([(draw(1), 0, 1)], {}, "a tuple of 3, should be a pair"),
        ([(draw(1), 0.5)], {}, "its target is a float"),
        (
            [(draw(1), -1)],
            {},
            "one target of builtins.list is -1, but the targets must all be whole numbers from 0",
        ),
        ([(draw(1), "\udc80")], {}, r"its target .* is not UTF-8: correct the text"),
        ([(draw(1), 0), (draw(1), "a")], {}, "one target of builtins.list is 'a', but the targets must all"),
        ([(draw(1)[["t", "x"]], 0), (draw(1), 0)], {}, r"fields t, x, y, p, other recordings have t, x"),
        (concatenated([Gestures(1), [(draw(1), 5)]]), {}, "a target is 5, .*Gestures has 2 classes"),
    ],
)
def test_what_is_refused(tmp_path: Path, dataset: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises((UsageError, RecordingError), match=problem) as refused:
        build(
            dataset,
            tmp_path,
            **(
                {"transform": transforms.ToFrame((16, 1, 1), time_window=1e3)}
                if "have t, x" in problem
                else {}
            ),
            **options,
        )
    assert "\n" not in str(refused.value)


def test_the_classes_of_a_data_set_without_readable_items() -> None:
    dataset = concatenated([Gestures(1), [(None, 0)]])
    with pytest.raises(
        UsageError, match=r"no item of builtins\.list can be read to find its classes: pass classes="
    ):
        source_of_dataset(dataset, version="1", split="train", on_error="skip")


def test_a_data_set_without_readable_items() -> None:
    with pytest.raises(RecordingError, match=r"no item of \S*Gestures can be read: pass on_error=\"raise\""):
        source_of_dataset(Gestures(2, faults=(0, 1)), version="1", split="train", on_error="skip")


def test_a_known_data_set_needs_no_version(tmp_path: Path) -> None:
    dataset = ssc(write_ssc(tmp_path / "data"))
    with pytest.raises(UsageError, match=r"the files identify the recordings of .*: omit version="):
        build(dataset, tmp_path / "store", transform=None)
    with pytest.raises(UnsupportedTransformError, match=r"pass its attribute \.dataset"):
        build(tonic.MemoryCachedDataset(dataset), tmp_path / "store")


def test_a_version_for_other_content_is_named(tmp_path: Path) -> None:
    first = build(Gestures(), tmp_path, name="mine")
    with pytest.raises(UsageError, match=r"item 0 has changed since the set .* pass another version"):
        build(Gestures(first=7), tmp_path)
    relabelled = Gestures()
    relabelled.recordings = relabelled.recordings[1:] + relabelled.recordings[:1]
    with pytest.raises(UsageError, match="has changed since"):
        build(relabelled, tmp_path)
    with pytest.raises(UsageError, match=r"version '1' of .*Gestures with 10 items, but .* 11 items"):
        build(Gestures(11), tmp_path)
    build(Gestures(11), tmp_path, split="test")  # the other split of one class
    build(concatenated([Gestures(10), Gestures(12)]), tmp_path)
    with pytest.raises(UsageError, match="already refers to other feature sets"):
        build(Gestures(11), tmp_path, version="2", name="mine")
    other = build(Gestures(first=7), tmp_path, version="2", name="mine", move=True)
    assert other.digest != first.digest


def test_hashes_find_the_same_recordings_in_other_objects(tmp_path: Path) -> None:
    options: dict[str, Any] = {"version": None, "hash_events": True, "name": "mine"}
    first = build(Gestures(), tmp_path, **options)
    pairs = [Gestures()[row] for row in range(10)]
    located = source_of_dataset(pairs, hash_events=True, classes=("left", "right"))
    assert located.source.key == first.manifest.source.key
    more = build(Gestures(11), tmp_path, **options)  # has all recordings of the first: the name moves
    assert Store(tmp_path)["mine:all"].digest == more.digest
    with pytest.raises(UsageError, match="it has other recordings"):
        build(Gestures(9), tmp_path, **options)


def test_items_that_change_while_they_are_read(tmp_path: Path) -> None:
    dataset = Gestures()
    located = source_of_dataset(dataset, hash_events=True)
    dataset.recordings[3] = draw(99)
    with pytest.raises(SourceChangedError, match="item 3 changed its events or its class after"):
        build(located, tmp_path, version=None)


def test_items_that_raise(tmp_path: Path) -> None:
    """An error of the user's code is reported with the item; on_error="skip" lists it."""
    dataset = Gestures(faults=(0, 4))
    with pytest.raises(RecordingError, match=r"Gestures: item 0: OSError: disk is gone"):
        build(dataset, tmp_path)
    with pytest.raises(
        RecordingError, match=r'item 4: OSError: disk is gone: .*source_of_dataset\(…, on_error="skip"'
    ):
        build(Gestures(faults=(4,)), tmp_path)
    for identity in ({"version": "1"}, {"hash_events": True}):
        located = source_of_dataset(dataset, on_error="skip", **identity)
        features = build(located, tmp_path, version=None)
        assert [skip.row for skip in features.manifest.skipped] == [0, 4]
        assert features.manifest.skipped[1].reason.endswith("Gestures: item 4: OSError: disk is gone")
        assert build(located, tmp_path, version=None).digest == features.digest


class Handle(Gestures):
    """A data set with a member that can't be sent to another process."""

    def __init__(self) -> None:
        super().__init__()
        self.handle = threading.Lock()


def test_what_cannot_be_sent_is_read_in_threads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = Handle()
    with caplog.at_level(logging.WARNING):
        features = build(dataset, tmp_path / "handle", workers=2)
    assert "Handle can't be sent to worker processes (TypeError: " in caplog.text
    assert_equals_tonic(features, dataset, FRAMES)
    monkeypatch.setattr(live_dataset, "LARGEST_COPY", 100)
    caplog.clear()
    build(Gestures(), tmp_path / "large", workers=1)
    assert "more than 100 bytes" in caplog.text
    with pytest.raises(UsageError, match=r"omit scheduler= \(--scheduler\)"):
        build(dataset, tmp_path / "no", workers=None, options=BuildOptions(scheduler="tcp://127.0.0.1:1"))


SCRIPT = """
import numpy as np
from tonic import transforms
from spikestore.pipeline import preprocess

class Mine:
    def __len__(self):
        return 70

    def __getitem__(self, index):
        events = np.zeros(5, [("x", "u1"), ("t", "f4"), ("y", "u1"), ("p", "?")])
        events["t"] = np.arange(5) * 1000
        events["x"] = index % 16
        return events, "even" if index % 2 == 0 else "odd"

frames = transforms.ToFrame(sensor_size=(16, 12, 2), time_window=1000, include_incomplete=True)
print(preprocess(Mine(), frames, store="store", version="1", workers={workers}).digest)
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard(tmp_path: Path) -> None:
    """Classes of the script itself work in worker processes, and another run finds the set."""
    digests = set()
    for workers in (2, 1, 0):
        (tmp_path / "script.py").write_text(SCRIPT.format(workers=workers))
        if workers == 1:
            continue  # the second run below finds the set
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.split()[-1])
    assert len(digests) == 1
