"""SpikingJelly's frame folders: ``python -m …spikingjelly_frames fill|load FOLDER KIND PIXELS BINS BATCH WORKERS``.

With ``fill``, each line of standard input makes SpikingJelly's own classes preprocess the recordings in FOLDER once, into a new
folder. For N-MNIST, these classes convert ``.bin`` files to events in ``.npz`` files, and these events to frames. For
DVSGesture, these classes begin with the events in ``.npz`` files. ``load`` reads the frames with a DataLoader.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.peers.serve import answers, serve


class _Absent(ModuleType):
    """Placeholder for a module that SpikingJelly's preprocessing imports and does not use."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def leave_out_vision() -> None:
    """Let SpikingJelly import placeholders instead of torchvision and torchaudio, so that the two need not be installed.

    SpikingJelly uses them only for downloads and for data sets of sound. Installed versions would have to fit torch.
    """
    for name in ("torchvision", "torchvision.datasets", "torchvision.datasets.utils", "torchvision.transforms", "torchaudio", "torchaudio.transforms"):  # fmt: skip
        sys.modules[name] = _Absent(name)


def main(mode: str, folder: str, kind: str, pixels: str, bins: str, batch: str, workers: str) -> None:
    """For each line of standard input, preprocess or read the recordings once."""
    stream = answers()
    os.environ["SJ_MAX_THREADS_NUMBER_FOR_DATASETS_PREPROCESS"] = workers
    leave_out_vision()
    first = time.perf_counter(), _fill(Path(folder), "first", kind, int(pixels), bins), time.perf_counter()
    began, frames, ended = first
    count = sum(1 for _ in frames.rglob("*.npz"))
    facts = {"bytes": sum(path.stat().st_size for path in frames.rglob("*.npz"))}
    if mode == "load":
        serve(stream, _loading(frames, int(batch), int(workers)), **facts)
        return
    number = 0

    def fill() -> float:
        nonlocal number
        number += 1
        os.sync()
        began = time.perf_counter()
        _fill(Path(folder), f"again{number}", kind, int(pixels), bins)
        return count / (time.perf_counter() - began)

    serve(stream, fill, **facts, first_s=ended - began)


def _fill(folder: Path, name: str, kind: str, pixels: int, bins: str) -> Path:
    """Preprocess all recordings and return the folder of the frames."""
    from spikingjelly.datasets.base import (
        FrameFixedDurationBuilder,
        FrameFixedNumberBuilder,
        NeuromorphicDatasetConfig,
    )
    from spikingjelly.datasets.n_mnist import NMNIST

    root = folder / f"spikingjelly_{name}"
    root.mkdir()
    events = folder / "events"
    if kind == "NMNIST":
        events = root / "events"
        events.mkdir()
        (folder / "data/NMNIST/Test").mkdir(exist_ok=True)
        NMNIST.create_raw_from_extracted(folder / "data/NMNIST", events)
        events /= "train"
    how, _, size = bins.partition("=")
    chosen: dict[str, Any] = (
        {"duration": int(size)} if how == "duration" else {"frames_number": int(size), "split_by": "time"}
    )
    config = NeuromorphicDatasetConfig(root, None, "frame", **chosen)
    builder = FrameFixedDurationBuilder if how == "duration" else FrameFixedNumberBuilder
    frames, _ = builder(config, events, pixels, pixels).build()
    return Path(frames)


def _loading(frames: Path, batch: int, workers: int) -> Any:
    import torch
    from spikingjelly.datasets import utils
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    paths = sorted(frames.rglob("*.npz"))

    class Folder(torch.utils.data.Dataset[Any]):
        """Frames, read as SpikingJelly's own data sets read them; each label is 0."""

        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, item: int) -> tuple[Any, int]:
            return torch.from_numpy(utils.load_npz_frames(paths[item])), 0

    loader = DataLoader(
        Folder(),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
        collate_fn=utils.pad_sequence_collate,
    )

    def epoch() -> float:
        began = time.perf_counter()
        for _ in loader:
            pass
        return len(paths) / (time.perf_counter() - began)

    epoch()
    return epoch


if __name__ == "__main__":
    main(*sys.argv[1:])
