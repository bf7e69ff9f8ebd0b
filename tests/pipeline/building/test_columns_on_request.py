"""Optional columns of a recipe: they are stored on request; without a request, keys and digests are unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.event_files import write_dvsgesture, write_nmnist

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.store import Store
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.errors import SpecError

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
    """To the bit, for the data sets with one file a recording."""
    write_dvsgesture(tmp_path / "data")
    write_nmnist(tmp_path / "data")
    features = build(tmp_path, dataset)
    assert (features.address.source_key, features.digest) == PINNED[dataset]


def test_users_of_dvsgesture(tmp_path: Path) -> None:
    """Another set, with the same samples and the users; the lock finds it without recordings."""
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
    """A problem of the recipe, with the columns that there are."""
    write_dvsgesture(tmp_path / "data")
    with pytest.raises(SpecError, match=r"source\.columns: DVSGesture has no column 'users' .*: it has user"):
        build(tmp_path, "DVSGesture", 'columns = ["users"]')
