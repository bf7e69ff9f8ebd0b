"""Rules of SpikingJelly on the float16 times of SHD and SSC, for parts of these data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.small_builds import ssc, write_ssc
from torch.utils.data import ConcatDataset, Subset

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.transform import Transform

DURATION = {"op": "fixed_duration", "sensor_size": [700, 1, 1], "duration": 10_000}
BY_TIME = {"op": "fixed_frames_number", "sensor_size": [700, 1, 1], "frames_number": 7, "split_by": "time"}


def build(dataset: Any, operation: dict[str, Any], store: Path, **options: Any) -> FeatureSet:
    transform = Transform.from_mapping({"operations": [operation]}, origin="test")
    features = preprocess(dataset, transform, store=store, workers=0, **options)
    assert isinstance(features, FeatureSet)
    return features


@pytest.mark.parametrize("operation", [DURATION, BY_TIME], ids=lambda operation: str(operation["op"]))
def test_frames_of_a_recording_do_not_depend_on_the_rows_beside_it(
    tmp_path: Path, operation: dict[str, Any]
) -> None:
    dataset = ssc(write_ssc(tmp_path), transform=None)
    whole = build(dataset, operation, tmp_path / "whole")
    # Rows in disorder, twice, and between rows of another file.
    rows = [*np.random.default_rng(0).permutation(len(dataset)).tolist(), 3, 3]
    other = ssc(tmp_path, split="valid", transform=None)
    parts: Any = ConcatDataset([Subset(dataset, rows), Subset(other, [2, 1])])
    some = build(parts, operation, tmp_path / "some")
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(some.frames(place), whole.frames(row))


def test_stored_times_and_others_are_not_mixed(tmp_path: Path) -> None:
    dataset = ssc(write_ssc(tmp_path), transform=None)
    events = np.array([(0, 1, 1), (5_000, 2, 1)], [("t", "i8"), ("x", "i2"), ("p", "i2")])
    own: Any = [(events, 0)]
    mixed: Any = ConcatDataset([dataset, own])
    with pytest.raises(UsageError, match="fixed_duration uses the float16 times of SHD and SSC"):
        build(mixed, DURATION, tmp_path / "store", version="1")
    by_number = BY_TIME | {"split_by": "number"}
    assert len(build(mixed, by_number, tmp_path / "store", version="1")) == len(dataset) + 1
