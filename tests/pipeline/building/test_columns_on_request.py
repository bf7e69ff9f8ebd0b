"""Optional columns of a recipe: they are stored on request; without a request, keys and digests are unchanged."""

from __future__ import annotations

import logging
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from tests.pipeline.event_files import write_dvsgesture, write_nmnist
from tests.pipeline.folders import draw, recipe_for, save

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.exporting.export import export
from spikestore.pipeline.reporting.report import make_report
from spikestore.store import Store
from spikestore.store.cli.commands.show import show
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import SpecError
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


PLACES = ["lab", "", "garden", "lab", "garden", "lab", "garden", "Küche"]
GAINS = [0.1, 1.0, -2.5, 1e-9, 3.0, 4.0, 0.30000000000000004, 1e300]
TABLE = "file,label,user,trial,hand,place,gain\n" + "".join(
    f"{row}.npy,{'left' if row % 2 else 'right'},{row // 3},{row % 4 - 1},{row},{PLACES[row]},{GAINS[row]!r}\n"
    for row in range(8)
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


@pytest.mark.parametrize(
    "form",
    [
        "zarr",
        "hdf5",
        pytest.param("npz", marks=pytest.mark.slow),
        pytest.param("webdataset", marks=pytest.mark.slow),
    ],
)
def test_texts_and_real_numbers_are_kept(folder: Path, form: Any) -> None:
    """Arrays and digest are those of a set without them; exports and the report have them."""
    plain, asked = build_folder(folder), build_folder(folder, "place", "gain", "trial")
    assert asked.address.source_key != plain.address.source_key
    assert (asked.digest, asked.layout) == (plain.digest, plain.layout)
    assert verify(asked, depth="deep") == []
    place, gain = asked.column("place"), asked.column("gain")
    assert place.dtype.kind == "U"
    assert gain.dtype == np.float64
    skipped = 5
    assert place.tolist() == ["" if row == skipped else value for row, value in enumerate(PLACES)]
    assert gain.tolist() == [0 if row == skipped else value for row, value in enumerate(GAINS)]
    kept = [row for row in range(8) if row != skipped]
    export(asked, folder / "out", form)
    found = exported(folder / "out", form)
    assert {name: found[name] for name in ("place", "gain", "trial")} == {
        "place": [PLACES[row] for row in kept],
        "gain": [GAINS[row] for row in kept],
        "trial": [row % 4 - 1 for row in kept],
    }


def exported(out: Path, form: str) -> dict[str, list[Any]]:
    """Return the columns of an export of seven samples, by name."""
    if form == "zarr":
        group = zarr.open_group(out / "all.zarr", mode="r")
        return {name: np.asarray(array[:]).tolist() for name, array in group.arrays()}
    if form == "hdf5":
        with h5py.File(out / "all.h5") as file:
            return {
                name: (array.asstr() if h5py.check_string_dtype(array.dtype) else array)[:].tolist()
                for name, array in file.items()
            }
    if form == "webdataset":
        (shard,) = out.rglob("*.tar")
        with tarfile.open(shard) as archive:
            archive.extractall(out / "all", filter="data")
    files = [np.load(path) for path in sorted(out.rglob("*.npz"), key=row_of)]
    return {name: [file[name].item() for file in files] for name in ("place", "gain", "trial")}


def row_of(path: Path) -> int:
    """Return the row of an exported sample."""
    return int(np.load(path)["row"])


def test_a_report_groups_by_texts(folder: Path) -> None:
    """The samples of each device or place, in each split; real numbers are no groups."""
    groups = make_report("mine", {"all": build_folder(folder, "gain", "place")}).document["groups"]
    assert (groups["column"], groups["groups"]) == ("place", {"all": 4})
    assert groups["samples"][0] == {"group": "garden", "split": "all", "samples": 3}


def test_a_report_of_splits_with_numbers_and_texts(folder: Path) -> None:
    """A column can have numbers in one split and texts in another that was built later; numbers come first."""
    numbers = build_folder(folder, "user")
    table = folder / "data/labels.csv"
    table.write_text(table.read_text().replace("left,2,", "left,two,"))
    texts = build_folder(folder, "user")
    groups = make_report("mine", {"a": numbers, "b": texts}).document["groups"]
    assert groups["column"] == "user"
    assert [each["group"] for each in groups["samples"][::2]] == [0, "0", 1, 2, "1", "2", "two"]


def test_show_names_the_types(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The parts of texts and real numbers are not listed."""
    build_folder(folder, "gain", "place", "trial")
    show("mine", str(folder / "store"), provenance=True)
    text = capsys.readouterr().out
    assert "gain float64, place text, trial int32" in text
    assert "columns = gain, place, trial" in text
    assert "text-0" not in text


def test_all_splits_have_the_same_columns(folder: Path) -> None:
    """Also if the longest text is in one split only, and if a whole number is in a column of real numbers."""
    table = "file,label,split,place,gain\n" + "".join(
        f"{row}.npy,a,{'train' if row < 6 else 'test'},{'laboratory' if row == 7 else 'x'},{row if row else 0.5}\n"
        for row in range(8)
    )
    (folder / "data/labels.csv").write_text(table)
    recipe = recipe_for(
        folder / "data", {"columns": ["place", "gain"], "on_error": "skip"}, table="labels.csv"
    )
    sets = preprocess(recipe, store=folder / "store", workers=0)
    assert sets["train"].manifest.source.columns == sets["test"].manifest.source.columns
    assert sets["train"].column("gain").tolist() == [0.5, 1, 2, 3, 4, 0]
    assert sets["train"].column("place").tolist() == ["x"] * 5 + [""]
    assert sets["test"].column("place").tolist() == ["x", "laboratory"]


def test_a_name_moves_if_only_longer_texts_are_added(folder: Path) -> None:
    """The number of parts changes, but no value of the former recordings."""
    build_folder(folder, "place")
    save(folder / "data/8.npy", draw(8))
    with (folder / "data/labels.csv").open("a") as file:
        file.write("8.npy,left,1,1,1,a very long description,1\n")
    recipe = recipe_for(folder / "data", {"columns": ["place"], "on_error": "skip"}, table="labels.csv")
    features = preprocess(recipe, store=folder / "store", workers=0)["all"]
    assert features.column("place").tolist()[-2:] == ["Küche", "a very long description"]


def test_a_typing_error_in_a_column_of_numbers_is_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The column is kept as text."""
    table = folder / "data/labels.csv"
    table.write_text(table.read_text().replace("1e-09", "1e-o9"))
    with caplog.at_level(logging.INFO):
        assert build_folder(folder, "gain").column("gain")[3] == "1e-o9"
    assert (
        "gain is kept as text, because 1 of 8 values is not a number; the first is '1e-o9' of 3.npy"
        in caplog.text
    )


def test_columns_that_cannot_be_kept(folder: Path) -> None:
    """Columns with the name of a column of the set, or of a part of a text, are rejected."""
    with pytest.raises(
        SpecError, match=r"cannot be stored under the name 'place\.text-0', .* rename the column"
    ):
        build_folder(folder, "place.text-0")
    with pytest.raises(SpecError, match=r"cannot be stored under the name 'label', .* rename the column"):
        build_folder(folder, "label")
    with pytest.raises(SpecError, match="'speed'"):
        build_folder(folder, "speed")
    layout = build_folder(folder).layout
    others = {*layout.array_names, *EXTRAS} - {"speaker", "user"}
    assert others <= RESERVED_COLUMNS
