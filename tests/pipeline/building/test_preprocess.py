"""`preprocess` computes feature sets from a Tonic data set or a recipe, once."""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic
from tests.pipeline.cochlea_files import SPLITS, write_dataset
from tests.pipeline.event_files import pack, write_nmnist
from tests.pipeline.small_builds import built, seeds_transform, ssc, write_recipe, write_ssc

from spikestore.pipeline.building import missing_sets
from spikestore.pipeline.building.options import BuildOptions
from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.readers import event_block
from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store.feature_set import FeatureSet
from spikestore.store.store import Store
from spikestore.store_schemas.specs.operations import ToFrame, ToVoxelGrid
from spikestore.store_schemas.specs.transform import Transform

# The seed's own lines, then ours. There is no main guard, on purpose.
SCRIPT = """
from tonic import transforms
import tonic

dt = 4000
encoding_dim = 100
dense_transform = transforms.Compose(
    [
        transforms.Downsample(spatial_factor=encoding_dim / 700),
        transforms.CropTime(max=1e6),
        transforms.ToFrame(sensor_size=(encoding_dim, 1, 1), time_window=dt, include_incomplete=True),
    ]
)
dense_dataset = tonic.datasets.SSC("./data", split="train", transform=dense_transform)

from spikestore.pipeline import preprocess

print("once")
features = preprocess(dense_dataset, store="store", name="ssc", workers=1)
print(len(features), features.digest)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_ssc(tmp_path / "data")


@pytest.fixture
def recipe(tmp_path: Path, data: Path) -> Path:
    return write_recipe(tmp_path)


@pytest.mark.slow
def test_the_seeds_script_without_a_main_guard(tmp_path: Path, data: Path) -> None:
    """Run as a plain file with a local worker, each line runs once, nothing else is printed, and the digest is right."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "no_torch").mkdir()  # Tonic does without, and starts sooner
    (tmp_path / "no_torch/torch.py").write_text("raise ModuleNotFoundError('none here', name='torch')")
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "no_torch")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = built(ssc(data), tmp_path / "other")
    assert done.stdout.splitlines() == ["once", f"150 {expected.digest}"]
    assert Store(tmp_path / "store")["ssc:train"].digest == expected.digest


def test_a_tonic_dataset_results_in_tonics_frames(tmp_path: Path, data: Path) -> None:
    """Every row, empty recordings too, is what the data set itself returns, where Tonic is well-defined."""
    dataset = ssc(data, "valid")
    features = built(dataset, tmp_path / "store")
    bare = ssc(data, "valid", transform=None)
    for row in range(len(bare)):
        if len(bare[row][0]):
            frames, label = dataset[row]
            np.testing.assert_array_equal(features.frames(row), frames)
            assert features.read(row, row + 1).label[0] == label
        else:
            assert features.frames(row).shape == (1, 1, 100)
            assert not features.frames(row).any()


@pytest.mark.parametrize("dataset", ["SSC", "SHD"])
def test_a_recipe_describes_one_set_per_split(tmp_path: Path, dataset: str) -> None:
    """A set for each split, in the data set's order, under the recipe's name, with the digests of single builds; SHD too."""
    write_dataset(tmp_path / "data", dataset)
    path = write_recipe(tmp_path, dataset)
    found = preprocess(path, store=tmp_path / "store", workers=0)
    assert list(found) == list(SPLITS[dataset])
    store = Store(tmp_path / "store")
    assert {split: one.digest for split, one in store.splits("speech").items()} == {
        split: one.digest for split, one in found.items()
    }
    kind = getattr(tonic.datasets, dataset)
    for split, features in found.items():
        which = {"split": split} if dataset == "SSC" else {"train": split == "train"}
        alone = built(kind(str(tmp_path / "data"), **which, transform=seeds_transform()), tmp_path / "alone")
        assert (alone.address, alone.digest) == (features.address, features.digest)
        assert "speaker" in features.read().extras


def test_names(tmp_path: Path, data: Path, recipe: Path) -> None:
    """A data set is named only on request; splits of one name are added to it; name= takes precedence over the recipe's."""
    store = Store(tmp_path / "store")
    built(ssc(data), store)
    assert store.names() == []
    built(ssc(data), store, name="mine")
    built(ssc(data, "test"), store, name="mine")
    assert set(store.splits("mine")) == {"train", "test"}
    preprocess(recipe, store=store, workers=0, name="yours")
    assert store.names() == ["mine", "yours"]


def test_a_recipe_object_leaves_no_lock(tmp_path: Path, recipe: Path, data: Path) -> None:
    """A `Recipe` builds the same sets as its file; only the file gets a lock."""
    found = preprocess(load_recipe(recipe), store=tmp_path / "store", data=data, workers=0)
    assert not (tmp_path / "r.lock").exists()
    again = preprocess(str(recipe), store=str(tmp_path / "store"))
    assert {split: one.digest for split, one in again.items()} == {
        split: one.digest for split, one in found.items()
    }
    assert (tmp_path / "r.lock").exists()


def test_sets_in_the_store_are_returned_immediately(
    tmp_path: Path,
    data: Path,
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is built again, for a data set or a recipe; only missing sets are."""
    store = Store(tmp_path / "store")
    first = built(ssc(data), store)
    wanted: list[str] = []
    build = missing_sets._build

    def noted(targets: list[RequestedSet], *rest: Any) -> dict[str, FeatureSet]:
        wanted.extend(target.split for target in targets)
        return build(targets, *rest)

    monkeypatch.setattr(missing_sets, "_build", noted)
    with caplog.at_level(logging.INFO, "spikestore"):
        second = built(ssc(data), store)
    assert (second.digest, wanted) == (first.digest, [])
    assert "nothing to compute" in caplog.text
    preprocess(recipe, store=store, workers=0)
    assert wanted == ["valid", "test"]


def test_the_default_store(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$SPIKESTORE_STORE, else the user's data folder."""
    monkeypatch.setenv("SPIKESTORE_STORE", str(tmp_path / "chosen"))
    assert preprocess(ssc(data, "test"), workers=0).storage.url == str(tmp_path / "chosen")
    monkeypatch.delenv("SPIKESTORE_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert preprocess(ssc(data, "test"), workers=0).storage.url == str(tmp_path / "share/spikestore/store")


@pytest.mark.parametrize("rows", [1, 64, 100, 192, 1000])
def test_fragments_never_change_the_digest(tmp_path: Path, data: Path, rows: int) -> None:
    """Keys and digest do not depend on the fragments; fragments have the requested size."""
    plain = built(ssc(data), tmp_path / "plain")
    other = built(ssc(data), tmp_path / "other", fragment_samples=rows)
    assert (other.address, other.digest) == (plain.address, plain.digest)
    assert other.manifest.fragment_samples == -(-rows // 64) * 64


@pytest.mark.usefixtures("few_events")
def test_few_events_give_the_same_set(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest says which code computed the set; the compiled code can be requested."""
    few = built(ssc(data), tmp_path / "few")
    asked = built(ssc(data), tmp_path / "asked", executor="fused")
    monkeypatch.setattr(event_block, "FEW_EVENTS", few.manifest.events.n_events)
    many = built(ssc(data), tmp_path / "many")
    executors = [features.manifest.provenance["executor"] for features in (few, asked, many)]
    assert executors == ["numpy", "fused", "fused"]
    assert few.digest == asked.digest == many.digest


@pytest.mark.slow
def test_a_small_build_loads_only_what_it_needs(tmp_path: Path, recipe: Path) -> None:
    """Numba would take longer to start than NumPy takes for a few recordings, with threads and in the process itself."""
    script = (
        "import sys\nfrom spikestore.pipeline import preprocess\n"
        "for name, workers in (('a', None), ('b', 0)):\n"
        "    preprocess(sys.argv[1], store=f'{sys.argv[2]}/{name}', workers=workers)\n"
        "others = {'numba', 'dask', 'distributed', 'zarr', 'numcodecs', 'obstore', 'tonic', 'rich', 'html'}\n"
        "others.add('spikestore.pipeline.readers.formats.built_in')\n"
        "loaded = others & set(sys.modules)\n"
        "sys.exit(f'imported {loaded}' if loaded else 0)\n"
    )
    call = [sys.executable, "-c", script, str(recipe), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_with_nothing_to_do_imports_no_numpy(tmp_path: Path, recipe: Path) -> None:
    """NumPy takes a quarter of such a run, and only reading rows and building need it."""
    preprocess(recipe, store=tmp_path / "store", workers=0)
    script = (
        "import sys\nfrom spikestore.store.cli.main import main\n"
        "status = main(['preprocess', sys.argv[1], '--store', sys.argv[2]])\n"
        "heavy = {'numpy', 'xxhash', 'google_crc32c', 'h5py', 'zarr', 'dask'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else status)\n"
    )
    call = [sys.executable, "-c", script, str(recipe), str(tmp_path / "store")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_recipes_build_table_is_honoured(tmp_path: Path, recipe: Path) -> None:
    """fragment_samples of the recipe is used, unless the caller passes another value."""
    recipe.write_text(recipe.read_text() + "[build]\nfragment_samples = 128\n")
    found = preprocess(recipe, store=tmp_path / "a", workers=0)
    assert found["train"].manifest.fragment_samples == 128
    found = preprocess(recipe, store=tmp_path / "b", workers=0, options=BuildOptions(fragment_samples=64))
    assert found["train"].manifest.fragment_samples == 64


def test_events_in_no_bin_are_warned_of(tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Above 5 % of a recording's events there is a warning with the number of recordings; below there is none."""

    def frames(window: float) -> Transform:
        return Transform(operations=(ToFrame(sensor_size=(700, 1, 1), time_window=window),))

    source = make_source("SSC", "train", data)
    lossy = built(source, tmp_path / "store", frames(3e5))
    columns = lossy.read()
    share = columns.extras["n_dropped"] / np.maximum(columns.extras["n_events"], 1)
    assert lossy.manifest.events.lossy_samples == np.count_nonzero(share > 0.05) > 0
    (warning,) = (one.getMessage() for one in caplog.records if one.levelno == logging.WARNING)
    assert (
        f"{lossy.manifest.events.lossy_samples} of 150 recordings lost more than 5 % of their events"
        in warning
    )
    assert warning.endswith(
        "events after the last complete bin are in no time bin and are dropped; see the column 'n_dropped' of the set"
    )
    caplog.clear()
    complete = Transform(
        operations=(ToFrame(sensor_size=(700, 1, 1), time_window=3e5, include_incomplete=True),)
    )
    assert built(source, tmp_path / "store", complete).manifest.events.lossy_samples == 0
    assert not [one for one in caplog.records if one.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("times", "where"),
    [
        ({"end_time": 3e5, "include_incomplete": True}, "after the last bin"),
        ({"start_time": 2e5, "include_incomplete": True}, "before start_time and after the last bin"),
        ({"start_time": 2e5}, "before start_time and after the last complete bin"),
    ],
)
def test_the_warning_names_the_times_of_events_in_no_bin(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture, times: dict[str, Any], where: str
) -> None:
    """With `include_incomplete`, the last bin need not be complete; with `start_time`, earlier events are in no bin either."""
    frames = ToFrame(sensor_size=(700, 1, 1), time_window=1e5, **times)
    built(make_source("SSC", "train", data), tmp_path / "store", Transform(operations=(frames,)))
    (warning,) = (one.getMessage() for one in caplog.records if "of their events" in one.getMessage())
    assert f"as in Tonic, events {where} are in no time bin and are dropped; see the column" in warning


def test_events_in_no_bin_of_a_voxel_grid_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bins cover the whole recording, and only events at the time of the last event are dropped."""
    digits = write_nmnist(tmp_path, per_class=1)
    (digits / "Train/1/00000.bin").write_bytes(pack([(0, 0, 0, 0), *[(1, 1, 1, 900)] * 3]))
    grid = Transform(operations=(ToVoxelGrid(sensor_size=(34, 34, 2), n_time_bins=3),))
    built(make_source("NMNIST", "train", tmp_path), tmp_path / "store", grid)
    (warning,) = (one.getMessage() for one in caplog.records if "of their events" in one.getMessage())
    assert "1 of 10 recordings lost more than 5 %" in warning
    assert warning.endswith(
        "events at the time of the last event are in no time bin and are dropped; see the column 'n_dropped' of the set"
    )


def test_provenance_names_no_user_host_or_path(tmp_path: Path, data: Path, recipe: Path) -> None:
    """The provenance says how a set was built, not by whom or where."""
    preprocess(recipe, store=tmp_path / "store", workers=0)
    for path in (tmp_path / "store").rglob("*.json"):
        text = path.read_text()
        for private in (
            socket.gethostname(),
            getpass.getuser(),
            str(tmp_path),
            str(Path.home()),
            str(Path.cwd()),
        ):
            assert not re.search(rf"(?<![\w.]){re.escape(private)}(?!\w)", text), (path.name, private)
    features = Store(tmp_path / "store")["speech:train"]
    assert json.loads(json.dumps(features.manifest.provenance)).keys() == {
        "created",
        "executor",
        "packages",
        "python",
        "reused_fragments",
        "seconds",
        "workers",
    }


def test_a_restart_builds_anew(tmp_path: Path, data: Path) -> None:
    """With restart=True an interrupted build is ignored; without it the build is resumed."""

    def stop(done: int, total: int, label: str) -> None:
        if done == 128:
            raise KeyboardInterrupt

    digest = built(ssc(data), tmp_path / "plain").digest
    for restart, reused in ((False, 2), (True, 0)):
        store = Store(tmp_path / f"store-{restart}")
        with pytest.raises(KeyboardInterrupt):
            built(ssc(data), store, fragment_samples=64, progress=stop)
        features = built(ssc(data), store, fragment_samples=64, restart=restart)
        assert features.manifest.provenance["reused_fragments"] == reused
        assert features.digest == digest
