"""Map-style data sets for tests: classes as users write them, and Tonic's frames of their items."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tests.pipeline.folders import draw
from tonic import transforms

from spikestore.store.feature_set import FeatureSet


class Gestures:
    """A data set with its recordings in memory; `faults` gives the items that raise."""

    classes = ("left", "right")

    def __init__(self, count: int = 10, first: int = 0, faults: tuple[int, ...] = ()) -> None:
        self.recordings = [draw(first + number) for number in range(count)]
        self.faults = faults

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.void], Any]:
        if index in self.faults:
            raise OSError("disk is gone")
        return self.recordings[index], range(len(self))[index] % 2


def frames_transform() -> transforms.Compose:
    return transforms.Compose(
        [transforms.ToFrame(sensor_size=(16, 12, 2), time_window=1000, include_incomplete=True)]
    )


def assert_equals_tonic(features: FeatureSet, dataset: Any, transform: Any) -> None:
    """Compare a set with the frames and targets that an object in Python gives, item by item."""
    assert len(features) == len(dataset)
    labels = features.column("label")
    for row in range(len(dataset)):
        events, target = dataset[row]
        if len(events):  # without events, Tonic's frames have another shape
            expected = transform(events.copy())
            assert np.array_equal(features.frames(row), expected), row
        else:
            assert not features.frames(row).any()
        assert labels[row] == target or features.classes[labels[row]] == str(target)
