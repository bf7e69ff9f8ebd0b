"""Recipes: the valid TOML, its meaning, and the messages for mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.seeds_recipe import SEEDS_TRANSFORM

from spikestore.pipeline.recipes.recipe import Recipe, load_recipe
from spikestore.store_schemas.errors import SourceNotFoundError, SpecError
from spikestore.store_schemas.specs.operations import CropTime, Downsample, ToFrame
from spikestore.store_schemas.specs.transform import DEFAULT_MAX_BINS, Transform

TEXT = (
    """
name = "speech"

[source]
dataset = "SSC"
"""
    + SEEDS_TRANSFORM
)


def written(folder: Path, text: str) -> Path:
    path = folder / "speech.toml"
    path.write_text(text, encoding="utf-8")
    return path


def changed(folder: Path, old: str, new: str) -> Path:
    assert old in TEXT
    return written(folder, TEXT.replace(old, new, 1))


def problems(path: Path) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2
    return dict(caught.value.problems)


def test_a_recipe_becomes_specs(tmp_path: Path) -> None:
    """Fractions, integers for floats and scalars for pairs become the values of specs; other fields have defaults."""
    recipe = load_recipe(written(tmp_path, TEXT))
    assert recipe.transform_spec() == Transform(
        operations=(
            Downsample(spatial_factor=(100 / 700, 100 / 700)),
            CropTime(max=1e6),
            ToFrame(sensor_size=(100, 1, 1), time_window=4000.0, include_incomplete=True),
        ),
        max_bins=DEFAULT_MAX_BINS,
    )
    assert (recipe.name, recipe.source.dataset, recipe.source.data, recipe.source.splits) == (
        "speech",
        "SSC",
        None,
        None,
    )
    assert (recipe.source.sort, recipe.source.on_error, recipe.source.limit) == (False, "raise", None)
    assert (recipe.build.workers, recipe.build.fragment_samples) == (None, None)


def test_everything_spelled_out(tmp_path: Path) -> None:
    """All tables and fields are read; neither `[build]` nor the name is in a key."""
    text = TEXT.replace('name = "speech"', 'name = "other"\nmax_bins = 1000000').replace(
        'dataset = "SSC"',
        'dataset = "SSC"\ndata = "here"\nsplits = ["test"]\nsort = true\non_error = "skip"\nlimit = 5',
    )
    recipe = load_recipe(written(tmp_path, text + "\n[build]\nworkers = 3\nfragment_samples = 128\n"))
    source = recipe.source
    assert (source.data, source.splits, source.sort, source.on_error, source.limit) == (
        "here",
        ("test",),
        True,
        "skip",
        5,
    )
    assert (recipe.build.workers, recipe.build.fragment_samples) == (3, 128)
    in_process = load_recipe(written(tmp_path, TEXT + "\n[build]\nworkers = 0\n"))
    assert in_process.build.workers == 0
    plain = load_recipe(written(tmp_path, TEXT))
    assert recipe.transform_spec().key == plain.transform_spec().key


@pytest.mark.parametrize(
    ("factor", "value"),
    [('"100/700"', 100 / 700), ('"1/2"', 0.5), ("0.5", 0.5), ("[0.5, 0.5]", 0.5), ('["1/2", "2/4"]', 0.5)],
)
def test_fractions(tmp_path: Path, factor: str, value: float) -> None:
    """A fraction is the quotient that Python computes, in every field that may be a factor."""
    (first, *_) = load_recipe(changed(tmp_path, '"100/700"', factor)).transform
    assert first == Downsample(spatial_factor=(value, value))


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("drop_event", ("(Tonic's DropEvent) is random", "during training", "docs/loading.md")),
        ("TimeJitter", ("(Tonic's TimeJitter) is random",)),
        (
            "to_image",
            (
                "op 'to_image' (Tonic's ToImage) gives the same frames as to_frame with n_event_bins = 1: use to_frame",
            ),
        ),
        ("to_sparse_tensor", ("(Tonic's ToSparseTensor) is not supported",)),
        ("crop_tme", ("unknown op 'crop_tme', did you mean 'crop_time'?",)),
    ],
)
def test_an_operation_of_tonic_without_a_spec_is_named_as_such(
    tmp_path: Path, op: str, words: tuple[str, ...]
) -> None:
    """A random transform is named as an augmentation for training; one without a spec is not taken for a typing mistake."""
    found = problems(changed(tmp_path, 'op = "crop_time"\nmax = 1e6', f'op = "{op}"\np = 0.5'))
    assert found.keys() == {"transform[1]"}
    assert [word for word in words if word not in found["transform[1]"]] == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ('"100/700"', '"100/0"', "transform[0].spatial_factor"),
        ('"100/700"', '"a/b"', "transform[0].spatial_factor"),
        ('"100/700"', '"__import__(1)"', "transform[0].spatial_factor"),
        ('"100/700"', "-0.5", "transform[0].spatial_factor"),
        ("max = 1e6", 'max = "soon"', "transform[1].max"),
        ("[100, 1, 1]", "[100, 1]", "transform[2].sensor_size"),
        ("[100, 1, 1]", "[100, 0, 1]", "transform[2].sensor_size[1]"),
        ("[100, 1, 1]", "[100.5, 1, 1]", "transform[2].sensor_size[0]"),
        ("include_incomplete = true", 'include_incomplete = "yes"', "transform[2].include_incomplete"),
        ('name = "speech"', 'name = "../speech"', "name"),
        ('name = "speech"', "", "name"),
        ('name = "speech"', 'name = "speech"\nmax_bins = 0', "max_bins"),
        ('dataset = "SSC"', "", "source.dataset"),
        ('dataset = "SSC"', 'dataset = "SSC"\nlimit = 1.5', "source.limit"),
        ('dataset = "SSC"', 'dataset = "SSC"\nsort = 1', "source.sort"),
        ('dataset = "SSC"', 'dataset = "SSC"\nsplits = "train"', "source.splits"),
        ("[source]", "[build]\nfragment_samples = 100\n[source]", "build.fragment_samples"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(tmp_path: Path, old: str, new: str, path: str) -> None:
    """There is one problem, with the path in the user's document, also for a scalar factor, which stands for a pair."""
    found = problems(changed(tmp_path, old, new))
    assert len(set(found.values())) == 1, found
    assert all(where.startswith(path) for where in found)


@pytest.mark.parametrize(
    ("old", "new", "path", "nearest"),
    [
        ("time_window", "time_windw", "transform[2].time_windw", "time_window"),
        ("[source]", "[sources]", "sources", "source"),
        ("spatial_factor", "spatial_facto", "transform[0].spatial_facto", "spatial_factor"),
        ('op = "to_frame"', 'op = "to_fram"', "transform[2]", "to_frame"),
        ('name = "speech"', 'nam = "speech"', "nam", "name"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(
    tmp_path: Path, old: str, new: str, path: str, nearest: str
) -> None:
    """Misspelt fields, tables and operations are answered with the nearest valid name."""
    found = problems(changed(tmp_path, old, new))
    assert f"did you mean '{nearest}'" in found[path]


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Every problem is listed, in the message too."""
    text = TEXT.replace("max = 1e6", "").replace("[100, 1, 1]", "[100, 1, true]").replace("speech", "Speech")
    path = written(tmp_path, text)
    found = problems(path)
    assert set(found) == {"name", "transform[1].max", "transform[2].sensor_size[2]"}
    with pytest.raises(SpecError) as caught:
        load_recipe(path)
    assert all(where in str(caught.value) for where in found)
    assert str(caught.value).startswith(f"{path}: 3 problems")


@pytest.mark.parametrize(
    "text",
    [
        'name = "a',
        "[[transform]\n",
        "name = 1\nname = 2",
        "\x00",
        f"name = {'[' * 5000}{']' * 5000}",
        f"max_bins = {'1' * 5000}",
    ],
    ids=["no end", "no bracket", "twice", "no text", "nested lists", "many digits"],
)
def test_no_toml(tmp_path: Path, text: str) -> None:
    """The message names the file, and the place of the syntax error."""
    with pytest.raises(SpecError, match=r"speech\.toml is not TOML: "):
        load_recipe(written(tmp_path, text))


def test_tables_in_tables_without_end(tmp_path: Path) -> None:
    """They are TOML, but too deep for the recursion of some versions of Python."""
    with pytest.raises(SpecError, match=r"speech\.toml"):
        load_recipe(written(tmp_path, f"name.{'a.' * 2000}b = 1"))


def test_no_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are an error."""
    path = written(tmp_path, TEXT)
    path.write_bytes(b"\xff" + path.read_bytes())
    with pytest.raises(SpecError, match="is not UTF-8 text"):
        load_recipe(path)


def test_no_file(tmp_path: Path) -> None:
    """A missing file, a folder, a path below a file, an impossible name: exit 2, and the nearest recipe if there is one."""
    with pytest.raises(SourceNotFoundError, match=r"no recipe at .*speech\.toml$"):
        load_recipe(tmp_path / "speech.toml")
    path = written(tmp_path, TEXT)
    with pytest.raises(SourceNotFoundError, match=r"did you mean .*speech\.toml'\?$"):
        load_recipe(tmp_path / "spech.toml")
    for wrong in (tmp_path, path / "speech.toml", tmp_path / ("x" * 300)):
        with pytest.raises(SourceNotFoundError, match="recipe") as caught:
            load_recipe(wrong)
        assert caught.value.exit_code == 2


def test_a_recipe_is_frozen_and_strict() -> None:
    """As in all specs, no field can be set, and a mapping with an unknown member is rejected."""
    mapping: dict[str, Any] = {
        "name": "a",
        "source": {"dataset": "SSC"},
        "transform": [{"op": "to_frame", "sensor_size": [1, 1, 1], "time_window": 1}],
    }
    recipe = Recipe.from_mapping(mapping, origin="here")
    with pytest.raises(Exception, match="frozen"):
        recipe.name = "b"  # type: ignore[misc]
    with pytest.raises(SpecError, match="here"):
        Recipe.from_mapping({**mapping, "more": 1}, origin="here")
