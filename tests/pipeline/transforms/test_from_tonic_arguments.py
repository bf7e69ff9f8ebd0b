"""Arguments as arrays, lists or types are accepted if the meaning is clear; images and types of frames need no operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tonic.datasets
from tonic import transforms

from spikestore.pipeline.transforms.from_tonic import dataset_from_tonic, transform_from_tonic
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas import ClipCounts, ToFrame, Transform
from spikestore.store_schemas.errors import UnsupportedTransformError

SIZE = (8, 8, 2)
SPEC = ToFrame(sensor_size=(100, 1, 1), time_window=4000.0)
FRAMES = transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000)


def test_arrays_and_lists_are_sizes() -> None:
    """Arrays and lists mean the same as tuples; a list of transforms means the same as their Compose."""
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


def test_operations_of_a_recipe_are_named_as_such() -> None:
    """`Recipe.transform` is a tuple of operations, which have no class in Tonic; the message says what to pass."""
    for given in (SPEC, (SPEC,), [Transform(operations=(SPEC,))]):
        with pytest.raises(
            UnsupportedTransformError, match=r"comes from a recipe and not from Tonic: pass a Transform"
        ):
            transform_from_tonic(given)
    assert Transform(operations=(SPEC,)) == transform_from_tonic(FRAMES)


@pytest.mark.parametrize("coordinates", [(1, 2), 5])
def test_pixels_are_pairs(coordinates: Any) -> None:
    """One pixel without its list is a mistake, and the message says so."""
    given = [transforms.DropPixel(coordinates=coordinates), FRAMES]
    with pytest.raises(
        UnsupportedTransformError, match=r"DropPixel needs pairs \(x, y\) as coordinates, got "
    ):
        transform_from_tonic(given)


def test_classes_in_place_of_objects() -> None:
    """A class instead of an object is a mistake, and the message says so."""
    with pytest.raises(UnsupportedTransformError, match=r"ToFrame is a class: pass an object, ToFrame\(…\)"):
        transform_from_tonic(transforms.Compose([transforms.ToFrame]))
    with pytest.raises(UnsupportedTransformError, match=r"SHD is a class: pass an object, SHD\(folder, …\)"):
        dataset_from_tonic(tonic.datasets.SHD)


def test_an_image_is_a_frame_of_all_events() -> None:
    spec = transform_from_tonic(transforms.ToImage((3, 2, 2)))
    assert spec.to_frame == ToFrame(sensor_size=(3, 2, 2), n_event_bins=1)
    events = np.zeros(4, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events["t"], events["x"], events["y"] = [0, 1, 5, 5], [0, 2, 2, 1], [1, 1, 1, 0]
    sample = NumpyChain(spec, has_y=True)(events, name="one")
    image = transforms.ToImage((3, 2, 2))(events)
    np.testing.assert_array_equal(sample.index, np.flatnonzero(image))
    np.testing.assert_array_equal(sample.value, image.reshape(-1)[sample.index])
    assert (sample.n_bins, sample.n_dropped) == (1, 0)


@pytest.mark.parametrize("dtype", [int, "uint16", np.float32, np.dtype(">i2")])
def test_a_type_that_holds_all_counts_adds_no_operation(dtype: Any) -> None:
    parts = [FRAMES, transforms.NumpyAsType(dtype)]
    assert transform_from_tonic(transforms.Compose(parts)).operations == (SPEC,)


def test_frames_as_bool_are_binary() -> None:
    parts = [FRAMES, transforms.NumpyAsType(bool)]
    assert transform_from_tonic(transforms.Compose(parts)).operations == (SPEC, ClipCounts(max=1))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([FRAMES, transforms.NumpyAsType(np.int8)], "NumpyAsType with int8 changes large counts"),
        ([FRAMES, transforms.NumpyAsType("f2")], "NumpyAsType with float16 changes large counts"),
        ([FRAMES, transforms.NumpyAsType("spam")], "NumpyAsType needs a dtype of NumPy, got 'spam'"),
        (
            [transforms.NumpyAsType(int), FRAMES],
            "NumpyAsType removes the names of fields, which a later ToFrame needs",
        ),
    ],
)
def test_types_that_change_counts_or_events_are_refused(parts: list[Any], message: str) -> None:
    with pytest.raises(UnsupportedTransformError, match=message):
        transform_from_tonic(transforms.Compose(parts))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (transforms.CropTime(max=float("inf")), "max: .*finite"),
        (transforms.CropTime(min=5, max=3), "must not be below min"),
        (transforms.Downsample(spatial_factor=[0.5, 0.5]), "needs a number as spatial_factor"),
        (transforms.Downsample(target_size=(1, 1)), "target_size without sensor_size"),
        (transforms.Downsample(time_factor=-1), "time_factor: .*greater than 0"),
        (transforms.TimeSkew(0), "coefficient: .*greater than 0"),
        (
            transforms.EventDownsampling(SIZE, (4, 2), "integrator", 1),
            "needs a number as noise_threshold, got None",
        ),
        (transforms.EventDownsampling(SIZE, (4, 2), "integrator", 1, 0), "noise_threshold: .*equal to 1"),
        (
            transforms.EventDownsampling(SIZE, (4, 2), "naive", 1, 1),
            'downsampling_method must be .*, and "integrator" if it is not set; got',
        ),
    ],
)
def test_operations_that_no_spec_describes(part: Any, message: str) -> None:
    with pytest.raises(
        UnsupportedTransformError, match=rf"^tonic.transforms.{type(part).__name__} .*{message}"
    ):
        transform_from_tonic(transforms.Compose([part, FRAMES]))
