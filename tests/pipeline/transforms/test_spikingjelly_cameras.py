"""Recipes of papers on cameras against SpikingJelly 2.0.0, which reads the original ``.aedat`` files, where ``make peers`` has installed it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from benchmarks.peers.environments import python_of
from benchmarks.peers.process import ROOT
from tests.pipeline.event_files import draw_events
from tests.pipeline.format_writers import AEDAT_HEADER, aedat2, aedat_packets

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.pipeline.recipes.shipped import paper_recipes
from spikestore.store.store import Store

BINS = 20
"""Number of bins in PLIF's recipes."""

EVENT = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
GESTURES = ((3, 100_000, 400_000), (1, 500_000, 800_000), (3, 700_000, 1_000_000))
"""Class, counted from 1, first time and end in µs; as in the original files, some overlap and some classes occur twice."""


def drawn(seed: int, count: int, latest: int) -> npt.NDArray[np.void]:
    """Return events on 128 x 128 pixels."""
    x, y, p, t = draw_events(np.random.default_rng(seed), count, 128, latest).T
    events = np.empty(count, EVENT)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def write_original_files(root: Path) -> None:
    """Write the files of both data sets as their archives have them."""
    for place, name in enumerate(("airplane", "truck")):
        for number in (1, 2):
            path = root / f"cifar10dvs/{name}/cifar10_{name}_{number}.aedat"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(aedat2()(drawn(2 * place + number, 700 + 13 * number, 1_300_000)))
    gestures = root / "dvsgesture/DvsGesture"
    gestures.mkdir(parents=True)
    table = "class,startTime_usec,endTime_usec\n" + "".join(f"{c},{a},{b}\n" for c, a, b in GESTURES)
    for split, user in (("train", "user01_led"), ("test", "user24_lab")):
        (gestures / f"{user}.aedat").write_bytes(
            AEDAT_HEADER + aedat_packets(drawn(int(user[4:6]), 2000, 1_100_000), size=64)
        )
        (gestures / f"{user}_labels.csv").write_text(table)
        (gestures / f"trials_to_{split}.txt").write_text(f"{user}.aedat\n")


def write_files_of_tonic(root: Path, number: int) -> Path:
    """Write the gestures of class `number`, counted from 0, as Tonic distributes them: cut, and with times in ms."""
    data = root / "DVSGesture"
    _, start, end = next(gesture for gesture in GESTURES if gesture[0] == number + 1)
    for split, user in (("Train", "user01_led"), ("Test", "user24_lab")):
        events = drawn(int(user[4:6]), 2000, 1_100_000)
        events = events[(events["t"] >= start) & (events["t"] < end)]
        path = data / f"ibmGesture{split}/{user}/{number}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, np.stack([events["x"], events["y"], events["p"], events["t"] // 1000], axis=1))
    return data


@pytest.mark.slow
@pytest.mark.skipif(python_of("spikingjelly") == sys.executable, reason="make peers installs SpikingJelly")
def test_frames_of_original_files_are_those_of_spikingjelly(tmp_path: Path) -> None:
    """SpikingJelly exchanges the axes of CIFAR10-DVS, as `names` does."""
    write_original_files(tmp_path)
    command = [str(python_of("spikingjelly")), "-m", "tests.pipeline.transforms.spikingjelly_cameras"]
    arguments = [str(tmp_path), str(BINS), str(tmp_path / "frames.npz")]
    done = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "frames.npz")
    store, options = Store(tmp_path / "store"), BuildOptions(workers=0)

    transform = load_recipe(paper_recipes()["plif-cifar10dvs"]).transform_spec()
    swapped = {"names": {"x": "y", "y": "x"}}
    stated = {
        "name": "original",
        "source": {"dataset": "folder", "folder": swapped},
        "transform": transform.model_dump(mode="json")["operations"],
    }
    recipe = Recipe.from_mapping(stated, origin="original.toml")
    (features,) = preprocess(recipe, data=tmp_path / "cifar10dvs", store=store, options=options).values()
    names = [f"{name}/cifar10_{name}_{number}" for name in ("airplane", "truck") for number in (1, 2)]
    assert len(features) == len(names)
    for row, name in enumerate(names):
        frames = features.frames(row)
        assert frames.sum() > 700
        assert np.array_equal(frames, theirs[f"cifar10dvs/{name}.npz"]), name

    data = write_files_of_tonic(tmp_path, 2)
    built = preprocess(paper_recipes()["plif-dvsgesture"], data=data, store=store, options=options)
    for split, user in (("train", "user01_led"), ("test", "user24_lab")):
        assert np.array_equal(built[split].frames(0), theirs[f"dvsgesture/{split}/2/{user}_0.npz"]), split
