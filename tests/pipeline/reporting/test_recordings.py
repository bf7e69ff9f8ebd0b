"""Facts of a report that come from the recordings: other bin widths, rasters, the grid of their times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.folders import recipe_for, write_tree

from spikestore.pipeline import BuildOptions, preprocess
from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.reporting.facts.set_facts import bin_ms
from spikestore.pipeline.reporting.recordings import Recordings
from spikestore.pipeline.reporting.report import make_report
from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import SourceError

FILES = ("a/1.npy", "a/2.npy", "b/1.npy")


def built(folder: Path, name: str, window: float) -> FeatureSet:
    """Build the recordings in a folder with bins of `window` µs, on times at half speed that are cropped at 15 ms."""
    recipe = recipe_for(folder / "data")
    before = [{"op": "downsample", "time_factor": 0.5}, {"op": "crop_time", "min": 100, "max": 7500}]
    frame = {"op": "to_frame", "sensor_size": [16, 12, 2], "time_window": window, "include_incomplete": True}
    fields = recipe.to_mapping() | {"name": name, "transform": [*before, frame]}
    options = BuildOptions(workers=0)
    sets = preprocess(type(recipe).from_mapping(fields, origin=name), store=folder / "store", options=options)
    [features] = sets.values()
    return features


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("recordings")
    return folder, write_tree(folder / "data", *FILES), built(folder, "whole", 1000.0)


def test_narrower_bins_are_those_of_a_set_of_its_own(made: Any) -> None:
    folder, _, features = made
    half = built(folder, "half", 500.0)
    with Recordings({"all": features}, folder / "data") as recordings:
        samples = recordings.samples("all", range(3), 0.5)
    columns = half.read()
    assert np.array_equal(np.concatenate([one.index for one in samples]), columns.index)
    assert np.array_equal(np.concatenate([one.value for one in samples]), columns.value)
    assert [one.n_bins for one in samples] == columns.n_bins.tolist()
    assert [one.label for one in samples] == columns.label.tolist()


def test_rasters_and_times(made: Any) -> None:
    """A raster begins with the first bin, and has the events that remain after the crop, in ms of the recording."""
    folder, events, features = made
    report = make_report("whole", {"all": features}, data=folder / "data")
    for shown in report.gallery:
        kept = events[FILES[shown.sample.row]]
        scaled = kept["t"] // 2  # downsampling truncates
        kept = kept[(scaled >= 100) & (scaled <= 7500)]
        assert shown.raster is not None
        assert np.array_equal(shown.raster.x, kept["x"])
        assert np.array_equal(shown.raster.p, kept["p"])
        assert np.allclose(shown.raster.ms, (kept["t"] - kept["t"][0]) / 1000)
        in_bins = np.bincount(
            (shown.raster.ms // report.document["bin_ms"]).astype(int), minlength=shown.sample.n_bins
        )
        by_bin = np.bincount(shown.sample.index // (2 * 12 * 16), shown.sample.value, shown.sample.n_bins)
        assert np.abs(in_bins[: len(by_bin)] - by_bin).max() <= 1  # an event at an edge, by truncation
    grid = report.document["time_grid"]["all"]
    rows = [one.sample.row for one in report.gallery]
    differences = np.concatenate([np.diff(np.unique(events[FILES[row]]["t"])) for row in rows])
    assert (grid["least"], grid["median"]) == (differences.min(), np.median(differences))
    assert grid["common_divisor"] == np.gcd.reduce(differences)
    assert report.document["bin_widths"]["from"] == "recordings"


def test_a_recording_without_events_has_no_time(tmp_path: Path) -> None:
    events = write_tree(tmp_path / "data", *FILES)
    silent = events[FILES[0]][:0]
    np.save(tmp_path / "data" / FILES[0], silent)
    features = built(tmp_path, "silent", 1000.0)
    with Recordings({"all": features}, tmp_path / "data") as recordings:
        alone, together = recordings.time_grid("all", [0]), recordings.time_grid("all", range(3))
    assert (alone["recordings"], alone["events"], alone["distinct_times"]) == (1, 0, 0)
    assert together["distinct_times"] == sum(len(np.unique(events[name]["t"])) for name in FILES[1:])


SIZE = {"sensor_size": [16, 12, 2]}
SKEWED = {"op": "time_skew", "coefficient": 2.0, "offset": 1000.0}
CENTRE = {"op": "center_crop", "sensor_size": [16, 12, 2], "size": [8, 6]}  # without some first events
WINDOWS = {"op": "to_frame", "time_window": 2000.0, "include_incomplete": True}
CHAINS: dict[str, list[dict[str, Any]]] = {
    "skewed": [SKEWED, {**WINDOWS, **SIZE, "start_time": 1000.0}],
    "aligned": [CENTRE, {"op": "time_alignment"}, {"op": "crop_time", "max": 9000.0}, {**WINDOWS, "sensor_size": [8, 6, 2], "start_time": 0.0}],
    "first event": [CENTRE, SKEWED, {**WINDOWS, "sensor_size": [8, 6, 2]}],
    "fixed_duration": [{"op": "fixed_duration", **SIZE, "duration": 3000}],
    "new events": [{"op": "event_downsampling", "sensor_size": [16, 12], "target_size": [4, 3], "dt": 0.5, "noise_threshold": 1}, {**WINDOWS, "sensor_size": [4, 3, 2], "start_time": 0.0}],
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_events_of_a_raster_are_in_the_bins_of_the_frames(made: Any, tmp_path: Path, name: str) -> None:
    """Whatever the transform does to times, the raster has the time axis of the frames, and the events that they count."""
    folder, _, _ = made
    fields = recipe_for(folder / "data").to_mapping() | {"transform": CHAINS[name]}
    recipe = Recipe.from_mapping(fields, origin=name)
    features = preprocess(recipe, store=tmp_path / "store", options=BuildOptions(workers=0))["all"]
    width = bin_ms(features.manifest.transform)
    assert width is not None
    with Recordings({"all": features}, folder / "data") as recordings:
        for row in range(3):
            raster, n_bins = recordings.raster("all", row), features.frames(row).shape[0]
            place = (raster.ms / width + 1e-9).astype(int)
            if name == "fixed_duration":
                place = np.minimum(place, n_bins - 1)
            counts = np.bincount(place, minlength=n_bins)
            assert counts[:n_bins].tolist() == features.frames(row).sum(axis=(1, 2, 3)).tolist()


def test_other_recordings_are_refused(made: Any, tmp_path: Path) -> None:
    write_tree(tmp_path, "a/9.npy", *FILES)
    with pytest.raises(SourceError):
        Recordings({"all": made[2]}, tmp_path)
