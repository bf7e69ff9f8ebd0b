"""Writes a few recordings in the layouts of SSC and SHD, without the archives that Tonic requires."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np


def write_split(path: Path, count: int, *, classes: int = 20) -> None:
    """Write one file: recordings of some 300 events in 0.5 s on 700 units, every class in turn."""
    rng = np.random.default_rng(count)
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (count,), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (count,), h5py.vlen_dtype(np.uint16))
        for i in range(count):
            times[i] = np.sort(rng.random(300 + i)).astype(np.float16) / 2
            units[i] = rng.integers(0, 700, 300 + i).astype(np.uint16)
        file["labels"] = (np.arange(count) % classes).astype(np.uint16)
        file["extra/keys"] = np.array([f"word {k}".encode() for k in range(classes)])
        file["extra/speaker"] = np.zeros(count, np.uint16)


def write_layout(folder: Path, dataset: str, **counts: int) -> Path:
    """Write ``folder/DATASET/dataset_SPLIT.h5`` for each split; return the folder of the files."""
    inner = folder / dataset
    inner.mkdir(parents=True)
    for split, count in counts.items():
        write_split(inner / f"{dataset.lower()}_{split}.h5", count)
    return inner
