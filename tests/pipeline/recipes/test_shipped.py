"""The shipped recipes: their content, and the choice of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from tests.pipeline import small_data_sets
from tests.pipeline.cochlea_files import SPLITS, write_dataset
from tests.pipeline.event_files import write_dvsgesture
from tonic import transforms

from spikestore.pipeline import preprocess
from spikestore.pipeline.commands.preprocess import RecipeArgument
from spikestore.pipeline.readers.registry import DATASETS
from spikestore.pipeline.recipes import shipped
from spikestore.pipeline.recipes.new_recipe import FrameChoices, default_choices
from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.shipped import choose_recipe, shipped_recipes
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.store_schemas.errors import SourceNotFoundError, UsageError


def test_there_is_demo_and_one_for_each_data_set() -> None:
    """demo, and one under the name of every data set that has a reader."""
    assert list(shipped_recipes()) == [
        "asldvs",
        "cifar10dvs",
        "demo",
        "dvsgesture",
        "dvslip",
        "ncaltech101",
        "ncars",
        "nmnist",
        "ntidigits18",
        "pokerdvs",
        "shd",
        "ssc",
        "stmnist",
    ]
    assert {name.lower() for name in DATASETS} < set(shipped_recipes())
    assert get_args(RecipeArgument)[1].help.endswith(f": {', '.join(shipped_recipes())}.")


@pytest.mark.parametrize("name", ["demo", "shd", "ssc"])
def test_each_is_the_seeds_transform_on_its_data_set(name: str) -> None:
    """The transform is the seed's, with the key of Tonic's own objects; splits are all that exist."""
    recipe = load_recipe(shipped_recipes()[name])
    seeds = transforms.Compose(
        [
            transforms.Downsample(spatial_factor=100 / 700),
            transforms.CropTime(max=1e6),
            transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
        ]
    )
    assert recipe.transform_spec().key == transform_from_tonic(seeds).key
    dataset = "SHD" if name == "shd" else "SSC"
    assert recipe.source.dataset == dataset
    assert recipe.source.splits in (None, SPLITS[dataset])


@pytest.mark.parametrize(
    ("name", "dataset", "chain"),
    [
        ("nmnist", "NMNIST", [transforms.ToFrame((34, 34, 2), time_window=10000, include_incomplete=True)]),
        (
            "dvsgesture",
            "DVSGesture",
            [
                transforms.Downsample(spatial_factor=0.25),
                transforms.CropTime(max=6e6),
                transforms.ToFrame((32, 32, 2), time_window=20000, include_incomplete=True),
            ],
        ),
    ],
)
def test_those_of_event_cameras(name: str, dataset: str, chain: list[Any]) -> None:
    """Their transforms have the keys of the same transforms in Tonic; sensors are Tonic's, where Tonic's are complete."""
    recipe = load_recipe(shipped_recipes()[name])
    assert recipe.transform_spec().key == transform_from_tonic(transforms.Compose(chain)).key
    assert (recipe.source.dataset, recipe.source.splits) == (dataset, ("train", "test"))


@pytest.mark.parametrize("name", small_data_sets.WRITE)
def test_recipes_fit_their_recordings(tmp_path: Path, name: str) -> None:
    """Every event of small recordings lies on the sensor of the shipped recipe; splits are all there are."""
    small_data_sets.WRITE[name](tmp_path)
    recipe = choose_recipe(None, str(tmp_path))
    assert recipe == shipped_recipes()[name.lower()]
    sets = preprocess(recipe, data=tmp_path, store=tmp_path / "store", workers=0)
    assert tuple(sets) == small_data_sets.SPLITS[name]
    for features in sets.values():
        counts = features.manifest.events
        assert (counts.n_cropped, counts.n_dropped, features.manifest.skipped) == (0, 0, ())
        assert int(features.read().value.sum()) == counts.n_events > 0


def test_a_file_takes_precedence_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``ssc`` is the shipped recipe, unless a file has that name; other texts are paths."""
    monkeypatch.chdir(tmp_path)
    assert choose_recipe("ssc", None) == shipped_recipes()["ssc"]
    assert choose_recipe("ssc.toml", "data") == Path("ssc.toml")
    (tmp_path / "ssc").touch()
    assert choose_recipe("ssc", None) == Path("ssc")


@pytest.mark.parametrize("dataset", SPLITS)
def test_data_alone(tmp_path: Path, dataset: str) -> None:
    """The files of the folder, or of the folder above it, determine the recipe; no question is asked."""
    root = write_dataset(tmp_path, dataset)
    for folder in (tmp_path, root):
        assert choose_recipe(None, str(folder), ask=lambda _: "never") == shipped_recipes()[dataset.lower()]


def test_two_data_sets_ask_a_person(tmp_path: Path) -> None:
    """An answer may have any case; an invalid answer is rejected, and without a terminal there is an error."""
    for dataset in SPLITS:
        write_dataset(tmp_path, dataset)
    asked: list[list[str]] = []

    def ask(candidates: list[str]) -> str:
        asked.append(candidates)
        return " ssc "

    assert choose_recipe(None, str(tmp_path), ask=ask) == shipped_recipes()["ssc"]
    assert asked == [["SHD", "SSC"]]
    with pytest.raises(UsageError, match="the data set must be SHD or SSC, got 'mnist'"):
        choose_recipe(None, str(tmp_path), ask=lambda _: "mnist")
    with pytest.raises(UsageError, match="holds files of SHD and SSC"):
        choose_recipe(None, str(tmp_path))


def test_names_in_mixed_case_are_found(tmp_path: Path) -> None:
    """DVSGesture is found by its files, and by an answer in any case."""
    write_dvsgesture(tmp_path)
    assert choose_recipe(None, str(tmp_path)) == shipped_recipes()["dvsgesture"]
    write_dataset(tmp_path, "SHD")
    assert choose_recipe(None, str(tmp_path), ask=lambda _: "dvsgesture") == shipped_recipes()["dvsgesture"]


def test_nothing_to_choose_from(tmp_path: Path) -> None:
    """Without recipe and data, or for unknown data, the message lists the shipped recipes or the expected files."""
    with pytest.raises(
        UsageError,
        match=r"asldvs, cifar10dvs, .*, ssc, stmnist\), or --data FOLDER with files of ASLDVS, .*, SSC or STMNIST",
    ):
        choose_recipe(None, None)
    with pytest.raises(SourceNotFoundError, match=r"ssc_train\.h5"):
        choose_recipe(None, str(tmp_path), ask=lambda _: "SSC")


def test_the_demo_is_not_the_recipe_of_a_data_set_called_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may add a data set of this name: its recordings are not those of SSC."""
    monkeypatch.setattr(shipped, "find_dataset", lambda data: "Demo")
    with pytest.raises(UsageError, match="files of the data set Demo, for which there is no shipped recipe"):
        choose_recipe(None, "data")
    assert default_choices("Demo") == FrameChoices(bin_ms=10.0, max_ms=0.0)
