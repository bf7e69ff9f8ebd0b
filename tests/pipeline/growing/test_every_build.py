"""Growing in each kind of build: resumed, in parts, in threads, by Dask workers, on an object store."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore
from tests.pipeline.folders import draw, recipe_for, save
from tests.pipeline.growing.growing_folders import add, grown, is_as_fresh, opened, write_mnist_bin

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.building.recompute import rows_from_recordings
from spikestore.store import Store
from spikestore.store.build import Build
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store.upkeep.repair import repair
from spikestore.store.upkeep.verify import verify

pytestmark = pytest.mark.usefixtures("few_events")

NEW = ["a/0305.npy", "b/1.npy"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with 70 recordings, of which `store` has a set in fragments of 64 rows, and two new ones."""
    root = tmp_path / "data"
    add(root, **{f"{'ac'[number // 35]}_{number:03d}": number for number in range(70)})
    grown(root, tmp_path / "store", fragment_samples=64)
    add(root, a_0305=1000, b_1=1001)
    return root


def test_an_interrupted_build_is_resumed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fragments that the interrupted build has stored are kept, even if the former set was removed meanwhile."""
    with monkeypatch.context() as patch, opened(patch) as names:
        patch.setattr(Build, "commit", _broken)
        with pytest.raises(KeyboardInterrupt):
            grown(root, tmp_path / "store")
    assert sorted(names) == NEW
    former = Store(tmp_path / "store")["mine:all"].address
    shutil.rmtree(tmp_path / "store" / former.folder)
    (record,) = (tmp_path / "store").rglob("records/*1.json")
    record.unlink()
    with opened(monkeypatch) as names:
        features = grown(root, tmp_path / "store")["all"]
    assert len(names) == 72 - 64
    assert features.manifest.provenance["reused_fragments"] == 1
    assert is_as_fresh(root, features, tmp_path / "fresh")


def _broken(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_parts_take_rows_too(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch) as names:
        for number in (2, 1):
            grown(root, tmp_path / "store", part=(number, 2))
        features = grown(root, tmp_path / "store", finalise=True)["all"]
    assert sorted(names) == NEW
    assert is_as_fresh(root, features, tmp_path / "fresh")


@pytest.mark.slow
def test_threads(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(monkeypatch) as names:
        features = preprocess(recipe_for(root), store=tmp_path / "store", move=True)["all"]
    assert sorted(names) == NEW
    assert is_as_fresh(root, features, tmp_path / "fresh")


def test_an_object_store(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = Store(ObjectStorage(MemoryStore(), "memory://grown"))
    (new := root / NEW[0]).rename(tmp_path / "new.npy")
    grown(root, store, fragment_samples=64)
    (tmp_path / "new.npy").rename(new)
    with opened(monkeypatch) as names:
        features = grown(root, store)["all"]
    assert names == NEW[:1]
    assert is_as_fresh(root, features, tmp_path / "fresh")


@pytest.mark.slow
def test_dask_workers(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Dask workers can grow a set; rows that a worker cannot read are reported."""
    (path,) = (tmp_path / "store").rglob("value/c/0")
    path.unlink()
    with caplog.at_level(logging.WARNING):
        features = preprocess(
            recipe_for(root), store=tmp_path / "store", move=True, options=BuildOptions(workers=2)
        )["all"]
    assert features.manifest.provenance["reused_recordings"] == 70 - 64
    assert "so they were computed from the recordings (" in caplog.text
    assert is_as_fresh(root, features, tmp_path / "fresh")


def test_a_data_set_by_name_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any data set with one file per recording, here N-MNIST's layout; its classes are those of the data set."""
    recipe = """
name = "digits"
[source]
dataset = "NMNIST"
splits = ["train"]
[[transform]]
op = "to_frame"
sensor_size = [34, 34, 2]
time_window = 1000
include_incomplete = true
"""
    (tmp_path / "digits.toml").write_text(recipe)
    data = tmp_path / "data"

    def build(store: str) -> Any:
        return preprocess(tmp_path / "digits.toml", data=data, store=tmp_path / store, workers=0)["train"]

    for number in range(10):
        write_mnist_bin(data / f"Train/{number}/1.bin", number)
    before = build("store")
    write_mnist_bin(data / "Train/3/0.bin", 60)
    with opened(monkeypatch) as names:
        after = build("store")
    assert (len(before), len(after), names) == (10, 11, ["Train/3/0.bin"])
    assert after.digest == build("fresh").digest


@pytest.mark.slow
def test_recordings_repair_a_grown_set(root: Path, tmp_path: Path) -> None:
    """Fragments of copied bytes, and of rows that moved, equal those from the recordings."""
    features = grown(root, tmp_path / "store")["all"]
    objects = sorted(
        path for path in (tmp_path / "store" / features.data_path).rglob("c/*") if path.is_file()
    )
    for path in objects:
        path.unlink()
    left = repair(features, rows=rows_from_recordings(features, root)).left
    assert left == ()
    assert verify(features, depth="deep") == []


@pytest.mark.slow
def test_a_set_grows_again_and_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set grows in steps that are smaller and larger than a fragment; each step reads only new recordings."""
    for step, count in enumerate((1, 64, 3)):
        new = [f"{'bz'[step % 2]}/{step}_{number}.npy" for number in range(count)]
        for number, file in enumerate(new):
            save(root / file, draw(2000 + 100 * step + number))
        before = len(Store(tmp_path / "store")["mine:all"])
        with opened(monkeypatch) as names:
            features = grown(root, tmp_path / "store")["all"]
        assert len(names) == len(features) - before
        assert set(new) <= set(names)
    assert is_as_fresh(root, features, tmp_path / "fresh")
