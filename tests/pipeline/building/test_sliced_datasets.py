"""Slices of Tonic's ``SlicedDataset`` are recordings that a version or a hash identifies."""

from __future__ import annotations

from pathlib import Path

import pytest
import tonic
from tests.pipeline.building.test_map_datasets import FRAMES, build
from tests.pipeline.map_datasets import Gestures, assert_equals_tonic
from tests.pipeline.small_builds import ssc, write_ssc
from tonic import transforms
from torch.utils.data import Subset

from spikestore.store_schemas.errors import UsageError


def test_slices_are_recordings_of_a_version(tmp_path: Path) -> None:
    sliced = tonic.SlicedDataset(Gestures(3), tonic.slicers.SliceByTime(5_000, include_incomplete=True))
    with pytest.raises(UsageError, match="SlicedDataset has no known files: identify its recordings"):
        build(sliced, tmp_path, version=None)
    features = build(sliced, tmp_path)
    assert len(features) > 3
    assert_equals_tonic(features, sliced, FRAMES)
    hashed = build(sliced, tmp_path / "hashed", version=None, hash_events=True)
    assert hashed.digest == features.digest


def test_slices_of_a_data_set_with_files_need_a_version_too(tmp_path: Path) -> None:
    """The files say nothing about the slicer; a transform before the slicer, or of the slices, is rejected."""
    folder = write_ssc(tmp_path / "data")
    dataset = ssc(folder, transform=None)
    filled = [row for row in range(6) if len(dataset[row][0])][:2]  # Tonic can't slice empty recordings
    slicer = tonic.slicers.SliceByTime(400_000, include_incomplete=True)
    frames = transforms.ToFrame(sensor_size=(700, 1, 1), time_window=10_000, include_incomplete=True)
    sliced = tonic.SlicedDataset(Subset(dataset, filled), slicer)
    with pytest.raises(UsageError, match="SlicedDataset has no known files: identify its recordings"):
        build(sliced, tmp_path / "store", transform=frames, version=None)
    features = build(sliced, tmp_path / "store", transform=frames)
    assert len(features) == len(sliced)
    assert_equals_tonic(features, sliced, frames)
    sliced.transform = frames  # after comparing, since Tonic applies it
    with pytest.raises(UsageError, match="SlicedDataset has a transform of its own"):
        build(sliced, tmp_path / "store", transform=frames)
