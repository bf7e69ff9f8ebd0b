"""Targets that are texts: the numbers of their classes must be those of the recordings, if these are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic
from tests.pipeline.folders import draw, recipe_for, save

from spikestore.pipeline import import_cache, preprocess, source_of_dataset
from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError

FRAMES = tonic.transforms.ToFrame(sensor_size=(16, 12, 2), time_window=1000, include_incomplete=True)


def fill(folder: Path, *labels: str) -> None:
    """Write a recording of each label in ``data``, and in ``cache`` their frames with the labels as targets."""
    for row, label in enumerate(labels):
        save(folder / f"data/{label}/a.npy", draw(row))
    cache = tonic.DiskCachedDataset(
        [(FRAMES(draw(row)), label) for row, label in enumerate(labels)], str(folder / "cache")
    )
    for row in range(len(labels)):
        cache[row]


@pytest.mark.parametrize(
    ("labels", "table", "order"),
    [
        (("1", "10", "2"), {}, ("1", "2", "10")),
        (("left", "right"), {"classes": ["right", "left"]}, ("right", "left")),
    ],
)
def test_texts_in_another_order_than_in_the_recordings_are_refused(
    labels: tuple[str, ...], table: dict[str, Any], order: tuple[str, ...], tmp_path: Path
) -> None:
    """Sorted texts are not always the order of the recordings; then the labels would be other numbers."""
    fill(tmp_path, *labels)
    recipe = recipe_for(tmp_path / "data", **table)

    def imported(classes: tuple[str, ...] | None) -> FeatureSet:
        return import_cache(
            tmp_path / "cache",
            recipe,
            split="all",
            store=tmp_path / "store",
            classes=classes,
            data=tmp_path / "data",
        )

    with pytest.raises(UsageError, match=rf"would be class .*--classes\): {','.join(order)}$"):
        imported(None)
    assert not [*(tmp_path / "store").rglob("records/*")]
    features = imported(order)
    built = preprocess(recipe, store=tmp_path / "store", workers=0)["all"]
    assert features.classes == built.classes == order
    np.testing.assert_array_equal(features.read().label, built.read().label)


def test_a_text_is_no_list_of_classes(tmp_path: Path) -> None:
    """Its letters would be taken as names of classes."""
    fill(tmp_path, "a", "b")
    recipe = recipe_for(tmp_path / "data")
    with pytest.raises(UsageError, match=r"classes must be a sequence of names, got 'ab': pass \['ab'\]"):
        import_cache(tmp_path / "cache", recipe, split="all", store=tmp_path / "store", classes="ab")
    pairs = [(draw(row), row) for row in range(2)]
    with pytest.raises(UsageError, match=r"classes must be a sequence of names, got 'ab'"):
        source_of_dataset(pairs, version="1", classes="ab")
