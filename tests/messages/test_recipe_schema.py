"""``docs/recipe.schema.json`` is the schema of the recipes that this version reads."""

from __future__ import annotations

import json
from pathlib import Path

from spikestore.pipeline.recipes.schema import recipe_schema

PUBLISHED = Path(__file__).parents[2] / "docs/recipe.schema.json"


def test_the_published_schema_is_current() -> None:
    same = json.loads(PUBLISHED.read_text(encoding="utf-8")) == recipe_schema()
    assert same, "if recipes changed: spikestore recipe --schema > docs/recipe.schema.json"
