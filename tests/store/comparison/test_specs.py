"""Differences of what two sets were computed from."""

from __future__ import annotations

from dataclasses import replace

from tests.store.small_sets import memory_storage, small_set

from spikestore.store.comparison.specs import Difference, spec_differences
from spikestore.store_schemas import CropTime, Downsample, Transform
from spikestore.store_schemas.documents.manifest import Manifest

SMALL = small_set()
CROP = CropTime(max=1e6)


def manifest(*operations: object, time_window: float = 4000.0, split: str = "train") -> Manifest:
    """Return the manifest of a small set with these operations before its frames."""
    small = small_set(time_window=time_window, split=split)
    frames = small.transform.operations
    changed = replace(small, transform=Transform(operations=(*operations, *frames)))  # type: ignore[arg-type]
    return changed.build(memory_storage()).manifest


def test_equal_specs() -> None:
    """Nothing differs."""
    assert spec_differences(manifest(CROP), manifest(CROP)) == []


def test_parameters_operations_and_files() -> None:
    """Each difference names the operation and the parameter; an operation that one set lacks has its parameters."""
    first = manifest(CROP, time_window=4000.0)
    second = manifest(Downsample(time_factor=0.5), CROP, time_window=5000.0, split="valid")
    found = {one.where: one for one in spec_differences(first, second)}
    assert found["to_frame.time_window"] == Difference("to_frame.time_window", 4000.0, 5000.0)
    assert found["downsample"].first is None
    assert found["downsample"].second["time_factor"] == 0.5
    assert found["source.split"] == Difference("source.split", "train", "valid")
    assert found["file train.h5"].second is None
    assert found["file valid.h5"].first is None
    assert not [where for where in found if where.startswith("crop_time")]
