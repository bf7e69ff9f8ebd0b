"""Writes small files in the layout of SSC and SHD, valid or not, for the tests of readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Recording
from spikestore.store_schemas.errors import RecordingError

CLASSES = ("zero", "one", "grün")
SPLITS = {"SSC": ("train", "valid", "test"), "SHD": ("train", "test")}

Recordings = Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]]
"""Times in s and units of each recording."""


def draw(count: int, seed: int = 0, longest: int = 60) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return `count` recordings of 0 to `longest` events: float16 s ascending, uint16; the first one is empty."""
    rng = np.random.default_rng(seed)
    lengths = [0, *rng.integers(0, longest + 1, max(count - 1, 0))]
    return [
        (np.sort(rng.random(n)).astype(np.float16), rng.integers(0, 700, n).astype(np.uint16))
        for n in lengths[:count]
    ]


def write_file(
    path: Path,
    recordings: Recordings,
    *,
    labels: Sequence[int] | npt.NDArray[Any] | None = None,
    speakers: Sequence[int] | npt.NDArray[Any] | None = (),
    keys: Any = None,
    times_type: Any = np.float16,
    units_type: Any = np.uint16,
    userblock: int = 0,
    **storage: Any,
) -> Path:
    """Write one file; `labels` and `speakers` are made up unless given, ``speakers=None`` leaves them out."""
    count = len(recordings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=userblock) as file:
        for name, place, element in (("times", 0, times_type), ("units", 1, units_type)):
            dataset = file.create_dataset(f"spikes/{name}", (count,), h5py.vlen_dtype(element), **storage)
            for row, recording in enumerate(recordings):
                dataset[row] = recording[place]
        if labels is None:
            labels = np.arange(count) % len(CLASSES)
        file["labels"] = np.asarray(labels, getattr(labels, "dtype", np.uint16))
        if speakers is not None:
            speakers = np.arange(count) % 5 + 1 if len(speakers) == 0 else speakers
            file["extra/speaker"] = np.asarray(speakers, getattr(speakers, "dtype", np.uint16))
        file["extra/keys"] = np.array([name.encode() for name in CLASSES]) if keys is None else keys
    return path


def write_dataset(folder: Path, dataset: str, count: int = 7) -> Path:
    """Write all splits of a dataset so that Tonic accepts `folder` as ``save_to``; return its folder."""
    root = folder / dataset
    for seed, split in enumerate(SPLITS[dataset]):
        path = write_file(root / f"{dataset.lower()}_{split}.h5", draw(count + seed, seed))
        path.with_name(path.name + ".zip").touch()  # without it Tonic would download
    return root


def good(item: Recording | RecordingError) -> Recording:
    assert isinstance(item, Recording), item
    return item


def bad(item: Recording | RecordingError) -> RecordingError:
    assert isinstance(item, RecordingError)
    return item
