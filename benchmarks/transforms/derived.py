"""Comparisons with builds from the recordings: a coarse set is computed from a finer set, and a sweep builds several bin widths.

All builds run in one process, and all files are in the page cache.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from benchmarks.datasets.scale import Scale
from benchmarks.form import ROUNDS, Row, compare, timed
from spikestore.pipeline import BuildOptions, Recipe, preprocess
from spikestore.pipeline.building.feature_build import BuildRequest, open_build
from spikestore.pipeline.demo.demo_data import write_demo_data
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store import FeatureSet, Store
from spikestore.store.columns.event_counts import count_events

FINE, COARSE = (700, 1000), (100, 4000)
"""Number of channels, and length of a time bin in µs."""

WIDTHS = (2000, 4000, 5000, 8000, 10_000)
"""Lengths of the time bins of a sweep with 100 channels, in µs."""


def derive(scale: Scale) -> Row:
    """Deriving a set of 4 ms × 100 channels from a set of 1 ms × 700 channels, against building it from the recordings."""
    data, count = _demo_data(scale.scratch, scale.recordings or (500 if scale.small else 2000))
    fine, coarse = (_recipe(data, channels, (width,)) for channels, width in (FINE, COARSE))
    row = Row("derive 4 ms x 100 from 1 ms x 700 vs build it", 0.8)
    with scale.folder() as folder:
        _build(fine, folder / "derived")
        transform = coarse.transform_spec()

        def one(store: Path, *, derives: bool) -> float:
            seconds = timed(lambda: _build(coarse, store, derives=derives))
            (features,) = Store(store).splits(coarse.name).values()
            if ("derived_from" in features.manifest.provenance) != derives:
                raise SystemExit(
                    f"{coarse.name} was {'not ' if derives else ''}derived: this row would compare a build with itself"
                )
            shutil.rmtree(store / "features" / transform.key)
            shutil.rmtree(store / "refs" / coarse.name)
            return count / seconds

        return compare(
            row,
            lambda: one(folder / "derived", derives=True),
            lambda: one(folder / "built", derives=False),
            unit="recordings/s",
        )


def sweep(scale: Scale) -> Row:
    """Time to build five sets with five widths of time bins in one pass over the recordings, divided by the time of five builds."""
    data, _ = _demo_data(scale.scratch, scale.recordings or (500 if scale.small else 2000))
    together, alone = _recipe(data, 100, WIDTHS), [_recipe(data, 100, (width,)) for width in WIDTHS]
    row = Row("five widths in one pass vs five builds, time", 0.95, better="lower")

    def one(recipes: list[Recipe]) -> float:
        with scale.folder() as folder:
            store = folder / "store"
            return sum(timed(functools.partial(_build, recipe, store)) for recipe in recipes)

    return compare(row, lambda: one([together]), lambda: one(alone), unit="s")


def sweep_bound(scale: Scale) -> Row:
    """Time to encode and store the rows of five sets, divided by the time of five builds.

    One pass that builds all five sets needs the same encoding and storing. So the row of this pass cannot be below this ratio.
    """
    data, _ = _demo_data(scale.scratch, scale.recordings or (500 if scale.small else 2000))
    located = make_source("SSC", "train", data)
    alone = [_recipe(data, 100, (width,)) for width in WIDTHS]
    row = Row("five widths in one pass, bound: encoding and storing them, time", better="lower")
    for _ in range(ROUNDS):
        with scale.folder() as folder:
            builds = sum(timed(functools.partial(_build, recipe, folder / "store")) for recipe in alone)
            sets = [Store(folder / "store").splits(recipe.name)["train"] for recipe in alone]
            stored = sum(timed(_storing(features, located, Store(folder / "again"))) for features in sets)
        row.ratios.append(stored / builds)
    return row


def _storing(features: FeatureSet, located: LocatedSource, store: Store) -> Callable[[], FeatureSet]:
    """Return a function that stores the decoded rows of a set in another store."""
    manifest = features.manifest
    build = open_build(store.storage, located, manifest.transform, BuildRequest())
    spans = [build.plan.rows(fragment) for fragment in range(build.plan.fragments)]
    decoded = [features.read(rows.start, rows.stop) for rows in spans]

    def run() -> FeatureSet:
        for fragment, columns in enumerate(decoded):
            build.put_fragment(fragment, columns, events=count_events(columns))
        return build.commit(manifest.transform, manifest.source, manifest.provenance)

    return run


@cache
def _demo_data(scratch: Path, count: int) -> tuple[Path, int]:
    """Write `count` recordings of the demo, unless an earlier call has written them; return their folder and `count`."""
    write_demo_data(scratch / "demo", train=count, valid=1, test=1)
    return scratch / "demo", count


def _recipe(data: Path, channels: int, widths: tuple[int, ...]) -> Recipe:
    """Return the recipe of the demo recordings; with several widths, a sweep."""
    frame = {
        "op": "to_frame",
        "sensor_size": [channels, 1, 1],
        "time_window": widths[0],
        "include_incomplete": True,
    }
    shrink = [{"op": "downsample", "spatial_factor": channels / 700}] if channels < 700 else []
    sweeps = [{"suffix": f"{width}us", "to_frame": {"time_window": width}} for width in widths]
    return Recipe.from_mapping(
        {
            "name": f"demo-{channels}-{widths[0]}",
            "source": {"dataset": "SSC", "data": str(data), "splits": ["train"]},
            "transform": [*shrink, {"op": "crop_time", "max": 1e6}, frame],
            "sweep": sweeps if len(widths) > 1 else [],
        },
        origin="benchmark",
    )


def _build(recipe: Recipe, store: Path, *, derives: bool = False) -> None:
    preprocess(recipe, store=store, workers=0, options=BuildOptions(derive=derives))


ROWS = [derive, sweep, sweep_bound]
"""The rows of this module."""
