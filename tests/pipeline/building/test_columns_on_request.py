"""Optional columns of a recipe: they are stored on request; without a request, keys and digests are unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest
from tests.pipeline.event_files import write_dvsgesture, write_nmnist
from tests.pipeline.folders import draw, recipe_for, save

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.exporting.export import export
from spikestore.pipeline.reporting.report import make_report
from spikestore.store import Store
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import LayoutError, SpecError
from spikestore.store_schemas.layout import EXTRAS
from spikestore.store_schemas.specs.folder import RESERVED_COLUMNS

# Source key and digest of version 0.1.0.dev0 before there were columns on request.
PINNED = {
    "DVSGesture": (
        "1d75ad3372e698f5c27c4d92726d1e69d38c6b1844a27d2d0b3f8cb7ca625256",
        "470f84b04dbfa2af8a6cbad541938cafeccf037a31844c8b707bdef13b9279ca",
    ),
    "NMNIST": (
        "795f4c1f6b828fe2944e58b043a7fe3a513af6f297c718427d84287c2c89902a",
        "2ba7c44edb9e538a77d97f49cafc7c3b80fe7bf69dfce121f04dec491fbbc71f",
    ),
}
SENSOR = {"DVSGesture": 128, "NMNIST": 34}


def build(folder: Path, dataset: str, columns: str = "") -> FeatureSet:
    """Build the train split from a recipe."""
    recipe = folder / f"r{len(columns)}.toml"
    text = f'name = "{recipe.stem}"\n[source]\ndataset = "{dataset}"\ndata = "data"\nsplits = ["train"]\n{columns}\n'
    size = SENSOR[dataset]
    text += f'[[transform]]\nop = "to_frame"\nsensor_size = [{size}, {size}, 2]\ntime_window = 10000\n'
    recipe.write_text(text, encoding="utf-8")
    return preprocess(recipe, store=folder / "store", workers=0)["train"]


@pytest.mark.parametrize(
    "dataset",
    [pytest.param(name, marks=pytest.mark.slow) if name == "DVSGesture" else name for name in PINNED],
)
def test_keys_and_digests_without_columns_stay(tmp_path: Path, dataset: str) -> None:
    """Without columns, keys and digests of data sets with one file per recording stay the same, to the bit."""
    write_dvsgesture(tmp_path / "data")
    write_nmnist(tmp_path / "data")
    features = build(tmp_path, dataset)
    assert (features.address.source_key, features.digest) == PINNED[dataset]


def test_users_of_dvsgesture(tmp_path: Path) -> None:
    """With the column user, the set has another address, the same samples and the users; the lock finds it without recordings."""
    root = write_dvsgesture(tmp_path / "data")
    plain, asked = build(tmp_path, "DVSGesture"), build(tmp_path, "DVSGesture", 'columns = ["user"]')
    assert asked.address != plain.address
    assert asked.manifest.source.columns == ("user",)
    assert asked.read().extras["user"].tolist() == [2, 2, 2, 10, 10, 10]
    assert "user" not in plain.read().extras
    assert (asked.read().value == plain.read().value).all()
    assert verify(Store(tmp_path / "store")["r18:train"], depth="deep") == []
    root.rename(tmp_path / "gone")
    assert build(tmp_path, "DVSGesture", 'columns = ["user"]').digest == asked.digest


def test_a_column_that_does_not_exist(tmp_path: Path) -> None:
    """It is reported as a problem of the recipe, with the existing columns."""
    write_dvsgesture(tmp_path / "data")
    with pytest.raises(SpecError, match=r"source\.columns: DVSGesture has no column 'users' .*: it has user"):
        build(tmp_path, "DVSGesture", 'columns = ["users"]')


TABLE = "file,label,user,trial,hand,place\n" + "".join(
    f"{row}.npy,{'left' if row % 2 else 'right'},{row // 3},{row % 4 - 1},{row},lab\n" for row in range(8)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of eight recordings with a table; recording 5 cannot be read."""
    for row in range(8):
        save(tmp_path / f"data/{row}.npy", draw(row))
    (tmp_path / "data/5.npy").write_bytes(b"no array")
    (tmp_path / "data/labels.csv").write_text(TABLE)
    return tmp_path


def build_folder(folder: Path, *columns: str, **source: Any) -> FeatureSet:
    """Build the set of a folder with its table."""
    recipe = recipe_for(
        folder / "data", {"columns": [*columns], "on_error": "skip", **source}, table="labels.csv"
    )
    return preprocess(recipe, store=folder / "store", workers=0, move=True)["all"]


def test_any_column_of_a_folder_is_kept(folder: Path) -> None:
    """Values of a column are in the source: arrays and digest are those of a set without it, which every reader of format 1 reads."""
    plain, asked = build_folder(folder, "user"), build_folder(folder, "user", "trial", "hand")
    assert asked.address.source_key != plain.address.source_key
    assert (asked.digest, asked.layout) == (plain.digest, plain.layout)
    assert documents(asked.root).keys() == documents(plain.root).keys()
    assert verify(asked, depth="deep") == []
    expected = {"user": [0, 0, 0, 1, 1, 0, 2, 2], "trial": [-1, 0, 1, 2, -1, 0, 1, 2]}
    expected["hand"] = [0, 1, 2, 3, 4, 0, 6, 7]
    for name, values in expected.items():
        assert asked.column(name).tolist() == values, "0 for the recording that was skipped"
    assert build_folder(folder, "trial", limit=3).column("trial").tolist() == [-1, 0, 1]
    kept = [row for row in range(8) if row != 5]
    export(asked, folder / "out", "hdf5")
    with h5py.File(folder / "out/all.h5") as file:
        assert {name: file[name][:].tolist() for name in expected} == {
            name: [values[row] for row in kept] for name, values in expected.items()
        }
    assert make_report("mine", {"all": build_folder(folder, "trial")}).document["groups"]["column"] == "trial"


def test_columns_that_cannot_be_kept(folder: Path) -> None:
    """Columns of texts, and columns with the name of a column of the set, are rejected."""
    with pytest.raises(
        LayoutError, match=r"0\.npy has place = 'lab': .* Write numbers instead, or do not list place"
    ):
        build_folder(folder, "place")
    with pytest.raises(SpecError, match=r"cannot be stored under the name 'label', .* rename it"):
        build_folder(folder, "label")
    with pytest.raises(SpecError, match="'speed'"):
        build_folder(folder, "speed")
    layout = build_folder(folder).layout
    others = {*layout.array_names, *EXTRAS} - {"speaker", "user"}
    assert others <= RESERVED_COLUMNS
