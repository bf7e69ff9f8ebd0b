"""What benchmarks of several commands share: recordings, the seed's transform on them, and builds of it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.form import PINNED

os.environ.update(PINNED)

WORKERS = 2


SPLIT = "train"


@dataclass(frozen=True)
class Bench:
    """What the rows share."""

    data: Path
    scratch: Path
    recordings: int
    peers: int
    """Recordings that the peer fills its cache with."""
    many: int
    """Recordings of the row that counts from process start."""

    def store(self) -> Path:
        """Return a folder that does not exist yet."""
        return Path(tempfile.mkdtemp(dir=self.scratch)) / "store"


def demo_data(folder: Path, recordings: int) -> Path:
    """Write demo recordings."""
    from spikestore.pipeline.demo.demo_data import write_demo_data

    write_demo_data(folder, train=recordings, valid=1, test=1)
    return folder


def target(bench: Bench, limit: int) -> Any:
    """Return the seed's transform on the first recordings."""
    from spikestore.pipeline import load_recipe
    from spikestore.pipeline.recipes.requested_sets import Target
    from spikestore.pipeline.sources.source_files import make_source

    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "ssc.toml")
    return Target(SPLIT, make_source("SSC", SPLIT, bench.data, limit=limit), recipe.transform_spec())


def tonic_dataset(bench: Bench) -> Any:
    """Return the seed's data set."""
    import tonic
    from tonic import transforms

    chain = [
        transforms.Downsample(spatial_factor=100 / 700),
        transforms.CropTime(max=1e6),
        transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
    ]
    # Tonic looks for a folder of the data set's name, and for archives beside the files.
    return tonic.datasets.SSC(str(bench.data), split=SPLIT, transform=transforms.Compose(chain))


def build(bench: Bench, what: Any, runs: Any, **wish: Any) -> Any:
    """Build a set in a fresh store, from the first task to the manifest."""
    from spikestore.pipeline.building.feature_build import Wish, build_features, open_build
    from spikestore.store import Store

    store = Store(bench.store())
    begun = open_build(store.storage, what.located, what.transform, Wish(runs.workers, **wish))
    return build_features(begun, what.located, what.transform, runs, progress=lambda *_: None)
