"""Frames of real numbers from columns equal those of NumpyChain, and other recordings get its results and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.fused_cases import block_of, name_of
from tests.pipeline.tonic_cases import recording

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.choose import OneByOne, block_chain
from spikestore.pipeline.transforms.float_columns import FloatColumns, can_read
from spikestore.pipeline.transforms.fused import FusedSamples
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.specs.operations import (
    CropTime,
    Denoise,
    Downsample,
    MergePolarities,
    ToAveragedTimesurface,
    ToTimesurface,
    ToVoxelGrid,
)
from spikestore.store_schemas.specs.transform import Transform

SIZE = (12, 9, 2)
FRAMES = (
    ToVoxelGrid(sensor_size=SIZE, n_time_bins=4),
    ToTimesurface(sensor_size=SIZE, dt=7.0, tau=20.0),
    ToAveragedTimesurface(sensor_size=SIZE, time_window=30.0),
)
BEFORE = (
    (),
    (CropTime(min=5, max=60),),
    (Downsample(spatial_factor=(0.5, 0.5), time_factor=0.5), Denoise(filter_time=20)),
)


@st.composite
def recordings(draw: st.DrawFn) -> Events:
    """Strategy for recordings; a few are empty, not sorted, outside the sensor, or have one time only."""
    count, fault = (
        draw(st.integers(0, 60)),
        draw(st.sampled_from(["", "", "", "order", "x", "p", "t", "late"])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    events = recording(
        np.sort(rng.integers(0, 100, count)), x=rng.integers(0, 12, count), y=rng.integers(0, 9, count)
    )
    events["p"] = rng.integers(0, 2, count)
    if count and fault == "order":
        events["t"][0] = 200
    elif count and fault == "t":
        events["t"] = 50
    elif count and fault == "late":
        events["t"][-1] = 2**51
    elif count and fault:
        events[fault][count // 2] = 12
    return events  # fmt: skip


def assert_equal(ours: FusedSamples, expected: FusedSamples) -> None:
    assert {row: str(error) for row, error in ours.errors.items()} == {
        row: str(error) for row, error in expected.errors.items()
    }
    for name in ("nnz", "n_bins", "n_events", "n_cropped", "n_dropped", "index", "value"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(expected, name), err_msg=name)


@settings(max_examples=60)
@given(
    st.lists(recordings(), min_size=1, max_size=4),
    st.sampled_from(FRAMES),
    st.sampled_from(BEFORE),
    st.booleans(),
)
def test_results_are_those_of_numpy(found: list[Events], frames: Any, before: Any, sort: bool) -> None:
    transform = Transform(operations=(*before, frames), max_bins=1000)
    block = block_of(found)
    ours = block_chain(transform, "auto", has_y=True)(block, name_of=name_of, sort=sort)
    expected = OneByOne(NumpyChain(transform, has_y=True))(block, name_of=name_of, sort=sort)
    assert_equal(ours, expected)


@pytest.mark.parametrize("frames", FRAMES[:2])
def test_a_larger_sensor_has_the_same_values(frames: Any) -> None:
    """The first sensor has fewer pixels than events; the last one is too large for a table of its pixels."""
    rng, n = np.random.default_rng(3), 300
    events = recording(np.sort(rng.integers(0, 90, n)), x=rng.integers(0, 12, n), y=rng.integers(0, 9, n))
    found = []
    for width, height in ((12, 9), (64, 64), (8192, 4096)):
        spec = frames.model_copy(update={"sensor_size": (width, height, 2)})
        chain = block_chain(Transform(operations=(spec,)), "auto", has_y=True)
        samples = chain(block_of([events]), name_of=name_of)
        time_bin, place = np.divmod(samples.index.astype(np.int64), spec.frame_size[2] * height * width)
        y, x = np.divmod(place, width)  # y includes the polarity
        found.append((time_bin, y % height, x, samples.value))
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_ordinary_recordings_are_read_from_columns() -> None:
    transform = Transform(operations=(CropTime(min=5, max=60), FRAMES[0]))
    ordinary = FloatColumns(transform).recordings(block_of([recording([0, 7, 9, 20], y=0)]))
    assert ordinary is not None
    sample = ordinary.sample(0, name="recording 0")
    assert sample is not None
    assert (sample.n_events, sample.n_cropped, sample.n_dropped) == (4, 1, 1)
    assert not can_read(Transform(operations=(MergePolarities(), FRAMES[0])))
    seconds = block_of([recording([0.0, 7.5], y=0, t_dtype="f8")])
    assert FloatColumns(transform).recordings(seconds) is None
