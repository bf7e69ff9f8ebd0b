"""New recipes from choices, and their text."""

from __future__ import annotations

import math
import re
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikestore.pipeline.recipes.commented import commented_recipe
from spikestore.pipeline.recipes.new_recipe import FrameChoices, default_choices, default_name, transform_of
from spikestore.pipeline.recipes.recipe import Recipe, RecipeSource, load_recipe
from spikestore.pipeline.recipes.shipped import shipped_recipes
from spikestore.store_schemas.errors import UsageError

SENSOR = FrameChoices(sensor_size=(640, 480, 2), bin_ms=10.0)


def written(choices: FrameChoices, defaults: FrameChoices = SENSOR, **source: Any) -> Recipe:
    """Return the recipe in a text, after a comparison of the text with the choices that it states."""
    stated = {
        "name": "a",
        "source": {"dataset": "SHD", **source},
        "transform": transform_of(choices, defaults),
    }
    text = commented_recipe(stated, ("a comment",))
    assert tomllib.loads(text) == stated
    return Recipe.from_mapping(tomllib.loads(text), origin="test")


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name != "demo"])
def test_without_a_choice_it_is_the_shipped_transform(name: str) -> None:
    """The same key and the same name for each data set with a recipe."""
    shipped = load_recipe(shipped_recipes()[name])
    defaults = default_choices(shipped.source.dataset)
    assert written(FrameChoices(), defaults).transform_spec().key == shipped.transform_spec().key
    assert default_name(shipped.source.dataset, FrameChoices(), defaults) == shipped.name


@settings(max_examples=20)
@given(
    st.sampled_from([None, (64,), (64, 48), (640, 480)]),
    st.sampled_from([{}, {"bin_ms": 1.1}, {"bins": 7}, {"bin_events": 100}]),
    st.sampled_from([None, 0.0, 50.5]),
    st.booleans(),
    st.booleans(),
)
def test_choices(
    size: tuple[int, ...] | None, bins: dict[str, Any], max_ms: float | None, merge: bool, binary: bool
) -> None:
    """Each choice is in the transform."""
    chosen = FrameChoices(size=size, **bins, max_ms=max_ms, merge_polarities=merge, binary=binary)
    transform = written(chosen).transform_spec()
    x, y = (640, 480) if size is None else (64, 64) if len(size) == 1 else size
    frame = transform.to_frame
    assert frame.sensor_size == (x, y, 1 if merge else 2)
    in_us = {
        "bin_ms": ("time_window", 1100.0),
        "bins": ("n_time_bins", 7),
        "bin_events": ("event_count", 100),
    }
    field, value = in_us[next(iter(bins))] if bins else ("time_window", 10_000.0)
    assert (frame.mode, getattr(frame, field)) == (field, value)
    names = [step.op for step in transform.operations]
    expected = {"downsample": (x, y) != (640, 480), "merge_polarities": merge, "crop_time": bool(max_ms), "to_frame": True, "clip_counts": binary}  # fmt: skip
    assert names == [name for name, present in expected.items() if present]
    if (x, y) != (640, 480):
        assert transform.operations[0].spatial_factor == (x / 640, y / 480)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (FrameChoices(bins=3, bin_ms=1.0), "--bin-ms and --bins cannot be combined"),
        (FrameChoices(bin_ms=math.inf), "--bin-ms must be a finite number, got inf"),
        (FrameChoices(max_ms=math.inf), "--max-ms must be a finite number, got inf"),
        (FrameChoices(max_ms=math.nan), "--max-ms must be a finite number, got nan"),
        (FrameChoices(bin_ms=1e306), r"--bin-ms is too large, got 1e\+306"),
        (FrameChoices(max_ms=1e306), r"--max-ms is too large, got 1e\+306"),
        (FrameChoices(size=(641, 3)), "frames of 641 x 3 are larger than the sensor, 640 x 480"),
    ],
)
def test_choices_that_do_not_fit(chosen: FrameChoices, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        transform_of(chosen, SENSOR)


def test_an_unknown_sensor() -> None:
    with pytest.raises(UsageError, match="pass --sensor-size X,Y,P"):
        transform_of(FrameChoices(), default_choices("folder"))


def test_fields_that_are_not_stated() -> None:
    """Each has a line with its description; texts with quotes or a control character are preserved."""
    source: dict[str, Any] = {"data": 'a "quoted" \\ path \x7f', "splits": ["train"]}
    stated = {
        "name": "a",
        "source": {"dataset": "SHD", **source},
        "transform": transform_of(FrameChoices(), SENSOR),
    }
    assert written(FrameChoices(), SENSOR, **source).source.data == source["data"]
    text = commented_recipe(stated, ()).partition("[source]")[2].partition("[[transform]]")[0]
    assert re.findall(r"^#   (\w+): .", text, re.MULTILINE) == [
        name for name in RecipeSource.model_fields if name not in {"dataset", "data", "splits", "folder"}
    ]
