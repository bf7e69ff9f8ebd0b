"""Convolutional networks for event cameras: shipped recipes and configurations on small files in the real layouts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.pipeline.event_files import DVSGESTURE_FOLDERS, NMNIST_FOLDERS, pack
from tests.scenarios.refusals import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def gesture(
    rng: np.random.Generator, number: int, of: int, count: int, pixels: int, duration: int
) -> npt.NDArray[np.int64]:
    """Return events x, y, p, t around a place that tells the class."""
    angle = 2 * np.pi * number / of
    middle = pixels * (0.5 + 0.3 * np.array([np.cos(angle), np.sin(angle)]))
    places = np.clip(rng.normal(middle, pixels / 12, (count, 2)), 0, pixels - 1).astype(np.int64)
    times = np.sort(rng.integers(0, duration, count))
    return np.column_stack([places, rng.integers(0, 2, count), times])


def write_nmnist(folder: Path) -> None:
    """Write 60 and 20 recordings, .bin files below Train/DIGIT and Test/DIGIT."""
    rng = np.random.default_rng(0)
    for (split, name), each in zip(NMNIST_FOLDERS.items(), (6, 2), strict=True):
        for digit in range(10):
            place = folder / "NMNIST" / name / str(digit)
            place.mkdir(parents=True)
            for i in range(each):
                (place / f"{i:05d}.bin").write_bytes(pack(gesture(rng, digit, 10, 1000, 34, 300_000)))
        (folder / "NMNIST" / f"{split}.zip").touch()


def write_dvsgesture(folder: Path) -> None:
    """Write 22 and 11 recordings, .npy files below ibmGestureTrain/USER and ibmGestureTest/USER."""
    rng = np.random.default_rng(0)
    users = {"train": ("user01_led", "user02_lab"), "test": ("user24_led",)}
    for split, name in DVSGESTURE_FOLDERS.items():
        for user in users[split]:
            place = folder / "DVSGesture" / name / user
            place.mkdir(parents=True)
            for number in range(11):
                np.save(place / f"{number}.npy", gesture(rng, number, 11, 4000, 128, 600))  # ms
        (folder / "DVSGesture" / f"{name}.tar.gz").touch()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "samples"),
    [
        ("nmnist", write_nmnist, 20),
        ("dvsgesture", write_dvsgesture, 11),
    ],
)
def test_shipped_configurations_train(
    name: str, write: Callable[[Path], None], samples: int, run: Run, tmp_path: Path
) -> None:
    """Recipe, configuration, evaluation on another backend: the loss falls, every layer spikes, accuracies agree."""
    write(tmp_path / "data")
    (tmp_path / "recipes").mkdir()  # a lock is written beside the recipe
    shutil.copy(ROOT / f"recipes/{name}.toml", tmp_path / "recipes")
    built = run("preprocess", f"recipes/{name}.toml", "--store", "store", "--workers", "0")
    assert built.status == 0, built.err
    config = ROOT / f"configs/{name}.toml"
    trained = run("train", config, "--store", "store", "--device", "cpu", "--epochs", "3", "--json")
    assert trained.status == 0, trained.err
    assert "never spiked" not in trained.err
    epochs = json.loads(trained.out)["epochs"]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert all(rate > 0 for epoch in epochs for rate in epoch["spike_rates"].values())
    for backend in ("fused", "sinabs"):
        command = ("evaluate", f"runs/{name}/last.pt", "--store", "store", "--split", "test", "--json")
        found = run(*command, "--device", "cpu", "--backend", backend)
        assert found.status == 0, found.err
        assert json.loads(found.out)["accuracy"] == epochs[-1]["accuracy"]
        assert json.loads(found.out)["samples"] == samples
