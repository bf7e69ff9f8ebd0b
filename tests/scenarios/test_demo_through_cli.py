"""The main use through the command line: demo recordings are preprocessed and read, starting from an empty folder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tonic
from tests.scenarios.command_runs import (
    Commands,
    digests,
    ending,
    identities,
    records,
    wait_until,
    write_recipe,
)
from tests.scenarios.conftest import COUNTS, Built
from tests.scenarios.refusals import Run, well
from tonic.transforms import Compose, CropTime, Downsample, ToFrame

from spikestore.store.store import Store

HEAVY = ("dask", "distributed", "h5py", "tonic", "torch")


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """Return a folder for PYTHONPATH in which each heavy package leaves a mark, and can't be imported."""
    folder = tmp_path / "watched"
    folder.mkdir()
    mark = f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__ + chr(10))"
    for name in HEAVY:
        (folder / f"{name}.py").write_text(f"{mark}\nraise ModuleNotFoundError('not here', name={name!r})\n")
    return folder


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.slow), "valid", "test"])
def test_every_sample_is_tonics_own(built: Built, demo: Path, split: str) -> None:
    """Each sample of the store equals Tonic's dense output, integer for integer; so do label and classes."""
    dense_transform = Compose(
        [
            Downsample(spatial_factor=100 / 700),
            CropTime(max=1e6),
            ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
        ]
    )
    dataset = tonic.datasets.SSC(str(demo), split=split, transform=dense_transform)
    features = Store(built.store)[f"demo:{split}"]
    columns = features.read()
    offsets = columns.offsets()
    assert len(features) == len(dataset) == COUNTS[split]
    assert list(features.classes) == [name.decode() for name in dataset.classes]
    for row in range(len(dataset)):
        frames, label = dataset[row]
        stored = np.zeros((int(columns.n_bins[row]), *features.layout.sites), np.int64)
        place = slice(offsets[row], offsets[row + 1])
        stored.reshape(-1)[columns.index[place]] = columns.value[place]
        assert stored.shape == frames.shape
        np.testing.assert_array_equal(stored, frames)
        assert int(columns.label[row]) == int(label)
    np.testing.assert_array_equal(features.frames(3), dataset[3][0])


def test_the_first_run_reports_its_work(built: Built) -> None:
    """Progress with a rate, the lock, name, counts and digest of every split are on stderr; stdout is empty."""
    said = built.done.err
    assert built.done.out == ""
    assert "SSC train: 400 of 400 samples" in said
    assert "/s in" in said
    assert f"wrote {built.recipe.with_suffix('.lock')}" in said
    for split, digest in digests(built.store, "demo").items():
        assert f"demo:{split}" in said
        assert f"digest {digest[:12]}" in said
    for noise in ("Traceback", "Warning", "distributed", "tornado"):
        assert noise not in said


def test_ls_show_and_verify_agree_with_the_store(built: Built, run: Run) -> None:
    """Each command shows the set, in text and as JSON, and `verify --deep` finds nothing wrong."""
    store = ("--store", built.store)
    expected = digests(built.store, "demo")
    listed = well(run, "ls", *store, "--json").json["feature_sets"]
    assert {(one["name"], one["digest"], one["samples"]) for one in listed} == {
        (f"demo:{split}", expected[split], COUNTS[split]) for split in COUNTS
    }
    text = well(run, "ls", *store).out
    assert all(f"demo:{split}" in text and expected[split][:12] in text for split in COUNTS)
    (shown,) = well(run, "show", "demo:valid", *store, "--json").json
    assert (shown["digest"], shown["samples"]) == (expected["valid"], 70)
    assert shown["source"]["split"] == "valid"
    assert expected["train"] in well(run, "show", "demo", *store).out
    verified = well(run, "verify", "--deep", *store, "--json")
    assert verified.json["damage"] == []
    assert len(verified.json["feature_sets"]) == 3
    assert "verified 3 feature sets: no damage" in verified.err


def test_a_second_run_computes_nothing_says_so_and_imports_nothing_heavy(
    built: Built, commands: Commands, watched: Path, tmp_path: Path
) -> None:
    """The run succeeds where Tonic, Dask, HDF5 and torch can't be imported, touches no file, and prints JSON."""
    before = identities(sorted(path for path in built.store.rglob("*") if path.is_file()))
    done = commands.well(
        "preprocess", built.recipe, "--store", built.store, "--json", environment={"PYTHONPATH": str(watched)}
    )
    assert not (tmp_path / "imported").exists()
    for split in COUNTS:
        assert f"SSC {split} is in the store already" in done.err
    assert done.err.count("nothing to compute") == 3
    assert {split: one["digest"] for split, one in done.json["feature_sets"].items()} == digests(
        built.store, "demo"
    )
    assert identities(sorted(path for path in built.store.rglob("*") if path.is_file())) == before


def test_missing_packages_are_reported_with_their_extra(
    built: Built, commands: Commands, watched: Path, tmp_path: Path
) -> None:
    """If something must be computed, the same run imports these packages and names the extra of a missing one, so the test above can fail."""
    done = commands.run(
        "preprocess", built.recipe, "--store", "empty", environment={"PYTHONPATH": str(watched)}
    )
    assert done.status == 2
    assert done.err.strip().endswith(
        "spikestore preprocess needs the extra 'pipeline': pip install 'spikestore[pipeline]'"
    )
    assert (tmp_path / "imported").exists()
    assert not (tmp_path / "empty").exists()


def test_plan_says_what_would_be_computed_and_changes_nothing(
    built: Built, run: Run, demo: Path, tmp_path: Path
) -> None:
    """`plan` measures time and size for an empty store, shows what a filled one has, and writes no object."""
    recipe = write_recipe(tmp_path / "r.toml")
    planned = well(run, "plan", recipe, "--data", demo, "--store", "empty", "--workers", "2", "--json").json
    assert [row["state"] for row in planned["splits"]] == ["to compute"] * 3
    assert [row["recordings"] for row in planned["splits"]] == [400, 70, 70]
    stored = sum(path.stat().st_size for path in built.store.glob("features/*/*/builds/*/data.zarr/*/c/*"))
    assert sum(row["stored_bytes"] for row in planned["splits"]) == pytest.approx(stored, rel=0.3)
    assert all(0 < row["seconds"] < 60 for row in planned["splits"])
    assert planned["free_bytes"] > 0
    assert not (tmp_path / "empty").exists()
    done = well(run, "plan", built.recipe, "--store", built.store)
    assert done.out.count("in the store") == 3
    assert "nothing to compute" in done.err


def address_in(file: Path) -> str | None:
    """Return the scheduler's address in its file, or None as long as the file is not wholly written."""
    try:
        return str(json.loads(file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


@contextlib.contextmanager
def cluster(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a scheduler and two workers as somebody else would start them; yield the scheduler's address."""
    with contextlib.ExitStack() as processes:

        def start(*arguments: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dask",
                    *arguments,
                    "--scheduler-file",
                    str(folder / "scheduler.json"),
                ],
                env={**os.environ, **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            return processes.enter_context(ending(process))

        first = start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--dashboard-address=:0"
        )
        # Dask makes the file first and writes into it then.
        wait_until(lambda: address_in(folder / "scheduler.json") is not None, "the scheduler's file", first)
        for _ in range(2):
            start(
                "worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--dashboard-address=:0"
            )
        address = address_in(folder / "scheduler.json")
        assert address is not None
        yield address


@pytest.mark.slow
def test_an_existing_dask_cluster(
    built: Built, demo: Path, commands: Commands, environment: dict[str, str], tmp_path: Path
) -> None:
    """A scheduler and workers started by Dask's own commands give the digests of the local build."""
    recipe = write_recipe(commands.folder / "there.toml")
    with cluster(tmp_path, environment) as address:
        done = commands.well(
            "preprocess",
            recipe,
            "--data",
            demo,
            "--store",
            "store",
            "--scheduler",
            address,
            "--fragment-samples",
            "128",
        )
    assert digests(tmp_path / "store", "there") == digests(built.store, "demo")
    assert len(records(tmp_path / "store")) == 4 + 1 + 1
    for noise in ("Traceback", "Warning", "distributed", "tornado"):
        assert noise not in done.err
