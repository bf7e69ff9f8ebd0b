"""Functions for the tests of `preprocess`: the seed's transform and recipe, and a build in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tonic
from tests.pipeline.cochlea_files import draw, write_dataset, write_file
from tests.seeds_recipe import SEEDS_TRANSFORM
from tonic import transforms

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.store.store import Store

RECIPE = (
    """
name = "speech"
[source]
dataset = "{dataset}"
data = "data"
"""
    + SEEDS_TRANSFORM
)


def write_ssc(folder: Path) -> Path:
    """Write an SSC whose training split has 150 recordings, and return Tonic's ``save_to``."""
    write_dataset(folder, "SSC")
    write_file(folder / "SSC/ssc_train.h5", draw(150))
    return folder


def write_recipe(folder: Path, dataset: str = "SSC") -> Path:
    """Write the recipe for a dataset in ``data`` beside it."""
    path = folder / "r.toml"
    path.write_text(RECIPE.format(dataset=dataset))
    return path


def seeds_transform() -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.Downsample(spatial_factor=100 / 700),
            transforms.CropTime(max=1e6),
            transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
        ]
    )


def ssc(data: Path, split: str = "train", **fields: Any) -> Any:
    return tonic.datasets.SSC(str(data), split=split, **{"transform": seeds_transform(), **fields})


def built(dataset: Any, store: Path | Store, transform: object = None, **options: Any) -> Any:
    name = options.pop("name", None)
    return preprocess(dataset, transform, store=store, workers=0, name=name, options=BuildOptions(**options))
