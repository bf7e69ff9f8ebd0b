"""Without Tonic: every recipe is built, also in worker processes; executor = "tonic" is rejected in one line."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_dataset, write_file
from tests.scenarios.command_runs import Commands
from tests.scenarios.refusals import Run, build, refused

from spikestore.pipeline.transforms import choose
from spikestore.store.store import Store
from spikestore.store_schemas.errors import MissingExtraError
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

RECIPE = """
name = "r"
[source]
dataset = "SSC"
splits = ["train"]
on_error = "skip"
sort = {sort}
[[transform]]
op = "to_frame"
sensor_size = [700, 1, 1]
{frames}
[build]
executor = "{executor}"
"""

REMEDY = "pip install 'spikestore[tonic]' && pip install --no-deps tonic importRosbag"


def write_recipe(
    path: Path, *, frames: str = "event_count = 10", sort: str = "false", executor: str = "auto"
) -> Path:
    path.write_text(RECIPE.format(frames=frames, sort=sort, executor=executor), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("frames", "sort"),
    [pytest.param("event_count = 10", "true", marks=pytest.mark.slow), ("time_window = 4000", "false")],
)
def test_workers_build_without_tonic(
    tmp_path: Path, environment: dict[str, str], data: Path, frames: str, sort: str
) -> None:
    """Worker processes build frames by event counts, unsorted recordings, and skipped recordings with their reasons."""
    (tmp_path / "none").mkdir()
    missing = 'raise ModuleNotFoundError("No module named \'tonic\'", name="tonic")\n'
    (tmp_path / "none" / "tonic.py").write_text(missing, encoding="utf-8")
    recordings = draw(130)
    recordings[1] = (np.array([0.5, 0.25], np.float16), np.array([1, 2], np.uint16))
    write_file(data / "SSC" / "ssc_train.h5", recordings)
    recipe = write_recipe(tmp_path / "r.toml", frames=frames, sort=sort)
    path = os.pathsep.join([str(tmp_path / "none"), environment["PYTHONPATH"]])
    commands = Commands(tmp_path, {**environment, "PYTHONPATH": path})
    commands.well("preprocess", recipe, "--data", data, "--store", "store", "--workers", "2")
    features = Store(tmp_path / "store")["r:train"]
    reasons = [skipped.reason for skipped in features.manifest.skipped]
    assert len(reasons) == (0 if sort == "true" else 1)
    assert all("recording 1, event 1" in reason and "times are not sorted" in reason for reason in reasons)


def test_the_tonic_executor_is_refused_with_the_remedy(
    run: Run, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tonic", None)
    recipe = write_recipe(tmp_path / "r.toml", executor="tonic")
    refused(build(run, recipe), 2, 'executor = "tonic" needs tonic, which is not installed', REMEDY)


def test_a_package_that_tonic_imports_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `pip install --no-deps tonic`, the error names the missing package that Tonic imports."""
    monkeypatch.delitem(sys.modules, "spikestore.pipeline.transforms.tonic_chain", raising=False)
    monkeypatch.setitem(sys.modules, "tonic.slicers", None)
    transform = Transform(operations=(ToFrame(sensor_size=(2, 1, 1), event_count=1),))
    with pytest.raises(
        MissingExtraError, match=r"needs tonic\.slicers, which is not installed: run pip install"
    ) as caught:
        choose.block_chain(transform, "tonic", has_y=False)
    assert caught.value.details == {"extra": "tonic", "module": "tonic.slicers"}
    monkeypatch.undo()
    importlib.import_module("spikestore.pipeline.transforms.tonic_chain")


def test_frames_by_event_count_are_refused_by_the_fused_executor(
    run: Run, tmp_path: Path, data: Path
) -> None:
    write_dataset(tmp_path / "data", "SSC")
    recipe = write_recipe(tmp_path / "r.toml", executor="fused")
    refused(build(run, recipe), 2, "got event_count: omit executor")
