"""A recipe, its lock and its recordings from version 0.1.0.dev0; golden/README.md says when they may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spikestore.pipeline import preprocess
from spikestore.pipeline.recipes.recipe_lock import read_lock
from spikestore.store import Store

GOLDEN = Path(__file__).parents[2] / "golden" / "recipe"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return the recipe in a copy of its folder."""
    return shutil.copytree(GOLDEN, tmp_path / "recipe") / "golden.toml"


def test_the_recipe_still_has_the_digests_of_its_lock(recipe: Path, tmp_path: Path) -> None:
    """Keys and digests are those that 0.1.0.dev0 wrote, and the lock stays unchanged, byte for byte."""
    text = recipe.with_suffix(".lock").read_bytes()
    lock = read_lock(recipe.with_suffix(".lock"))
    assert lock is not None
    built = preprocess(recipe, store=tmp_path / "store", workers=0)
    assert {split: features.pin for split, features in built.items()} == lock.splits
    assert recipe.with_suffix(".lock").read_bytes() == text


def test_the_lock_finds_the_sets_without_recordings(recipe: Path, tmp_path: Path) -> None:
    """A colleague with the recipe, the lock and the store needs no recordings."""
    preprocess(recipe, store=tmp_path / "store", workers=0)
    shutil.rmtree(recipe.parent / "recordings")
    found = preprocess(recipe, store=Store(tmp_path / "store"), workers=0)
    assert {split: len(features) for split, features in found.items()} == {"train": 3, "test": 2}
