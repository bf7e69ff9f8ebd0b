"""Recordings on disk and their builds, for the benchmarks on N-MNIST and DVSGesture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets.layouts import GESTURE, Layout, recordings_of
from benchmarks.datasets.scale import Scale

WORKERS = 2


@dataclass(frozen=True)
class Written:
    """A data set on disk.

    Attributes
    ----------
    layout : Layout
        Layout of the files.
    folder : Path
        Folder for the files that the benchmark writes: the data set in ``data``, and SpikingJelly's event files in
        ``events``.
    count : int
        Number of recordings.
    """

    layout: Layout
    folder: Path
    count: int

    @property
    def save_to(self) -> Path:
        """Tonic's ``save_to``."""
        return self.folder / "data"

    def new_folder(self, name: str) -> Path:
        """Return a folder that does not exist yet."""
        number = sum(1 for path in self.folder.iterdir() if path.name.startswith(name))
        return self.folder / f"{name}{number}"

    def build(self, transform: Any, scheduler: Any) -> Any:
        """Build the set in a new store, from the first task to the manifest, and return it."""
        from spikestore.pipeline.building.feature_build import BuildRequest, build_features, open_build
        from spikestore.store import Store

        located = self.layout.located(self.save_to)  # before: the hashes are in the cache
        begun = open_build(
            Store(self.new_folder("store")).storage, located, transform, BuildRequest(scheduler.workers)
        )
        return build_features(begun, located, transform, scheduler, progress=lambda *_: None)

    def built(self, **bins: Any) -> Any:
        """Build the set in this process and return it, with bins of 10 ms, or with the ``to_frame`` parameters `bins`."""
        from spikestore.pipeline.execution.schedulers import InProcess

        return self.build(self.layout.transform(**bins), InProcess())


@contextmanager
def written(scale: Scale, layout: Layout, *, event_files: bool = False) -> Iterator[Written]:
    """Write the recordings of a data set into a temporary folder, and yield a description of them.

    If `event_files` is true and the data set is DVSGesture, event files for SpikingJelly are written too. No event files of
    N-MNIST are written: SpikingJelly makes them from the ``.bin`` files, and the benchmark measures this conversion too.
    """
    size = layout.small if scale.small else layout.full
    count, events = scale.recordings or size.recordings, scale.events or size.events
    with scale.folder() as folder:
        for number, columns in enumerate(recordings_of(layout, count, events)):
            path = layout.write(folder / "data" / layout.dataset, number, columns)
            if event_files and layout is GESTURE:
                t, x, y, p = columns
                to = folder / "events" / path.stem / f"{path.parent.name}.npz"
                to.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(to, t=t, x=x, y=y, p=p)
        yield Written(layout, folder, count)


def bytes_below(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
