"""The JSON schema of recipes accepts what recipes may contain, and rejects mistakes that an editor should show."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from spikestore.pipeline.recipes.recipe import Recipe
from spikestore.pipeline.recipes.schema import recipe_schema
from spikestore.pipeline.recipes.shipped import paper_recipes, shipped_recipes
from spikestore.store.testing.strategies import transforms
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.transform import Transform

SCHEMA = recipe_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
FRAME = {"op": "to_frame", "sensor_size": [8, 8, 2], "time_window": "1000/3"}


def recipe(*operations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a recipe with some operations before ``to_frame``."""
    return {"name": "a", "source": {"dataset": "SHD"}, "transform": [*operations, FRAME], **fields}


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", (shipped_recipes() | paper_recipes()).values(), ids=lambda path: path.stem)
def test_shipped_recipes(path: Any) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text(encoding="utf-8")))


@pytest.mark.slow
@settings(max_examples=15)
@given(transforms())
def test_any_transform(transform: Transform) -> None:
    """All fields of all operations, as documents have them, are valid."""
    stated = transform.to_mapping()
    VALIDATOR.validate(recipe() | {"transform": stated["operations"], "max_bins": stated["max_bins"]})


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "downsample", "spatial_factor": 0.5},
        {"op": "downsample", "spatial_factor": ["1/2", 1]},
        {"op": "downsample", "sensor_size": [16, 16, 2], "target_size": [8, 8]},
        {"op": "center_crop", "sensor_size": [16, 16, 2], "size": 8},
        {"op": "event_downsampling", "sensor_size": [16, 16, 2], "target_size": [8, 8], "dt": 1, "noise_threshold": 1, "downsampling_method": "integrator"},
    ],
)  # fmt: skip
def test_short_forms(operation: dict[str, Any]) -> None:
    """Forms that validators of operations accept in addition are in the schema too."""
    Recipe.from_mapping(recipe(operation), origin="test")
    VALIDATOR.validate(recipe(operation))


def test_sweeps() -> None:
    VALIDATOR.validate(recipe(sweep=[{"suffix": "4ms", "to_frame": {"time_window": 4000}}]))
    assert not VALIDATOR.is_valid(recipe(sweep=[{"suffix": "4ms", "to_frame": 4000}]))


@pytest.mark.parametrize(
    "wrong",
    [
        recipe() | {"nam": "b"},
        recipe() | {"name": "no spaces"},
        recipe() | {"source": {"dataset": "SHD", "limit": 0}},
        recipe({"op": "downsample", "time_factor": 0}),
        recipe({"op": "downsample", "time_factor": "a tenth"}),
        recipe({"op": "downsampel"}),
        recipe({"time_factor": 1}),
        recipe() | {"build": {"executor": "quick"}},
        {"name": "a", "source": {"dataset": "SHD"}},
    ],
)
def test_mistakes(wrong: dict[str, Any]) -> None:
    """Both the model and the schema reject them."""
    with pytest.raises(SpecError):
        Recipe.from_mapping(wrong, origin="test")
    assert not VALIDATOR.is_valid(wrong)


def test_each_field_has_a_description() -> None:
    """An editor shows the description."""

    def missing(schema: Any, place: str) -> Iterator[str]:
        for name, field in schema.get("properties", {}).items():
            if "description" not in field and (name, place) not in {
                ("op", place),
                ("source", ""),
                ("build", ""),
            }:
                yield f"{place}.{name}"
        for name, model in schema.get("$defs", {}).items():
            yield from missing(model, name)

    assert list(missing(copy.deepcopy(SCHEMA), "")) == []
