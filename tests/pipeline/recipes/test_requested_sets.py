"""The feature sets that recipes and data sets request: folders, splits and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.cochlea_files import SPLITS, write_dataset

from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.recipes.requested_sets import set_of_dataset, sets_of_recipe
from spikestore.store_schemas.errors import SourceNotFoundError, SpecError, UsageError
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

FRAMES = {"op": "to_frame", "sensor_size": [700, 1, 1], "time_window": 1000.0}


def recipe(dataset: str = "SSC", max_bins: int = 500, **source: Any) -> Recipe:
    mapping = {
        "name": "speech",
        "max_bins": max_bins,
        "source": {"dataset": dataset, **source},
        "transform": [FRAMES],
    }
    return Recipe.from_mapping(mapping, origin="r.toml")


@pytest.mark.parametrize("dataset", SPLITS)
def test_all_splits_of_the_data_set_by_default(tmp_path: Path, dataset: str) -> None:
    """In the data set's own order, each with the recipe's transform and its own address."""
    root = write_dataset(tmp_path, dataset)
    requested = sets_of_recipe(recipe(dataset), origin=None, data=tmp_path)
    assert [wanted.split for wanted in requested] == list(SPLITS[dataset])
    assert [wanted.label for wanted in requested] == [f"{dataset} {split}" for split in SPLITS[dataset]]
    expected = Transform(operations=(ToFrame(sensor_size=(700, 1, 1), time_window=1000.0),), max_bins=500)
    for wanted in requested:
        assert wanted.transform == expected
        assert wanted.located.root == root
        assert wanted.address == (expected.key, wanted.located.source.key)
    assert len({wanted.address for wanted in requested}) == len(requested)


def test_chosen_splits_and_options_reach_the_source(tmp_path: Path) -> None:
    """splits, sort, on_error and limit of the recipe are those of the source."""
    write_dataset(tmp_path, "SSC")
    chosen = recipe(splits=["test", "train"], sort=True, on_error="skip", limit=3)
    requested = sets_of_recipe(chosen, origin=None, data=tmp_path)
    assert [wanted.split for wanted in requested] == ["test", "train"]
    for wanted in requested:
        source = wanted.located.source
        assert (source.sort, source.on_error, source.limit) == (True, "skip", 3)


def test_where_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's folder takes precedence; that of the recipe is relative to its file, absolute, or in the home folder."""
    root = write_dataset(tmp_path / "here" / "data", "SSC")
    origin = tmp_path / "here" / "recipes" / "r.toml"
    origin.parent.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    places: list[tuple[dict[str, Any], Path | str | None]] = [
        ({"data": "../data"}, None),
        ({"data": str(tmp_path / "here/data")}, None),
        ({"data": "~/data"}, None),
        ({"data": "nowhere"}, tmp_path / "here" / "data"),
        ({}, str(root)),
    ]
    for source, data in places:
        requested = sets_of_recipe(recipe(**source), origin=origin, data=data)
        assert {wanted.located.root.resolve() for wanted in requested} == {root.resolve()}
    monkeypatch.chdir(tmp_path / "here")
    assert sets_of_recipe(recipe(data="data"), origin=None)[0].located.root == root


def test_no_folder_at_all() -> None:
    """If neither recipe nor caller names a folder, the message has both remedies."""
    with pytest.raises(
        UsageError, match=r"r\.toml has no data folder: pass --data FOLDER, or set data under \[source\]"
    ):
        sets_of_recipe(recipe(), origin=Path("r.toml"))
    with pytest.raises(UsageError, match="the recipe has no data folder"):
        sets_of_recipe(recipe(), origin=None)


@pytest.mark.parametrize(
    ("source", "path", "words"),
    [
        ({"dataset": "EBSSA"}, "source.dataset", ["EBSSA", "POKERDVS, SHD, SSC, STMNIST"]),
        ({"dataset": "ssc"}, "source.dataset", ["did you mean 'SSC'?"]),
        ({"splits": ["valdi"]}, "source.splits", ["valdi", "train, valid, test"]),
        ({"dataset": "SHD", "splits": ["train", "valid"]}, "source.splits", ["valid", "train, test"]),
    ],
)
def test_unknown_names_are_problems_of_the_recipe(
    tmp_path: Path, source: dict[str, Any], path: str, words: list[str]
) -> None:
    """File and field are named, as for every other problem of a recipe."""
    for dataset in SPLITS:
        write_dataset(tmp_path, dataset)
    with pytest.raises(SpecError) as caught:
        sets_of_recipe(recipe(**source), origin=Path("r.toml"), data=tmp_path)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert str(caught.value).startswith("r.toml: 1 problem\n")
    assert all(word in problem.message and word in str(caught.value) for word in words)


def test_missing_files(tmp_path: Path) -> None:
    """A folder without the files of one split is an error, before anything is computed."""
    root = write_dataset(tmp_path, "SSC")
    (root / "ssc_test.h5").unlink()
    with pytest.raises(SourceNotFoundError, match=r"ssc_test\.h5"):
        sets_of_recipe(recipe(), origin=None, data=tmp_path)


def test_a_spec_is_taken_as_a_transform(tmp_path: Path) -> None:
    """`set_of_dataset` accepts a located source with a spec, and leaves both unchanged."""
    write_dataset(tmp_path, "SSC")
    located = sets_of_recipe(recipe(), origin=None, data=tmp_path)[2].located
    transform = Transform(operations=(ToFrame(sensor_size=(700, 1, 1), time_window=5.0),))
    wanted = set_of_dataset(located, transform)
    assert (wanted.split, wanted.located, wanted.transform) == ("test", located, transform)
