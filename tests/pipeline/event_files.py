"""Writes small data sets in the layout of N-MNIST and DVSGesture, and opens them with Tonic's classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tonic

from spikestore.pipeline.readers.event_files.dvsgesture import DVSGestureReader
from spikestore.pipeline.readers.event_files.file_per_recording import FilePerRecording
from spikestore.pipeline.readers.event_files.nmnist import NMNISTReader
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store_schemas.specs.files import SourceFile

NMNIST_FOLDERS = {"train": "Train", "test": "Test"}
DVSGESTURE_FOLDERS = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}
OVERFLOW = (7, 240, 0, 0)
"""x, y, p, t of an event that stands for an overflow of the clock."""


def pack(events: Sequence[Sequence[int]] | npt.NDArray[Any]) -> bytes:
    """Return N-MNIST's bytes of events (x, y, p, t in µs below 2^23)."""
    x, y, p, t = np.asarray(events, np.int64).reshape(-1, 4).T
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], axis=1).astype(np.uint8).tobytes()


def draw_events(rng: np.random.Generator, count: int, pixels: int, latest: int) -> npt.NDArray[np.int64]:
    """Return events with the columns x, y, p, t; t ascending from 0 to below `latest`."""
    events = rng.integers(0, [pixels, pixels, 2, latest], (count, 4))
    events[:, 3].sort()
    return events


def write_nmnist(folder: Path, per_class: int = 2, longest: int = 80) -> Path:
    """Write both splits so that Tonic accepts `folder` as ``save_to`` but for the count; return the dataset's folder.

    One recording of each class has overflow events in it.
    """
    rng = np.random.default_rng(3)
    root = folder / "NMNIST"
    for split, name in NMNIST_FOLDERS.items():
        for digit in range(10):
            (root / name / str(digit)).mkdir(parents=True, exist_ok=True)
            for i in range(per_class):
                events = draw_events(rng, int(rng.integers(20, longest)), 34, 90_000)
                if i == 0:
                    # After each overflow event, which stands for 8,192 µs, the clock starts again.
                    events[:, 3] = np.sort(rng.integers(0, 8192, len(events)))
                    events = np.concatenate([events, [OVERFLOW], events, [OVERFLOW, OVERFLOW], events])
                (root / name / str(digit) / f"{7 * i:05d}.bin").write_bytes(pack(events))
        (root / f"{split}.zip").touch()  # without it Tonic would download
    return root


def write_dvsgesture(
    folder: Path,
    users: Sequence[str] = ("user02_fluorescent_led", "user10_lab"),
    classes: Sequence[int] = (0, 2, 10),
) -> Path:
    """Write both splits so that Tonic accepts `folder` as ``save_to`` but for the count; return the dataset's folder."""
    rng = np.random.default_rng(4)
    root = folder / "DVSGesture"
    for name in DVSGESTURE_FOLDERS.values():
        for user in users:
            (root / name / user).mkdir(parents=True, exist_ok=True)
            for number in classes:
                np.save(root / name / user / f"{number}.npy", draw_events(rng, 150, 128, 90))
        (root / f"{name}.tar.gz").touch()
    return root


def tonic_dataset(name: str, split: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Any:
    """Return Tonic's own data set of the files below `folder`.

    Tonic's classes count files, and download the data set if there are fewer than 10,000 (N-MNIST) or 100: only this check is
    replaced.
    """
    monkeypatch.setattr(
        tonic.dataset.Dataset,
        "_folder_contains_at_least_n_files_of_type",
        lambda self, n_files, file_type: True,
    )
    return getattr(tonic.datasets, name)(str(folder), train=split == "train", **fields)


def located(name: str, split: str, folder: Path, **options: Any) -> LocatedSource:
    return make_source(name, split, folder, cache=folder / "cache", **options)


def reader_of_files(kind: type[FilePerRecording], root: Path, **options: Any) -> Any:
    """Open all files below a folder, as they are now."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*") if path.is_file())
    files = [SourceFile(name=name, size=(root / name).stat().st_size, sha256="0" * 64) for name in names]
    return kind(root, files, **options)


def nmnist_reader(folder: Path, *contents: bytes) -> Any:
    """Open files of these contents, as recordings of class 1."""
    (folder / "Train/1").mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(contents):
        (folder / f"Train/1/{i:05d}.bin").write_bytes(content)
    return reader_of_files(NMNISTReader, folder)


def dvsgesture_reader(folder: Path, *arrays: Any, **options: Any) -> Any:
    """Open files of these arrays, or bytes, as classes 0, 1, 2 and so on."""
    (folder / "ibmGestureTrain/user01_led").mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(arrays):
        path = folder / f"ibmGestureTrain/user01_led/{i}.npy"
        if isinstance(array, bytes):
            path.write_bytes(array)
        else:
            np.save(path, array, **options)
    return reader_of_files(DVSGestureReader, folder, columns=("user",))
