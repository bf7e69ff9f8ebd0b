"""Caches that Tonic's ``DiskCachedDataset`` wrote become feature sets with the same frames; wrong caches are named in one line."""

from __future__ import annotations

import contextlib
import pickle
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tonic
from tests.pipeline.folders import draw, recipe_for, save

from spikestore.pipeline import import_cache, preprocess
from spikestore.pipeline.execution.jobs import Job, Result
from spikestore.pipeline.importing import cache_jobs
from spikestore.pipeline.importing.cache_files import CachedSample, read_sample
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.store import FeatureSet, Store
from spikestore.store.cli.main import main
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.errors import (
    LayoutError,
    SourceChangedError,
    SourceNotFoundError,
    SpikestoreError,
    UsageError,
)
from spikestore.store_schemas.specs.transform import Transform

import_module = sys.modules[import_cache.__module__]
COUNT, FEW = 70, 8
FRAMES = tonic.transforms.ToFrame(sensor_size=(16, 12, 2), time_window=1000, include_incomplete=True)


class Items:
    """Frames of the recordings in a folder, as items of a Tonic data set with a transform."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return FRAMES(draw(index)), index % 2


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings in ``data`` and a cache of their frames in ``cache``."""
    folder = tmp_path_factory.mktemp("filled")
    lines = ["file,label"]
    for row in range(COUNT):
        save(folder / f"data/{row:03}.npy", draw(row))
        lines.append(f"{row:03}.npy,{row % 2}")
    (folder / "data/labels.csv").write_text("\n".join(lines))
    cache = tonic.DiskCachedDataset(Items(), str(folder / "cache"))
    for row in range(COUNT):
        cache[row]
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """Return a copy of the first items, to change."""
    for name in (
        *(f"cache/{row}_0.hdf5" for row in range(FEW)),
        *(f"data/{row:03}.npy" for row in range(FEW)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(filled / name, tmp_path / name)
    lines = (filled / "data/labels.csv").read_text().splitlines()
    (tmp_path / "data/labels.csv").write_text("\n".join(lines[: FEW + 1]))
    return tmp_path


def imported(folder: Path, **options: Any) -> FeatureSet:
    recipe = recipe_for(folder / "data", table="labels.csv")
    return import_cache(folder / "cache", recipe, store=folder / "store", **{"split": "all", **options})


def dense(features: FeatureSet, row: int) -> npt.NDArray[np.int64]:
    columns = features.read(row, row + 1)
    frames = np.zeros((int(columns.n_bins[0]), *features.layout.sites), np.int64)
    frames.reshape(-1)[columns.index] = columns.value
    return frames


def test_frames_labels_and_digest(filled: Path, tmp_path: Path) -> None:
    """Each row equals the item that Tonic reads from the cache; only the key differs from that of the recordings."""
    recipe = recipe_for(filled / "data", table="labels.csv")
    features = import_cache(
        filled / "cache",
        recipe,
        split="all",
        store=tmp_path,
        name="cached",
        data=filled / "data",
        compare_all=True,
    )
    cache = tonic.DiskCachedDataset(None, str(filled / "cache"))
    for row in range(COUNT):
        frames, target = cache[row]
        assert np.array_equal(dense(features, row), frames)
        assert int(features.read(row, row + 1).label[0]) == target
    assert verify(features, depth="deep") == []
    assert Store(tmp_path)["cached:all"].digest == features.digest
    assert features.manifest.provenance["compared_rows"] == COUNT
    built = preprocess(recipe, store=tmp_path, workers=0)["all"]
    assert built.address.transform_key == features.address.transform_key
    assert built.address.source_key != features.address.source_key
    assert built.classes == features.classes
    with pytest.raises(UsageError, match="was imported from a cache of frames, but the new set is computed"):
        preprocess(recipe, store=tmp_path, workers=0, name="cached")


@pytest.mark.parametrize(("most", "reads"), [(2**30, 1), (1, 2)])
def test_each_file_is_read_once(folder: Path, most: int, reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are kept in memory until they are stored; if they are too large, they are read again, and the set is the same."""
    read = []

    def counted(path: Path, transform: Transform) -> CachedSample:
        read.append(path)
        return read_sample(path, transform)

    monkeypatch.setattr(cache_jobs, "read_sample", counted)
    monkeypatch.setattr(import_module, "MOST_KEPT_BYTES", most)
    features = imported(folder)
    assert sorted(read) == sorted([folder / f"cache/{row}_0.hdf5" for row in range(FEW)] * reads)
    assert features.manifest.nnz == sum(np.count_nonzero(FRAMES(draw(row))) for row in range(FEW))
    for row in range(FEW):
        assert np.array_equal(dense(features, row), FRAMES(draw(row)))


class Sent:
    """Scheduler that pickles each job as for a worker, and runs the last task first."""

    workers = 2

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Run the tasks with the unpickled jobs."""
        for number in reversed(numbers):
            sent = pickle.loads(pickle.dumps(job.only(number)))  # noqa: S301
            result: Result = sent.run(number)
            yield result


@pytest.mark.parametrize(
    ("processes", "most"),
    [
        pytest.param(False, 1, id="sent, read again"),
        pytest.param(False, 2**30, id="sent, kept", marks=pytest.mark.slow),
        pytest.param(True, 2**30, id="processes", marks=pytest.mark.slow),
    ],
)
def test_workers_store_the_same(
    filled: Path, tmp_path: Path, processes: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set does not depend on the order of tasks; each task has only the names of its files."""
    recipe = recipe_for(filled / "data", table="labels.csv")
    one = import_cache(filled / "cache", recipe, split="all", store=tmp_path / "alone", workers=0)
    monkeypatch.setattr(import_module, "MOST_KEPT_BYTES", most)
    if not processes:
        monkeypatch.setattr(cache_jobs, "CHUNK_ITEMS", 16)
        monkeypatch.setattr(import_module, "open_scheduler", lambda _: contextlib.nullcontext(Sent()))
    seen: list[tuple[int, int]] = []
    several = import_cache(
        filled / "cache",
        recipe,
        split="all",
        store=tmp_path / "store",
        workers=2,
        progress=lambda done, total, _: seen.append((done, total)),
    )
    assert (several.address, several.digest) == (one.address, one.digest)
    assert seen.count((COUNT, COUNT)) == 2
    assert verify(several, depth="deep") == []


def test_a_file_that_is_replaced_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the new file is stored under the hash of the former one, not even in an unfinished build."""

    def replaced(path: Path, transform: Transform) -> CachedSample:
        if path.name == "5_0.hdf5":
            shutil.copy(folder / "cache/3_0.hdf5", path)
        return read_sample(path, transform)

    monkeypatch.setattr(cache_jobs, "read_sample", replaced)
    with pytest.raises(SourceChangedError, match=r"5_0\.hdf5"):
        imported(folder)
    assert [*(folder / "store").rglob("records/*")] == []


def test_classes_are_part_of_the_key_and_must_fit_the_recordings(folder: Path) -> None:
    given = (None, 2, ("left", "right"), 3)
    first, again, named, more = (imported(folder, classes=one, data=folder / "data") for one in given)
    assert first.address == again.address
    assert len({one.address for one in (first, named, more)}) == 3
    assert (named.classes, more.classes) == (("left", "right"), ("0", "1", "2"))
    with pytest.raises(UsageError, match=r"^'1' would be class 0 of the new set, but .* class 1: .*: 0,1$"):
        imported(folder, data=folder / "data", classes=("1", "0"))
    with pytest.raises(UsageError, match=r"/1_0\.hdf5 has the target 1, but the argument classes has 1 name"):
        imported(folder, classes=1)


def test_frames_without_y_and_targets_that_are_text(tmp_path: Path) -> None:
    frames = np.zeros((3, 1, 5), np.float32)
    frames[1, 0, 2] = 4
    cache = tonic.DiskCachedDataset([(frames, "right"), (frames[:1], "left")], str(tmp_path / "cache"))
    assert [cache[row][1] for row in range(2)] == [b"right", b"left"]
    recipe = Recipe.from_mapping(
        {
            "name": "words",
            "citation": "A. Author, Words, 2026",
            "source": {"dataset": "SHD"},
            "transform": [{"op": "to_frame", "sensor_size": [5, 1, 1], "time_window": 1000}],
        },
        origin="words.toml",
    )
    features = import_cache(tmp_path / "cache", recipe, split="train", store=tmp_path / "store")
    assert (features.classes, features.layout.axes) == (("left", "right"), ("time", "polarity", "x"))
    assert np.array_equal(dense(features, 0), frames)
    assert features.read(0, 2).label.tolist() == [1, 0]
    assert features.manifest.provenance["citation"] == "A. Author, Words, 2026"
    assert features.read(0, 2).nnz.tolist() == [1, 0]


def replaced(name: str, value: Any) -> Callable[[Path], None]:
    """Return a function that replaces an array of item 5."""

    def change(cache: Path) -> None:
        with h5py.File(cache / "5_0.hdf5", "a") as file:
            frames = file["data/0"][()]
            del file[name]
            if value is not None:
                file[name] = value(frames) if callable(value) else value

    return change


def linked(cache: Path) -> None:
    with h5py.File(cache / "5_0.hdf5", "a") as file:
        del file["data/0"]
        file["data/0"] = h5py.ExternalLink(str(cache / "6_0.hdf5"), "data/0")


def emptied(cache: Path) -> None:
    for path in cache.iterdir():
        path.unlink()


def without_the_middle(cache: Path) -> None:
    for item in range(2, 7):
        (cache / f"{item}_0.hdf5").unlink()


def damaged(cache: Path) -> None:
    data = (cache / "5_0.hdf5").read_bytes()
    (cache / "5_0.hdf5").write_bytes(data[: len(data) // 2])


FAULTS = [
    (emptied, r"has no files INDEX_0\.hdf5"),
    (without_the_middle, r"not 2_0.hdf5 \(5 of the items 0 to 7"),
    (
        lambda cache: (cache / "5_0.hdf5").unlink(),
        r"has 7_0\.hdf5, but not 5_0\.hdf5 \(1 of the items 0 to 7 are missing\)",
    ),
    (
        lambda cache: shutil.copy(cache / "5_0.hdf5", cache / "5_1.hdf5"),
        "5_1.hdf5 is a second copy of an item",
    ),
    (
        lambda cache: (cache / "5_0.hdf5").rename(cache / "five.hdf5"),
        "five.hdf5 is not a file of a DiskCachedDataset",
    ),
    (damaged, r"5_0\.hdf5 is truncated .* delete the file, and read this item"),
    (lambda cache: (cache / "5_0.hdf5").write_bytes(b""), r"5_0\.hdf5 is empty"),
    (replaced("data/0", lambda frames: frames[:, :, :-1]), r"5_0\.hdf5 has the shape .* use the recipe"),
    (replaced("data/0", lambda frames: frames[:, 0, 0]), "has the shape"),
    (
        replaced("data/0", lambda frames: frames / 2),
        "has the value 0.5, but counts of events are whole numbers",
    ),
    (replaced("data/0", lambda frames: frames * np.float32(np.nan)), "has the value nan"),
    (replaced("data/0", lambda frames: -frames), "has the count -1, but counts cannot be negative"),
    (
        replaced("data/0", draw(5).astype([("t", "i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])),
        "has events, not frames: pass list",
    ),
    (replaced("data/1", 7), "has 2 arrays in data, expected one"),
    (replaced("target", None), "has no group target, so it is incomplete"),
    (replaced("target/0", 0.5), "has a target of 0.5"),
    (replaced("target/0", np.array([0, 1])), r"has a target of shape \(2,\)"),
    (replaced("target/0", "left"), r"has the target 'left', but 0_0\.hdf5 has 0"),
    (linked, "has a link instead of the array data/0, and links are not followed"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_bad_caches(folder: Path, fault: Callable[[Path], object], message: str) -> None:
    """The message is one line that names the file; nothing is written to the store."""
    if message.startswith("has 2 arrays"):
        with h5py.File(folder / "cache/5_0.hdf5", "a") as file:
            file["data/1"] = 7
    else:
        fault(folder / "cache")
    with pytest.raises(LayoutError, match=message) as caught:
        imported(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "store").exists()


def other_transform(folder: Path) -> None:
    """Fill an item with bins that begin at 0, and not at the first event."""
    frames = tonic.transforms.ToFrame(
        sensor_size=(16, 12, 2), time_window=1000, include_incomplete=True, start_time=0
    )(draw(5))
    replaced("data/0", frames)(folder / "cache")


def other_label(folder: Path) -> None:
    replaced("target/0", 0)(folder / "cache")


def fewer_recordings(folder: Path) -> None:
    (folder / "data/007.npy").unlink()
    table = folder / "data/labels.csv"
    table.write_text(table.read_text().rpartition("\n")[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_transform, r"5_0\.hdf5 has other frames than 005\.npy"),
        (other_label, r"5_0\.hdf5 has another label than 005\.npy"),
        (fewer_recordings, "has 8 items, but all in .* has 7 recordings"),
    ],
)
def test_recordings_that_differ(folder: Path, change: Callable[[Path], None], message: str) -> None:
    change(folder)
    with pytest.raises(SpikestoreError, match=message):
        imported(folder, data=folder / "data", compare_all=True)
    assert not (folder / "store").exists()
    assert len(imported(folder)) == FEW  # without the recordings, nothing contradicts the cache


def test_a_name_does_not_move_to_other_classes(folder: Path) -> None:
    imported(folder, name="cached")
    with pytest.raises(UsageError, match="its cache was imported with other classes"):
        imported(folder, name="cached", classes=("left", "right"))
    assert imported(folder, name="cached", classes=("left", "right"), move=True).classes == ("left", "right")


def test_wrong_use(folder: Path) -> None:
    for wrong in ({"name": "G!"}, {"name": "g", "split": "All"}):
        with pytest.raises(UsageError, match="a name must have 1 to 63 characters"):
            imported(folder, **wrong)
    assert not (folder / "store").exists()
    with pytest.raises(UsageError, match="compares rows with the recordings: pass data="):
        imported(folder, compare_all=True)
    with pytest.raises(SourceNotFoundError, match="does not exist"):
        import_cache(folder / "nothing", recipe_for(folder), split="all", store=folder / "store")
    with pytest.raises(UsageError, match="NMNIST has no split 'valid': it has train, test"):
        import_cache(
            folder / "cache", recipe_for(folder, {"dataset": "NMNIST"}), split="valid", store=folder / "store"
        )
    for named in (
        recipe_for(folder, {"splits": ["a", "b"]}),
        recipe_for(folder, shares={"a": 0.5, "b": 0.5}),
    ):
        with pytest.raises(UsageError, match="the recipe has no split 'valid': it has a, b"):
            import_cache(folder / "cache", named, split="valid", store=folder / "store")


def test_the_command_of_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's command imports a cache; a second call finds the set, and `repair --data` says why it cannot recompute rows."""
    page = (Path(__file__).parents[3] / "docs/own_recordings.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ spikestore (import .*)$", page, re.MULTILINE)
    monkeypatch.chdir(folder)
    Path("data").rename("recordings")
    Path("gestures.toml").write_text(
        'name = "gestures"\n[source]\ndataset = "folder"\n[source.folder]\ntable = "labels.csv"\n[[transform]]\nop = "to_frame"\n'
        "sensor_size = [16, 12, 2]\ntime_window = 1000\ninclude_incomplete = true\n"
    )
    store = ["--store", "./feature_store"]
    assert main(command.split()) == 0
    assert "imported 8 samples as" in capsys.readouterr().err
    assert main(command.split()) == 0
    assert main(["verify", *store]) == 0
    capsys.readouterr()
    assert main(["repair", "gestures-cached", "--data", "recordings", *store]) == 2
    assert "was imported from a cache of Tonic" in capsys.readouterr().err
