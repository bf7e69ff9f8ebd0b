"""Sets of real numbers, from a recipe to batches; what needs counts of events rejects them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.folders import draw, save, write_tree
from tests.site.pictures import AUGMENTATIONS
from tonic import transforms

from spikestore.pipeline import export
from spikestore.store import FeatureSet, Store, verify
from spikestore.store.cli.main import main
from spikestore.store_schemas.errors import UsageError
from spikestore.train import FeatureDataset, FeatureLoader
from spikestore.train.data.augmentation.additions import Blend, CutMix, EventMix, UniformNoise
from spikestore.train.data.augmentation.choice import OneOf
from spikestore.train.data.augmentation.moves import TimeShift
from spikestore.train.data.augmentation.removals import EventThinning
from spikestore.train.data.augmentation.tables import augmentations_of, checked_tables

SIZE = (16, 12, 2)
RECIPE = """name = "grids"
[source]
dataset = "folder"
data = "data"
[[transform]]
op = "to_voxel_grid"
sensor_size = [16, 12, 2]
n_time_bins = 4
"""


def draw_dense(path: Path, seed: int) -> None:
    """Write a recording with many events."""
    save(path, draw(seed, 8000))


class Built(NamedTuple):
    """A set of voxel grids, and the frames that it should have."""

    features: FeatureSet
    frames: list[npt.NDArray[np.float32]]
    root: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a set that the command built from a recipe; `p` is bool in its files."""
    root = tmp_path_factory.mktemp("float")
    recordings = write_tree(
        root / "data", *(f"{label}/{number}.npy" for label in "ab" for number in range(5))
    )
    (root / "grids.toml").write_text(RECIPE, encoding="utf-8")
    assert (
        main(["preprocess", str(root / "grids.toml"), "--store", str(root / "store"), "--workers", "0"]) == 0
    )
    whole = [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")]
    grid = transforms.ToVoxelGrid(SIZE, 4)
    frames = [grid(events.astype(whole)).astype(np.float32) for events in recordings.values()]
    return Built(Store(root / "store")["grids:all"], frames, root)


@pytest.mark.parametrize("residence", ["host", "stream", "device"])
def test_batches_are_tonics_frames(built: Built, residence: Any) -> None:
    batches = [*FeatureLoader(built.features, 4, residence, shuffle=True, pad_to=6)]
    assert sorted(row for batch in batches for row in batch.samples.tolist()) == [*range(10)]
    for frames, _, lengths, rows in batches:
        assert frames.shape[1:] == (6, 1, 12, 16)
        assert set(lengths.tolist()) == {4}
        for sample, row in zip(frames.numpy(), rows.tolist(), strict=True):
            np.testing.assert_array_equal(sample[:4], built.frames[row])
            assert not sample[4:].any()


NEED_COUNTS = {"event_thinning", "uniform_noise", "blend", "cut_mix", "event_mix"}


@pytest.mark.slow  # the compiled loop for float32 takes seconds to compile
@pytest.mark.parametrize(
    "table", [one for one in AUGMENTATIONS if one["op"] not in NEED_COUNTS], ids=lambda one: one["op"]
)
def test_augmentations_move_and_drop_real_numbers(built: Built, table: dict[str, Any]) -> None:
    """The compiled loop gives the frames of the operations of torch, and negative values stay negative."""
    augment = augmentations_of(checked_tables(table), seed=1)
    dense = [*FeatureLoader(built.features, 4, augment=augment)]
    sparse = [*FeatureLoader(built.features, 4, augment=augment, frames="sparse_coo")]
    for one, other in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(one.frames.numpy(), other.frames.to_dense().numpy(), rtol=1e-5, atol=1e-6)
    assert min(float(batch.frames.min()) for batch in dense) < 0


def test_other_readers_have_the_same_values(built: Built, tmp_path: Path) -> None:
    features, items = built.features, FeatureDataset(built.features)
    export(features, tmp_path / "out", "npz")
    files = {int(path.stem): path for path in (tmp_path / "out").rglob("*.npz")}
    for row, frames in enumerate(built.frames):
        with np.load(files[row]) as arrays:
            exported = arrays["frames"]
        for read in (features.frames(row), np.asarray(items[row][0]), exported):
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read, frames)


def test_the_set_is_whole_and_shown(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    largest = max(float(abs(frames).max()) for frames in built.frames)
    assert built.features.manifest.max_value == largest
    assert verify(built.features, depth="deep") == []
    assert main(["show", "grids:all", "--store", str(built.root / "store")]) == 0
    shown = capsys.readouterr().out
    assert f"largest value {largest:g}" in shown
    assert "value float32" in shown
    assert "absolute values, 0 to 4 bins" in shown


@pytest.mark.parametrize(
    "augment",
    [
        EventThinning(0.1),
        UniformNoise(3),
        Blend(),
        CutMix(),
        EventMix(),
        OneOf((TimeShift(1), UniformNoise(3))),
    ],
    ids=lambda one: type(one).__name__,
)
def test_augmentations_of_counts_are_rejected(built: Built, augment: Any) -> None:
    words = f"{type(augment).__name__} needs counts of events, but the values of this set are real numbers, made by to_voxel_grid: remove this augmentation"
    with pytest.raises(UsageError, match=words):
        FeatureLoader(built.features, 4, augment=augment)


def test_rebinning_is_rejected(built: Built) -> None:
    with pytest.raises(
        UsageError, match="its values are real numbers of to_voxel_grid, and only counts can be summed"
    ):
        FeatureLoader(built.features, 4, rebin=(2, 1))


def test_import_is_rejected(
    built: Built, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.root)
    arguments = ["import", "cache", "--recipe", "grids.toml", "--split", "all", "--store", "store"]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "an imported set has counts of events, but to_voxel_grid of the recipe gives real numbers" in line


def test_the_command_reports_real_numbers(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "grids", "--json", "--store", str(built.root / "store")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["real_numbers"] == "to_voxel_grid"
    assert sum(row["non_zeros"] for row in document["real_values"]) == built.features.manifest.nnz


def test_a_dense_set_is_reported(
    built: Built, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time surface of 20 ms with a long decay keeps every pixel that had an event."""
    monkeypatch.chdir(built.root)
    for number in range(4):
        draw_dense(Path("dense") / "a" / f"{number}.npy", number)
    surfaces = RECIPE.replace("grids", "surfaces").replace('"data"', '"dense"')
    surfaces = surfaces.replace('"to_voxel_grid"', '"to_timesurface"').replace(
        "n_time_bins = 4", "dt = 1000\ntau = 1e6"
    )
    Path("surfaces.toml").write_text(surfaces, encoding="utf-8")
    assert main(["preprocess", "surfaces.toml", "--store", "dense-store", "--workers", "0"]) == 0
    printed = capsys.readouterr().err
    assert printed.count("of the values in its frames are not 0: in memory, the set takes 1.4") == 1
