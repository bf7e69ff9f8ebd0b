"""``--data`` accepts SSC and SHD files of any size, in the given folder or in its sub-folder with the data set's name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.bench import Bench, build, target, tonic_dataset
from benchmarks.recordings import find_recordings
from tests.benchmarks.bench_runs import bench
from tests.benchmarks.tiny_recordings import write_layout

from spikestore.pipeline.execution.schedulers import InProcess
from spikestore.train import FeatureDataset, pack


@pytest.fixture(scope="module", params=["SSC", "SHD"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the files of a layout: 5 recordings to train on, 3 in each other split."""
    valid = {"valid": 3} if request.param == "SSC" else {}
    return write_layout(tmp_path_factory.mktemp("data"), request.param, train=5, test=3, **valid)


def test_the_folder_itself_and_the_one_above(files: Path) -> None:
    inside, above = find_recordings(files), find_recordings(files.parent)
    assert inside == above
    assert (inside.dataset, inside.split, inside.folder, inside.count) == (files.name, "train", files, 5)
    assert inside.splits == (("train", "valid", "test") if files.name == "SSC" else ("train", "test"))


@pytest.mark.slow
def test_ours_and_tonics_frames_of_the_same_recordings(files: Path, tmp_path: Path) -> None:
    """Tonic finds the files without a download, and nothing is written beside them."""
    before = sorted(files.parent.rglob("*"))
    made = Bench.of(find_recordings(files), tmp_path, 8000, 3000, 20_000)
    assert (made.recordings, made.peers, made.many) == (5, 5, 5)
    features = build(made, target(made, made.recordings), InProcess())
    ours: Any = FeatureDataset(pack(features))
    theirs = tonic_dataset(made)
    assert len(ours) == len(theirs) == 5
    for (frames, label), (frames_of_tonic, label_of_tonic) in zip(ours, theirs, strict=True):
        assert np.array_equal(frames, frames_of_tonic)
        assert label == label_of_tonic
    assert sorted(files.parent.rglob("*")) == before


def test_a_recipe_for_the_first_recordings(files: Path, tmp_path: Path) -> None:
    """The recipe loads, and its limit is at most the number of recordings."""
    from spikestore.pipeline import load_recipe

    (tmp_path / "some.toml").write_text(find_recordings(files).recipe_text(1000))
    recipe = load_recipe(tmp_path / "some.toml")
    assert (recipe.source.dataset, recipe.source.splits, recipe.source.limit) == (files.name, ("train",), 5)


def test_one_recording_of_one_split(tmp_path: Path) -> None:
    found = find_recordings(write_layout(tmp_path, "SHD", test=1))
    assert (found.split, found.count) == ("test", 1)


def test_unreadable_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no files of a known dataset in"):
        find_recordings(tmp_path)
    with pytest.raises(SystemExit, match=re.escape("ssc_train.h5 has no recordings")):
        find_recordings(write_layout(tmp_path / "empty", "SSC", train=0))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "shd_test.h5").write_bytes(b"no HDF5")
    with pytest.raises(SystemExit, match=r"--data .*damaged"):
        find_recordings(tmp_path / "damaged")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("preprocess", ("--rows", "bytes")),
        ("loading", ("--rows", "e")),
        ("codecs", ()),
        ("seed", ("--rounds", "1")),
        ("store", ("--rows", "verification")),
        ("shuffle", ()),
        ("accuracy", ("--seeds", "1", "--epochs", "1")),
    ],
)
def test_every_benchmark_takes_them(files: Path, tmp_path: Path, name: str, more: tuple[str, ...]) -> None:
    """Each row has a number, or the reason why it has none."""
    done = bench(name, "--size", "small", "--data", files, "--json", tmp_path / "found.json", *more)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert rows
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert row.get("skipped") or np.isfinite(numbers).all()
