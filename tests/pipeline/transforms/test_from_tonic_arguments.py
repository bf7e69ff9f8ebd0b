"""Arguments of Tonic's transforms as arrays, lists or classes: accepted if the meaning is clear, otherwise an error."""

from __future__ import annotations

import numpy as np
import pytest
import tonic.datasets
from tonic import transforms

from spikestore.pipeline.transforms.from_tonic import dataset_from_tonic, transform_from_tonic
from spikestore.store_schemas.errors import UnsupportedTransformError


def test_arrays_and_lists_are_sizes() -> None:
    """What arrays and lists hold is what a tuple holds; a list of transforms is what a Compose of it is."""
    parts = [
        transforms.Downsample(spatial_factor=(0.5, 0.5)),
        transforms.ToFrame(sensor_size=(20, 10, 2), time_window=4000),
    ]
    wanted = transform_from_tonic(transforms.Compose(parts))
    for size in (np.array([20, 10, 2]), [20, 10, 2], tuple(np.array([20, 10, 2]))):
        for factor in ((np.float64(0.5), 0.5), np.float64(0.5)):
            given = [
                transforms.Downsample(spatial_factor=factor),
                transforms.ToFrame(sensor_size=size, time_window=np.int64(4000)),
            ]
            assert transform_from_tonic(given) == transform_from_tonic(tuple(given)) == wanted
    with pytest.raises(UnsupportedTransformError, match="pass sensor_size"):
        transform_from_tonic(transforms.ToFrame(sensor_size=np.array([]), time_window=4000))


def test_classes_in_place_of_objects() -> None:
    """A slip, and told as that."""
    with pytest.raises(UnsupportedTransformError, match=r"ToFrame is a class: pass an object, ToFrame\(…\)"):
        transform_from_tonic(transforms.Compose([transforms.ToFrame]))
    with pytest.raises(UnsupportedTransformError, match=r"SHD is a class: pass an object, SHD\(folder, …\)"):
        dataset_from_tonic(tonic.datasets.SHD)
