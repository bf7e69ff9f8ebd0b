"""Damage in the store is an error with every residence, and never a wrong batch."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from spikestore.store import FeatureSet, Store
from spikestore.store.upkeep.garbage import collect, find_garbage
from spikestore.store_schemas.errors import DamagedError, MissingObjectError
from spikestore.train import FeatureDataset, FeatureLoader

NO_AGE = timedelta(days=-1)
COLUMNS = ("index", "value", "nnz", "n_bins", "label", "n_events", "start", "check")

USES: dict[str, Callable[[FeatureSet], object]] = {
    "host": lambda features: FeatureLoader(features, 16, "host"),
    "device": lambda features: FeatureLoader(features, 16, "device"),
    "map-style": FeatureDataset,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", ["flipped", "truncated", "missing"])
def test_damage_is_named(store_folder: Path, tmp_path: Path, use: str, column: str, kind: str) -> None:
    """If one object of any column is damaged, loading raises an error that names the object."""
    folder = shutil.copytree(store_folder, tmp_path / "store")
    features = Store(folder)["small:train"]
    path = next((folder / features.data_path / column / "c").iterdir())
    data = bytearray(path.read_bytes())
    if kind == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        path.unlink()
    with pytest.raises(DamagedError, match=f"{column}/c/{path.name}") as error:
        USES[use](features)
    assert error.value.details["objects"] == (f"{features.data_path}/{column}/c/{path.name}",)


@pytest.mark.parametrize("use", USES)
def test_a_set_that_is_removed(store_folder: Path, tmp_path: Path, use: str) -> None:
    """If gc removes a set after it was opened, the error says so, and nothing else is read instead."""
    folder = shutil.copytree(store_folder, tmp_path / "store")
    features = Store(folder)["small:train"]
    features.read(0, 1)
    collect(features.storage, find_garbage(features.storage, age=NO_AGE).garbage, age=NO_AGE)
    assert len(features.read(0, 1)) == 1
    for name in Store(folder).names():
        Store(folder).forget(name)
    garbage = find_garbage(features.storage, unreferenced=True, age=NO_AGE).garbage
    assert collect(features.storage, garbage, age=NO_AGE)
    with pytest.raises(MissingObjectError, match=r"was removed from .* while it was read"):
        USES[use](features)
