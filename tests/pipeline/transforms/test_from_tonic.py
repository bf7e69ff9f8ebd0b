"""Tonic's transforms and data sets are converted to specs, or an error names them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tonic
import tonic.datasets
import tonic.slicers
from tonic import transforms

from spikestore.pipeline.transforms.from_tonic import (
    ConvertedDataset,
    dataset_from_tonic,
    transform_from_tonic,
)
from spikestore.store_schemas.errors import SpecError, UnsupportedTransformError
from spikestore.store_schemas.specs.operations import (
    CenterCrop,
    CropTime,
    Decimation,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    MergePolarities,
    RefractoryPeriod,
    TimeAlignment,
    TimeSkew,
    ToFrame,
    without_spec,
)
from spikestore.store_schemas.specs.transform import Transform

FRAMES = ToFrame(sensor_size=(100, 1, 1), time_window=4000.0)
TONIC_FRAMES = transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000)


def one_spec(part: Any) -> Any:
    """Return the spec of one operation that is followed by a ToFrame."""
    return transform_from_tonic(transforms.Compose([part, TONIC_FRAMES])).operations[0]


def refusal(part: Any) -> str:
    with pytest.raises(UnsupportedTransformError) as caught:
        transform_from_tonic(transforms.Compose([part, TONIC_FRAMES]))
    return str(caught.value)


# ------------------------------------------------------------------ transforms with a spec


def test_the_seeds_compose_becomes_the_spec_that_a_recipe_would_give() -> None:
    dense_transform = transforms.Compose([
        transforms.Downsample(spatial_factor=100 / 700),
        transforms.CropTime(max=1e6),
        transforms.ToFrame(sensor_size=(100, 1, 1), time_window=4000, include_incomplete=True),
    ])  # fmt: skip
    expected = Transform(
        operations=(
            Downsample(time_factor=1.0, spatial_factor=(100 / 700, 100 / 700)),
            CropTime(min=0.0, max=1e6),
            ToFrame(sensor_size=(100, 1, 1), time_window=4000.0, include_incomplete=True),
        )
    )
    assert transform_from_tonic(dense_transform) == expected
    assert transform_from_tonic(dense_transform).key == expected.key


def test_nested_composes_and_a_bare_to_frame() -> None:
    crop, scale = transforms.CropTime(max=5), transforms.Downsample(0.5)
    nested = transforms.Compose([transforms.Compose([crop, transforms.Compose((scale,))]), TONIC_FRAMES])
    assert transform_from_tonic(nested).operations == (CropTime(max=5.0), Downsample(time_factor=0.5), FRAMES)
    assert transform_from_tonic(TONIC_FRAMES) == Transform(operations=(FRAMES,))


def test_max_bins_is_passed_on() -> None:
    assert transform_from_tonic(TONIC_FRAMES, max_bins=7).max_bins == 7
    assert transform_from_tonic(TONIC_FRAMES).max_bins == 10**6


@pytest.mark.parametrize(
    ("part", "spec"),
    [
        (transforms.Downsample(), Downsample()),
        (
            transforms.Downsample(time_factor=2, spatial_factor=(0.5, 1)),
            Downsample(time_factor=2.0, spatial_factor=(0.5, 1.0)),
        ),
        (transforms.Downsample(spatial_factor=np.float64(0.25)), Downsample(spatial_factor=(0.25, 0.25))),
        (
            transforms.Downsample(spatial_factor=9, sensor_size=(700, 3, 1), target_size=(100, 2)),
            Downsample(spatial_factor=(100 / 700, 2 / 3)),
        ),
        (
            transforms.Downsample(spatial_factor=0.5, sensor_size=(700, 3, 1)),
            Downsample(spatial_factor=(0.5, 0.5)),
        ),
        (transforms.CropTime(3, np.int64(9)), CropTime(min=3.0, max=9.0)),
        (transforms.Decimation(3), Decimation(n=3)),
        (transforms.Denoise(10_000), Denoise(filter_time=10_000.0)),
        (transforms.DropPixel([[2, 1], np.array([1, 5]), (2, 1)]), DropPixel(coordinates=((1, 5), (2, 1)))),
        (transforms.MergePolarities(), MergePolarities()),
        (transforms.RefractoryPeriod(np.int32(7)), RefractoryPeriod(delta=7.0)),
        (transforms.CenterCrop((8, 9, 2), 4), CenterCrop(sensor_size=(8, 9), size=(4, 4))),
        (transforms.CenterCrop((8, 9, 2), (3, 12)), CenterCrop(sensor_size=(8, 9), size=(3, 12))),
        (transforms.TimeAlignment(), TimeAlignment()),
        (transforms.TimeSkew(2, -5), TimeSkew(coefficient=2.0, offset=-5.0)),
        (
            transforms.EventDownsampling((8, 8, 2), (4, 2), "integrator", 0.5, 2, 3),  # 3 has no effect
            EventDownsampling(sensor_size=(8, 8), target_size=(4, 2), dt=0.5, noise_threshold=2),
        ),
    ],
)
def test_operations(part: Any, spec: Any) -> None:
    assert one_spec(part) == spec


@pytest.mark.parametrize(
    ("fields", "spec_fields"),
    [
        ({"time_window": 4, "overlap": 1}, {"time_window": 4.0, "overlap": 1.0}),
        (
            {"time_window": 4, "start_time": 0, "end_time": 9.5},
            {"time_window": 4.0, "start_time": 0.0, "end_time": 9.5},
        ),
        (
            {"event_count": 5.0, "overlap": 2, "include_incomplete": 1},
            {"event_count": 5, "overlap": 2.0, "include_incomplete": True},
        ),
        ({"n_time_bins": np.int32(5), "overlap": 0.5}, {"n_time_bins": 5, "overlap": 0.5}),
        ({"n_event_bins": 5}, {"n_event_bins": 5}),
        # arguments that Tonic ignores do not change the spec
        (
            {"n_event_bins": 5, "include_incomplete": True, "start_time": 4, "end_time": 9},
            {"n_event_bins": 5},
        ),
        ({"event_count": 5, "start_time": 4}, {"event_count": 5}),
    ],
)
def test_every_way_of_slicing(fields: dict[str, Any], spec_fields: dict[str, Any]) -> None:
    part = transforms.ToFrame(sensor_size=[np.int64(8), 4, 2], **fields)
    assert transform_from_tonic(part).to_frame == ToFrame(sensor_size=(8, 4, 2), **spec_fields)


# ------------------------------------------------------------------ transforms without a spec

SIZE = (8, 8, 2)
SPECIFIED = {
    "CenterCrop", "Compose", "CropTime", "Decimation", "Denoise", "Downsample", "DropPixel", "EventDownsampling",
    "MergePolarities", "RefractoryPeriod", "TimeAlignment", "TimeSkew", "ToAveragedTimesurface", "ToBinaRep", "ToFrame",
    "ToTimesurface", "ToVoxelGrid",
}  # fmt: skip
RANDOM = [
    transforms.DropEvent(p=0.2),
    transforms.DropEventByTime(),
    transforms.DropEventByArea(SIZE),
    transforms.EventDrop(SIZE),
    transforms.RandomCrop(SIZE, (4, 4)),
    transforms.RandomDropPixel(0.1),
    transforms.RandomFlipLR(SIZE),
    transforms.RandomFlipPolarity(),
    transforms.RandomFlipUD(SIZE),
    transforms.RandomTimeReversal(),
    transforms.SpatialJitter(SIZE),
    transforms.TimeJitter(3),
    transforms.UniformNoise(SIZE, 4),
    transforms.TimeSkew((0.9, 1.1)),
    transforms.TimeSkew(1.0, offset=[0, 5]),
    transforms.RefractoryPeriod((1, 5)),
]


@pytest.mark.parametrize("part", RANDOM, ids=repr)
def test_random_transforms_are_refused_by_name(part: Any) -> None:
    expected = f"tonic.transforms.{type(part).__name__} is random: every epoch would get the same random result from the store; "
    assert refusal(part) == expected + "apply this transform during training"


@pytest.mark.parametrize("factor", [(0.9, 1.1), [0.9, 1.1]])
def test_a_range_as_time_factor_is_random(factor: Any) -> None:
    message = refusal(transforms.Downsample(time_factor=factor))
    assert message.startswith(
        "tonic.transforms.Downsample with a range as time_factor is random: every epoch would get"
    )


def test_parameters_that_are_inferred_from_data_are_refused_with_the_reason() -> None:
    assert (
        "CropTime with max=None crops all recordings at the last time stamp of the first recording"
        in refusal(transforms.CropTime())
    )
    assert "DropPixel with hot_pixel_frequency finds hot pixels in each recording separately" in refusal(
        transforms.DropPixel(hot_pixel_frequency=9)
    )
    for nothing in (None, ()):
        with pytest.raises(
            UnsupportedTransformError, match=r"ToFrame without sensor_size makes frames of a different shape"
        ):
            transform_from_tonic(transforms.ToFrame(nothing, time_window=3))


def test_other_transforms_of_tonics_have_no_operation() -> None:
    expected = "tonic.transforms.Repeat has no operation in spikestore: docs/tonic.md lists the transforms that have an operation"
    assert refusal(transforms.Repeat(3)) == expected


def test_no_transform_of_this_tonic_is_overlooked() -> None:
    """Each new class of a later Tonic must be classified: random or not."""
    known = without_spec.RANDOM | without_spec.UNSUPPORTED | without_spec.INSTEAD.keys() | SPECIFIED
    assert {type(part).__name__ for part in RANDOM} - {"TimeSkew", "RefractoryPeriod"} == without_spec.RANDOM
    own = {
        kind for kind in vars(transforms).values() if getattr(kind, "__module__", "") == transforms.__name__
    }
    assert {kind.__name__ for kind in own if isinstance(kind, type)} == known


def a_function(events: Any) -> Any:
    return events


def test_functions_and_other_objects_are_named() -> None:
    assert refusal(a_function).startswith(f"{__name__}.a_function (test_from_tonic.py, line ")
    assert "<lambda> (test_from_tonic.py, line " in refusal(lambda events: events)
    assert (
        "has no operation in spikestore: docs/tonic.md lists the transforms that have an operation"
        in refusal(a_function)
    )
    assert refusal(np.sort).startswith("numpy.sort")
    assert refusal(tonic.slicers.SliceByTime(1000)).startswith("tonic.slicers.SliceByTime")
    assert refusal(None).startswith("NoneType is not a transform")


class MyFrame(transforms.ToFrame):  # type: ignore[misc]
    """A subclass, which may behave in any way."""


class MyCompose(transforms.Compose):  # type: ignore[misc]
    """A subclass, which may behave in any way."""


@pytest.mark.parametrize(
    ("part", "base"), [(MyFrame(SIZE, time_window=3), "ToFrame"), (MyCompose([TONIC_FRAMES]), "Compose")]
)
def test_subclasses_are_not_taken_for_their_base(part: Any, base: str) -> None:
    with pytest.raises(
        UnsupportedTransformError,
        match=rf"My\w+ is a subclass of tonic.transforms.{base}, and a subclass may",
    ):
        transform_from_tonic(part)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            transforms.ToFrame(SIZE, time_window=3, overlap=4),
            "overlap must be below 3 with time_window",
        ),
        (transforms.ToFrame(SIZE, time_window=3, event_count=4), "exactly one of"),
        (transforms.ToFrame(SIZE), "exactly one of .* got none"),
        (transforms.ToFrame(SIZE, event_count=2.5), "needs a whole number as event_count, got 2.5"),
        (transforms.ToFrame((8, 8), event_count=2), "sensor_size"),
        (transforms.ToFrame(8, event_count=2), "sensor_size"),
        (transforms.ToFrame((8, 8, 2.5), event_count=2), "needs a whole number as sensor_size, got 2.5"),
        (transforms.ToFrame(SIZE, time_window="3"), "needs a number as time_window, got '3'"),
        (transforms.ToFrame(SIZE, time_window=True), "needs a number as time_window, got True"),
        (transforms.ToFrame(SIZE, time_window=2**53), r"time_window below 2\^53"),
    ],
)
def test_frames_that_no_spec_describes(part: Any, message: str) -> None:
    with pytest.raises(UnsupportedTransformError, match=rf"^tonic.transforms.ToFrame .*{message}"):
        transform_from_tonic(part)


def test_a_chain_that_does_not_end_in_frames_is_no_transform() -> None:
    for parts in ([], [transforms.CropTime(max=3)], [TONIC_FRAMES, transforms.CropTime(max=3)]):
        with pytest.raises(SpecError):
            transform_from_tonic(transforms.Compose(parts))


def test_parts_in_a_generator_are_left_alone() -> None:
    parts = iter([TONIC_FRAMES])
    with pytest.raises(
        UnsupportedTransformError, match="must have a list of transforms, got a list_iterator"
    ):
        transform_from_tonic(transforms.Compose(parts))
    assert list(parts) == [TONIC_FRAMES]


# ------------------------------------------------------------------ data sets


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for dataset, splits in (("SSC", ("train", "valid", "test")), ("SHD", ("train", "test"))):
        folder = tmp_path / dataset
        folder.mkdir()
        for split in splits:
            (folder / f"{dataset.lower()}_{split}.h5.zip").touch()  # the class looks for it
            with h5py.File(folder / f"{dataset.lower()}_{split}.h5", "w") as file:
                file["extra/keys"], file["extra/speaker"], file["labels"] = [b"zero"], [3], [0]
    return tmp_path


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_ssc(data: Path, split: str) -> None:
    dataset = tonic.datasets.SSC(str(data), split=split, transform=TONIC_FRAMES)
    assert dataset_from_tonic(dataset) == ConvertedDataset("SSC", split, data / "SSC", TONIC_FRAMES)


@pytest.mark.parametrize(("train", "split"), [(True, "train"), (False, "test")])
def test_shd(data: Path, train: bool, split: str) -> None:
    dataset = tonic.datasets.SHD(str(data), train=train)
    assert dataset_from_tonic(dataset) == ConvertedDataset("SHD", split, data / "SHD", None)


def test_transforms_of_targets_are_refused_by_name(data: Path) -> None:
    dataset = tonic.datasets.SSC(str(data), target_transform=transforms.ToOneHotEncoding(35))
    with pytest.raises(
        UnsupportedTransformError,
        match=r"hsd.SSC has target_transform = tonic.transforms.ToOneHotEncoding, but a store keeps the labels of the files",
    ):
        dataset_from_tonic(dataset)
    joint = tonic.datasets.SSC(str(data))
    joint.transforms = a_function
    with pytest.raises(
        UnsupportedTransformError,
        match=r"hsd.SSC has transforms = .*a_function .*, but a store keeps the labels",
    ):
        dataset_from_tonic(joint)


def test_caches_are_refused_for_the_inner_data_set(data: Path, tmp_path: Path) -> None:
    inner = tonic.datasets.SSC(str(data))
    for wrapped in (
        tonic.DiskCachedDataset(inner, cache_path=str(tmp_path / "cache")),
        type("Mine", (tonic.DiskCachedDataset,), {})(inner, cache_path=str(tmp_path / "cache")),
        tonic.MemoryCachedDataset(inner),
    ):
        with pytest.raises(
            UnsupportedTransformError,
            match=rf"{type(wrapped).__name__} is a cache .*: pass its attribute .dataset",
        ):
            dataset_from_tonic(wrapped)


def test_other_data_sets_are_refused_by_name(data: Path) -> None:
    class Mine(tonic.datasets.SSC):  # type: ignore[misc]
        pass

    mine = Mine.__new__(Mine)
    with pytest.raises(
        UnsupportedTransformError,
        match=r"Mine is a subclass, .*: use one of ASLDVS, CIFAR10DVS, DVSGesture, DVSLip, NCALTECH101, NMNIST, NTIDIGITS18, POKERDVS, SHD, SSC",
    ):
        dataset_from_tonic(mine)
    for other in (tonic.datasets.EBSSA.__new__(tonic.datasets.EBSSA), [1, 2], None):
        with pytest.raises(
            UnsupportedTransformError, match=rf"{type(other).__name__} has no reader: use one of ASLDVS"
        ):
            dataset_from_tonic(other)


def test_a_data_set_that_was_turned_to_another_file_is_refused(data: Path) -> None:
    dataset = tonic.datasets.SSC(str(data))
    dataset.data_filename = "shd_train.h5"
    with pytest.raises(
        UnsupportedTransformError,
        match=r"reads 'shd_train.h5', which is none of its files \(ssc_train.h5, .*\): create this Python object again",
    ):
        dataset_from_tonic(dataset)


def test_nothing_of_tonic_is_imported_to_look_at_an_object() -> None:
    code = """
import sys
from spikestore.pipeline.transforms.from_tonic import dataset_from_tonic, transform_from_tonic
for convert in (dataset_from_tonic, transform_from_tonic):
    try:
        convert(None)
    except ValueError:
        pass
sys.exit("tonic" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
