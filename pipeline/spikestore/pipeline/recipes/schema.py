"""The JSON schema of recipes, with which editors complete and check recipes.

``docs/recipe.schema.json`` is its published copy: ``spikestore recipe --schema`` writes it.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from spikestore.pipeline.recipes.field_texts import field_texts, model_text
from spikestore.pipeline.recipes.recipe import Recipe

_FRACTION = {"type": "string", "pattern": r"^ *[0-9.eE+-]+ */ *[0-9.eE+-]+ *$"}
_SIZE = {"type": "integer", "minimum": 1}
_SENSOR_SIZE = {"type": "array", "items": _SIZE, "minItems": 2, "maxItems": 3}

_SHORT_FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "CenterCrop": {"sensor_size": _SENSOR_SIZE, "size": _SIZE},
    "Downsample": {
        "spatial_factor": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _FRACTION]},
        "sensor_size": {
            **_SENSOR_SIZE,
            "description": "Size (x, y, p) of the sensor before this operation; set it together with target_size.",
        },
        "target_size": {
            **_SENSOR_SIZE,
            "maxItems": 2,
            "description": "Size (x, y) of the sensor after this operation. target_size and sensor_size together replace spatial_factor.",
        },
    },
    "EventDownsampling": {
        "sensor_size": _SENSOR_SIZE,
        "downsampling_method": {
            "enum": ["integrator", "differentiator"],
            "description": "Optional: Tonic's name of the downsampling method. Must be differentiator if differentiator_time_bins is set, else integrator.",
        },
    },
}
"""JSON schemas of what the validators of operations accept in addition to the stored forms, by operation and field."""

_LIMITS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""Name of a limit in JSON schema, by its name in pydantic; pydantic writes its own names if a number has a validator."""


class _RecipeSchema(GenerateJsonSchema):
    """Makes the schema: adds the descriptions of models and fields. A field for a real number also accepts a fraction as text, such as "1/7"."""

    def model_schema(self, schema: core_schema.ModelSchema) -> dict[str, Any]:
        """Return the schema of a model."""
        model: type[BaseModel] = schema["cls"]
        written = super().model_schema(schema)
        written.pop("title", None)
        written["description"] = model_text(model)
        texts = field_texts(model)
        for name, field in written["properties"].items():
            field.pop("title", None)
            if name in texts:
                field["description"] = texts[name]
        if "op" in written["properties"]:
            written["required"] = ["op", *written.get("required", ())]
        return written

    def float_schema(self, schema: core_schema.FloatSchema) -> dict[str, Any]:
        """Return the schema of a real number: a number, or a text with a fraction."""
        return {"anyOf": [super().float_schema(schema), _FRACTION]}


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of recipes, as a mapping of plain JSON values."""
    schema = Recipe.model_json_schema(schema_generator=_RecipeSchema)
    for operation, forms in _SHORT_FORMS.items():
        fields = schema["$defs"][operation]["properties"]
        for name, form in forms.items():
            stored = fields.get(name)
            fields[name] = form if stored is None else _either(stored, form)
    _correct(schema)
    return {"$schema": _RecipeSchema.schema_dialect, "title": "Recipe of spikestore", **schema}


def _either(stored: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {name: stored.pop(name) for name in ("description", "default") if name in stored}
    return {"anyOf": [stored, form], **about}


def _correct(schema: Any) -> None:
    """Change a schema in place: replace pydantic's names of limits by those of JSON schema (`_LIMITS`), and remove ``discriminator``, which editors do not use."""
    if isinstance(schema, list):
        for item in schema:
            _correct(item)
    if not isinstance(schema, dict):
        return
    schema.pop("discriminator", None)
    limits = {_LIMITS[name]: schema.pop(name) for name in _LIMITS if name in schema}
    if limits:
        number = schema["anyOf"][0] if "anyOf" in schema else schema
        number.update(limits)
    for value in schema.values():
        _correct(value)
