"""Parts shared by several benchmarks: recordings, the transform of the blog post in docs/seed.md, and builds of feature sets."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.form import PINNED
from benchmarks.recordings import Recordings, find_recordings

os.environ.update(PINNED)

WORKERS = 2


@dataclass(frozen=True)
class Bench:
    """Recordings and sizes that all rows of a benchmark's table share.

    Attributes
    ----------
    data : Recordings
        The recordings.
    scratch : Path
        Folder for files that the benchmark writes.
    recordings : int
        Number of recordings in most rows.
    peers : int
        Number of recordings in Tonic's cache.
    many : int
        Number of recordings in the rows that time a build of many recordings.
    """

    data: Recordings
    scratch: Path
    recordings: int
    peers: int
    many: int

    @classmethod
    def of(cls, data: Recordings, scratch: Path, recordings: int, peers: int, many: int) -> Bench:
        """Return a bench; `Bench` explains the three numbers of recordings. Each of the three is limited to the number of recordings in `data`."""
        return cls(data, scratch, *(min(count, data.count) for count in (recordings, peers, many)))

    def store(self) -> Path:
        """Return the path of a new store; nothing exists there yet."""
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "store"


def target(bench: Bench, limit: int) -> Any:
    """Return a `RequestedSet`: the first `limit` recordings, or all if there are fewer, with the transform of the seed (the blog post in docs/seed.md)."""
    from spikestore.pipeline import load_recipe
    from spikestore.pipeline.recipes.requested_sets import RequestedSet
    from spikestore.pipeline.sources.source_files import make_source

    data, transform = bench.data, load_recipe(bench.data.recipe).transform_spec()
    source = make_source(data.dataset, data.split, data.folder, limit=min(limit, data.count))
    return RequestedSet(data.split, source, transform)


def tonic_dataset(bench: Bench) -> Any:
    """Return Tonic's data set of the recordings, with the transform of the blog post in docs/seed.md."""
    from tonic import transforms

    chain = [
        transforms.Downsample(spatial_factor=100 / 700),
        transforms.CropTime(max=1e6),
        transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
    ]
    return bench.data.tonic_dataset(bench.scratch, transforms.Compose(chain))


def build(bench: Bench, what: Any, scheduler: Any, **request: Any) -> Any:
    """Build the requested set `what` in a fresh store, and return the feature set."""
    from spikestore.pipeline.building.feature_build import BuildRequest, build_features, open_build
    from spikestore.store import Store

    store = Store(bench.store())
    begun = open_build(
        store.storage, what.located, what.transform, BuildRequest(scheduler.workers, **request)
    )
    return build_features(begun, what.located, what.transform, scheduler, progress=lambda *_: None)


def measure_each(measure: Callable[[Bench, int], None], description: str | None) -> None:
    """Parse the options ``--data`` and ``--recordings``, and call `measure` for each number of recordings.

    Parameters
    ----------
    measure : callable
        Called with a bench and the number of its recordings; prints a table.
    description : str or None
        Text for ``--help``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with files of SSC or SHD")
    parser.add_argument("--recordings", type=int, nargs="+", default=[2000, 8000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.data
        if folder is None:
            from spikestore.pipeline.demo.demo_data import write_demo_data

            folder = Path(scratch) / "data"
            write_demo_data(folder, train=max(arguments.recordings), valid=1, test=1)
        data = find_recordings(folder)
        for recordings in sorted({min(count, data.count) for count in arguments.recordings}):
            measure(Bench.of(data, Path(scratch), recordings, 1, recordings), recordings)
