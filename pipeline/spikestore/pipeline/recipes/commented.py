"""Recipes as TOML text in which each field has its description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from spikestore.pipeline.readers.folder.settings import FolderSettings
from spikestore.pipeline.recipes.field_texts import field_texts, model_text
from spikestore.pipeline.recipes.recipe import Recipe, RecipeSource
from spikestore.store_schemas.specs.operations import (
    ClipCounts,
    CropTime,
    Downsample,
    MergePolarities,
    ToFrame,
)

_TABLES = ("source", "folder", "transform", "build")
"""Fields that are tables of their own."""

_OPERATIONS: dict[str, type[BaseModel]] = {
    model.model_fields["op"].default: model
    for model in (Downsample, MergePolarities, CropTime, ToFrame, ClipCounts)
}
"""Operations that `commented_recipe` writes."""


def commented_recipe(stated: Mapping[str, Any], header: Sequence[str]) -> str:
    """Return the text of a recipe with a comment for each field of its tables, including the fields that the recipe does not state.

    Parameters
    ----------
    stated : mapping
        The fields that the recipe states, as a TOML parser would return them. All operations must be
        among those that the module `spikestore.pipeline.recipes.new_recipe` writes.
    header : sequence of str
        Lines of the comment at the top.
    """
    source = stated["source"]
    lines = [f"# {line}".rstrip() for line in header]
    lines += ["", *_fields(Recipe, stated), "", *_table("[source]", RecipeSource, source)]
    if "folder" in source:
        lines += ["", *_table("[source.folder]", FolderSettings, source["folder"])]
    for operation in stated["transform"]:
        lines += ["", *_table("[[transform]]", _OPERATIONS[operation["op"]], operation)]
    return "\n".join([*lines, ""])


def _table(head: str, model: type[BaseModel], stated: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {model_text(model)}"
    yield head
    yield from _fields(model, stated)


def _fields(model: type[BaseModel], stated: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the stated fields, each below its description; then the other fields, as comments."""
    texts = field_texts(model)
    names = [name for name in model.model_fields if name not in _TABLES]
    for name in names:
        if name in stated:
            if name in texts:
                yield f"# {texts[name]}"
            yield f"{name} = {_value(stated[name])}"
    for name in names:
        if name not in stated and name != "version":
            yield f"#   {name}: {texts[name]}"


def _value(value: Any) -> str:
    """Return a value as TOML; strings, numbers, booleans and lists of these are written in the same way as in JSON, but DEL is escaped, as TOML requires."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
