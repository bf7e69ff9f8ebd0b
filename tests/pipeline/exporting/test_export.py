"""`export`: what it rejects, what an interrupted export leaves, and dtypes."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.folders import recipe_for, write_tree
from tests.store.small_sets import memory_storage, small_set

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.exporting import columns, dense_files, description
from spikestore.pipeline.exporting.columns import Appender
from spikestore.pipeline.exporting.dense_files import class_folders
from spikestore.pipeline.exporting.description import describe, meanings, readme
from spikestore.pipeline.exporting.export import export
from spikestore.pipeline.exporting.kept_samples import index_dtype, value_dtype
from spikestore.store import FeatureSet
from spikestore.store.storage import FolderStorage
from spikestore.store_schemas.errors import DamagedError, UsageError

FORMS: Any = ("zarr", "npz", "hdf5", "webdataset")


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return small_set().build(memory_storage())


@pytest.mark.parametrize("form", FORMS)
def test_equal_sets_encode_as_equal_bytes(tmp_path: Path, features: FeatureSet, form: Any) -> None:
    for name in "ab":
        export(features, tmp_path / name, form)
    files = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file()
        }
        for name in "ab"
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("form", ["hdf5", "npz"])
def test_damage_leaves_nothing(tmp_path: Path, form: Any) -> None:
    """After an error, nothing is left, also of the split before the damaged one."""
    storage = FolderStorage(tmp_path / "store")
    sets = {split: small_set(70, split=split, seed=len(split)).build(storage) for split in ("train", "valid")}
    path = tmp_path / "store" / sets["valid"].data_path / "value/c/0"
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(DamagedError, match="value/c/0"):
        export(sets, tmp_path / "out", form)
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


def test_readme_states_the_dtypes_of_each_split(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Largest counts of splits differ, and so may dtypes; equal arrays are described once."""
    facts, own = {"train": describe(features), "test": describe(features)}, meanings(features, sparse=True)
    assert readme("zarr", "", facts, {"train": own, "test": own}).count("value: ") == 1
    monkeypatch.setattr(description, "value_dtype", lambda manifest: np.dtype(np.int64))
    text = readme("zarr", "", facts, {"train": own, "test": meanings(features, sparse=True)})
    train, test = text.split("In test:")
    assert "In train:" in train
    assert ("int64, never 0" in train, "int64, never 0" in test) == (False, True)


def test_a_recipe_states_the_licence_of_its_recordings(tmp_path: Path) -> None:
    """The demo has the data set of SSC, but not its recordings: the licence in the recipe is exported, not that of SSC."""
    write_tree(tmp_path, "a/1.npy")
    recipe = recipe_for(tmp_path)
    for stated, exported in ((None, description.UNKNOWN), ("none: artificial", "none: artificial")):
        own = recipe.model_copy(update={"licence": stated})
        store = tmp_path / f"store of {stated}"
        assert describe(preprocess(own, store=store)["all"])["licence"] == exported


def test_columns_of_a_folder_have_the_meaning_that_their_owner_gave_them(tmp_path: Path) -> None:
    """A column named `speaker` or `user` may have texts, or numbers of something else: nothing is said about them."""
    write_tree(tmp_path, "a/s1_2.npy", "b/s2_5.npy")
    recipe = recipe_for(tmp_path, {"columns": ["speaker", "user"]}, pattern="{label}/{speaker}_{user}.npy")
    own = preprocess(recipe, store=tmp_path / "store")["all"]
    texts = meanings(own, sparse=True)
    assert texts["speaker"] == texts["user"] == "additional column that describes the recordings"
    assert texts["n_events"] == "events in the recording, as read"
    of_shd = small_set(extras=("speaker",)).build(memory_storage())
    assert meanings(of_shd, sparse=True)["speaker"] == "number of the speaker"


def test_refusals(tmp_path: Path, features: FeatureSet) -> None:
    (tmp_path / "file").touch()
    (tmp_path / ".left.part").mkdir()
    for arguments, message in (
        ((features, tmp_path), "is not empty: pass a new folder with --to"),
        ((features, tmp_path / "file"), "is a file: pass a new folder with --to"),
        ((features, tmp_path / "file" / "out"), "is inside a file: pass another folder with --to"),
        ((features, tmp_path / "file" / "a" / "out"), "is inside a file: pass another folder with --to"),
        ((features, tmp_path / "left"), r"\.left\.part exists: an export was interrupted"),
        ((features, "s3://bucket/out"), "is a URL, but an export needs a folder on this machine"),
        (
            (features, tmp_path / "out", "pickle"),
            "form must be one of zarr, npz, hdf5, webdataset, got 'pickle'",
        ),
        (({}, tmp_path / "out"), "pass a feature set, or a mapping"),
        (
            ("demo", tmp_path / "out"),
            "pass a feature set, or a mapping from names of splits to feature sets, got 'demo'",
        ),
        (({"../up": features}, tmp_path / "out"), "pass a feature set, or a mapping"),
    ):
        with pytest.raises(UsageError, match=message):
            export(*arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"file", ".left.part"}


def test_an_empty_folder_is_filled(tmp_path: Path, features: FeatureSet) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    done = export(features, tmp_path / "link", "zarr")
    assert done.folder == (tmp_path / "empty").resolve()
    document = json.loads((tmp_path / "link/description.json").read_text())
    assert [*document["splits"]] == ["train"]
    assert done.nbytes == sum(path.stat().st_size for path in done.folder.rglob("*") if path.is_file())


def test_a_set_without_any_non_zero(tmp_path: Path) -> None:
    small = small_set(20, silent=range(20), skipped=())
    for form in FORMS:
        assert export(small.build(memory_storage()), tmp_path / form, form).samples == {"train": 20}


def test_shards_are_random_shares(
    tmp_path: Path, features: FeatureSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each shard has rows of the whole set, in their order; each row is in one shard."""
    monkeypatch.setattr(dense_files, "SHARD_SAMPLES", 50)
    export(features, tmp_path / "out", "webdataset")
    shards = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as shard:
            shards.append([int(entry.name[:9]) for entry in shard if entry.name.endswith(".cls")])
    assert len(shards) == 4
    assert sorted(row for rows in shards for row in rows) == sorted({*range(170)} - {3, 130})
    assert all(rows == sorted(rows) and rows[0] < 20 and rows[-1] > 150 for rows in shards)


def test_progress(tmp_path: Path, features: FeatureSet) -> None:
    calls: list[tuple[int, int, str]] = []
    export(features, tmp_path / "out", "hdf5", progress=lambda *call: calls.append(call))
    assert calls == [(63, 168, "train"), (127, 168, "train"), (168, 168, "train")]


def test_values_are_appended_in_whole_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "CHUNK", 4)
    written: list[tuple[slice, list[int]]] = []

    class Array:
        def __setitem__(self, place: slice, values: Any) -> None:
            written.append((place, values.tolist()))

    appender = Appender(Array(), np.dtype(np.int16))
    for count in (3, 0, 6, 1):
        appender.append(np.full(count, count))
    appender.flush()
    assert written == [(slice(0, 4), [3, 3, 3, 6]), (slice(4, 8), [6] * 4), (slice(8, 10), [6, 1])]


def test_dtypes(features: FeatureSet) -> None:
    for largest, dtype in ((255, "uint8"), (256, "int16"), (2**15, "int32"), (2**31, "int64")):
        assert value_dtype(features.manifest.model_copy(update={"max_value": float(largest)})) == dtype
    for bins, dtype in ((2, "int32"), (2**28, "int64")):
        assert index_dtype(features.manifest.model_copy(update={"n_bins": bins})) == dtype


def test_folders_of_classes_are_in_the_order_of_the_classes() -> None:
    names = ("b", "a", "../x", "é", "con.", *map(str, range(6)), "c" * 300)
    folders = class_folders(names)
    assert sorted(folders) == folders
    assert folders[:5] == ["00-b", "01-a", "02-..%2Fx", "03-%C3%A9", "04-con"]
    assert max(map(len, folders)) == 103
