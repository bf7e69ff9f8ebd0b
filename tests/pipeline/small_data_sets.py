"""Small data sets in the layouts of their archives, and the samples that their own classes or descriptions make of them.

Tonic's class is the reference where Tonic has one. For N-CARS and ST-MNIST, it is a loop over single events that follows the
description of the format.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
import tonic
from tests.pipeline.event_files import OVERFLOW, draw_events, pack

from spikestore.pipeline.readers.event_files.stmnist import STMNISTReader

FILES = Path(__file__).parent / "readers/formats/files"
"""Recordings that faery 0.7.1 wrote."""

Item = tuple[list[tuple[int, ...]], str]
"""Events as (t in µs, x, y if there is one, p), and the name of the class."""


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_ncaltech101(folder: Path) -> Path:
    rng, root = np.random.default_rng(5), folder / "NCALTECH101"
    for name in ("airplanes", "BACKGROUND_Google", "yin_yang"):
        for number in (2, 1):
            events = draw_events(rng, 60, 150, 8000) + np.array([number, 17, 0, 0])
            events = np.concatenate([events, [OVERFLOW], events])
            _file(root / f"Caltech101/{name}/image_{number:04d}.bin").write_bytes(pack(events))
    (root / "N-Caltech101-archive.zip").touch()
    return root


def write_pokerdvs(folder: Path) -> Path:
    rng, root = np.random.default_rng(6), folder / "POKERDVS"
    for split in ("train", "test"):
        for name in ("sp", "cl", "he", "di"):
            for number in range(2):
                events = draw_events(rng, 50, 35, 20_000)[:, [3, 0, 1, 2]]
                np.save(_file(root / f"pips_{split}/{name}/{name}{number}.npy"), events)
        (root / f"pips_{split}.tar.gz").touch()
    return root


def write_dvslip(folder: Path) -> Path:
    rng, root = np.random.default_rng(7), folder / "DVSLip"
    stored = np.dtype([("t", "<i8"), ("x", "i2"), ("y", "i2"), ("p", "i1")])
    for split in ("train", "test"):
        for word in ("young", "accused", "saying"):
            for number in (10, 9):
                x, y, p, t = draw_events(rng, 50, 128, 900_000).T
                events = np.empty(50, stored)
                events["t"], events["x"], events["y"], events["p"] = t, x, y, p
                np.save(_file(root / f"DVS-Lip/{split}/{word}/{number}.npy"), events)
    return root


def write_asldvs(folder: Path) -> Path:
    rng, root = np.random.default_rng(8), folder / "ASLDVS"
    for letter in "bya":
        for number in (2, 1):
            x, y, p, t = (column.reshape(-1, 1) for column in draw_events(rng, 70, 180, 100_000).T)
            events = {
                "ts": t.astype(np.int32),
                "x": x.astype(np.uint16),
                "y": y.astype(np.uint16),
                "pol": p.astype(np.uint8),
            }
            path = _file(root / f"{letter}/{letter}_{number:04d}.mat")
            scipy.io.savemat(path, events, do_compression=True)
    (root / "ASLDVS.zip").touch()
    return root


def write_ntidigits18(folder: Path) -> Path:
    rng, root = np.random.default_rng(9), folder / "NTIDIGITS18"
    with h5py.File(_file(root / "n-tidigits.hdf5"), "w") as file:
        for split, names in (
            ("train", ("man-ae-o", "man-ae-12", "woman-b-z")),
            ("test", ("boy-c-7", "boy-c-z1z")),
        ):
            file[f"{split}_labels"] = np.array([name.encode() for name in names])
            for name in names:
                file[f"{split}_timestamps/{name}"] = np.sort(rng.uniform(0, 1.2, 90))
                file[f"{split}_addresses/{name}"] = rng.integers(0, 64, 90).astype(np.uint8)
    return root


def write_ncars(folder: Path) -> Path:
    """Write both splits; the second one in one more folder, as some tools unpack it."""
    rng, root = np.random.default_rng(10), folder / "NCARS"
    header = b"% Data file containing TD events.\n% Version 2\n% Date 2016-10-12 15:44:35\n\x00\x08"
    for place in ("n-cars_train", "n-cars_test/test"):
        for name in ("cars", "background"):
            for number in (4397, 4396):
                x, y, p, t = draw_events(rng, 40, 100, 100_000).T
                words = np.stack([t, x | y << 14 | p << 28], axis=1).astype("<u4")
                _file(root / f"{place}/{name}/obj_{number:06d}_td.dat").write_bytes(header + words.tobytes())
    return root


def write_stmnist(folder: Path) -> Path:
    rng, root = np.random.default_rng(11), folder / "STMNIST"
    for digit in (3, 0):
        for number in range(2):
            spiketrain = np.zeros((101, 30))
            spiketrain[:100] = rng.choice([-1, 0, 1], (100, 30), p=[0.02, 0.96, 0.02])
            spiketrain[100] = np.sort(rng.uniform(0, 2, 30))
            scipy.io.savemat(
                _file(root / f"data_submission/{digit}/LUC_{number}.mat"), {"spiketrain": spiketrain}
            )
    scipy.io.savemat(root / "data_submission/LUT.mat", {"LUT": np.arange(100)})
    return root


def write_cifar10dvs(folder: Path) -> Path:
    root = folder / "CIFAR10DVS"
    for place, name in enumerate(tonic.datasets.CIFAR10DVS.classes):
        for number in (2, 1):
            source = FILES / ("zstd.aedat4" if (place + number) % 2 else "lz4.aedat4")
            _file(root / f"{name}/{name}_{number}.aedat4").write_bytes(source.read_bytes())
    (root / "CIFAR10DVS.zip").touch()
    return root


WRITE: dict[str, Callable[[Path], Path]] = {
    "ASLDVS": write_asldvs,
    **({"CIFAR10DVS": write_cifar10dvs} if importlib.util.find_spec("aedat") else {}),
    "DVSLip": write_dvslip,
    "NCALTECH101": write_ncaltech101,
    "NCARS": write_ncars,
    "NTIDIGITS18": write_ntidigits18,
    "POKERDVS": write_pokerdvs,
    "STMNIST": write_stmnist,
}
SPLITS = dict.fromkeys(WRITE, ("train", "test")) | dict.fromkeys(
    ("ASLDVS", "CIFAR10DVS", "NCALTECH101", "STMNIST"), ("all",)
)
"""Splits by data set; also of CIFAR10DVS, which is not in `WRITE` where its library is not installed."""

OF_TONIC = tuple(name for name in WRITE if name not in ("NCARS", "STMNIST"))


def tonics(name: str, split: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Any:
    """Return Tonic's own data set of the files below `folder`; only its check of the number of files is replaced."""
    counts = "_folder_contains_at_least_n_files_of_type"
    monkeypatch.setattr(tonic.dataset.Dataset, counts, lambda self, n_files, file_type: True)
    if split != "all":
        fields["train"] = split == "train"
    if name == "NTIDIGITS18":
        fields.setdefault("single_digits", True)
    return getattr(tonic.datasets, name)(str(folder), **fields)


def judged(name: str, split: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Item]:
    """Return all recordings, in no stable order, from Tonic or from the description of the format."""
    if name == "NCARS":
        return _ncars(folder / "NCARS", split)
    if name == "STMNIST":
        return _stmnist(folder / "STMNIST")
    theirs = tonics(name, split, folder, monkeypatch)
    classes = list(theirs.class_map) if name == "NTIDIGITS18" else list(getattr(theirs, "classes", ()))
    items = []
    for events, target in (theirs[i] for i in range(len(theirs))):
        flat: npt.NDArray[Any] = events.reshape(-1)  # ASLDVS has a column
        fields = [field for field in "txyp" if field in (flat.dtype.names or ())]
        label = target if isinstance(target, str) else classes[target]
        items.append(([tuple(int(event[field]) for field in fields) for event in flat], label))
    return items


def _ncars(root: Path, split: str) -> list[Item]:
    items = []
    for path in root.glob(f"n-cars_{split}/**/*_td.dat"):
        content = path.read_bytes()
        content = (
            content[content.rindex(b"\n") + 3 :]
            if content.count(b"\n") == 3
            else content[content.index(b"\x00\x08") + 2 :]
        )
        events: list[tuple[int, ...]] = []
        for t, data in struct.iter_unpack("<II", content):
            events.append((t, data & 0x3FFF, (data & 0x0FFFC000) >> 14, (data & 0x10000000) >> 28))
        items.append((events, path.parent.name))
    return items


def _stmnist(root: Path) -> list[Item]:
    items = []
    for path in root.glob("data_submission/*/*.mat"):
        spiketrain = scipy.io.loadmat(path)["spiketrain"]
        events: list[tuple[int, ...]] = []
        for column in range(spiketrain.shape[1]):
            for sensor in range(100):
                if spiketrain[sensor, column]:
                    t = int(spiketrain[100, column] * 1e6)
                    events.append((t, sensor % 10, sensor // 10, int(spiketrain[sensor, column] > 0)))
        items.append((events, STMNISTReader.classes[int(path.parent.name)]))
    return items
