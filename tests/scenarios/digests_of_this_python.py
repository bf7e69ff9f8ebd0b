"""Build small feature sets and print their digests and the reasons of skipped recordings, as JSON.

Any Python that has the packages of the extra ``pipeline`` runs it: ``python digests_of_this_python.py FOLDER``, with
an empty folder. It imports neither pytest nor Tonic.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np

from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.demo.demo_data import write_demo_data
from spikestore.store_schemas.specs.transform import ExecutorName

FRAMES = {
    "by-time-window": "time_window = 4000\ninclude_incomplete = true",
    "by-time-bins": "n_time_bins = 50\noverlap = 0.25",
    "by-event-count": "event_count = 300\noverlap = 100",
    "by-event-bins": "n_event_bins = 40",
}
"""Two kinds of frames that the compiled pass computes, and two that NumPy computes."""

RECIPE = """
name = "{name}"
[source]
dataset = "SSC"
splits = ["train"]
on_error = "skip"
sort = {sort}
[[transform]]
op = "downsample"
spatial_factor = "100/700"
time_factor = 0.9
[[transform]]
op = "crop_time"
max = 7e5
[[transform]]
op = "to_frame"
sensor_size = [100, 1, 1]
{frames}
"""


def write_recordings(folder: Path) -> Path:
    """Write demo recordings in SSC's layout; three are invalid: times not sorted, an event outside the sensor, a time that is no number."""
    path = write_demo_data(folder, train=12, valid=1, test=1)["train"]
    with h5py.File(path, "r+") as file:
        times, units = file["spikes/times"], file["spikes/units"]
        times[3] = times[3][::-1]
        units[5] = np.full_like(units[5], 701)
        times[7] = np.where(np.arange(len(times[7])) == 4, np.float16("nan"), times[7])
    return folder


def digests(folder: Path, executor: ExecutorName = "auto") -> dict[str, list[str]]:
    """Return the digest and the reasons of each feature set that is built in `folder`."""
    data = write_recordings(folder / "data")
    options = BuildOptions(executor=executor)
    results: dict[str, list[str]] = {}
    for sort in ("false", "true"):
        for name, frames in FRAMES.items():
            recipe = folder / f"{name}-{sort}.toml"
            recipe.write_text(RECIPE.format(name=name, sort=sort, frames=frames), encoding="utf-8")
            built = preprocess(recipe, data=data, store=folder / "store", workers=0, options=options)
            features = built["train"]
            reasons = [skipped.reason for skipped in features.manifest.skipped]
            results[f"{name}, sort = {sort}"] = [features.digest, *reasons]
    return results


if __name__ == "__main__":
    os.environ["XDG_CACHE_HOME"] = str(Path(sys.argv[1]) / "cache")
    sys.modules["tonic"] = None  # type: ignore[assignment]  # an import of it fails
    print(json.dumps(digests(Path(sys.argv[1])), indent=1))  # noqa: T201
