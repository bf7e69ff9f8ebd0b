"""FusedChain with CenterCrop, Denoise and RefractoryPeriod returns the samples of TonicChain."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.fused_cases import alone, assert_same, block_of, by_tonic, name_of
from tests.pipeline.tonic_cases import recording

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.choose import executor_for
from spikestore.pipeline.transforms.fused import FusedChain
from spikestore.store_schemas import (
    CenterCrop,
    CropTime,
    Denoise,
    Downsample,
    Operation,
    RefractoryPeriod,
    ToFrame,
    Transform,
)
from spikestore.store_schemas.errors import RecordingError

pytestmark = pytest.mark.bits

WIDTH, HEIGHT = 9, 7
_OTHERS: list[Operation] = [
    Downsample(time_factor=0.37, spatial_factor=(0.5, 1.0)),
    Downsample(time_factor=3.0),
    CropTime(min=5.0, max=300.5),
]
_FILTERS = st.one_of(
    st.sampled_from([4.0, 4.5, 25.0]).map(lambda time: Denoise(filter_time=time)),
    st.sampled_from([0.0, 3.0, 3.5, 25.0]).map(lambda delta: RefractoryPeriod(delta=delta)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(
        lambda size: CenterCrop(sensor_size=(WIDTH, HEIGHT), size=size)
    ),
)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Transform, list[Events], bool]:
    """Strategy: a transform with at least one filter, some recordings, and whether none of them is ill-formed."""
    operations = draw(st.lists(st.sampled_from(_OTHERS) | _FILTERS, max_size=3))
    operations.insert(draw(st.integers(0, len(operations))), draw(_FILTERS))
    base, legal = draw(st.sampled_from([0, 0, -20, 2**40])), True
    frames = ToFrame(
        sensor_size=(40, 40, 2),
        time_window=draw(st.sampled_from([7.0, 2.5])),
        start_time=draw(st.sampled_from([None, base - 4.0])),
        include_incomplete=draw(st.booleans()),
    )
    recordings = []
    for gaps in draw(
        st.lists(st.lists(st.sampled_from([0, 0, 1, 2, 9]), max_size=60), min_size=1, max_size=4)
    ):
        random, n = np.random.default_rng(draw(st.integers(0, 2**16))), len(gaps)
        x, y = random.integers(0, WIDTH, n), random.integers(0, HEIGHT, n)
        events = recording(base + np.cumsum(np.array(gaps, np.int64)), x, random.integers(0, 2, n), y)
        if n and draw(st.integers(0, 5)) == 0:
            field, value = draw(
                st.sampled_from([("x", -1), ("x", 70_000), ("p", 2), ("t", -99), ("t", 2**60)])
            )
            events[field][draw(st.integers(0, n - 1))] = value
            legal = False
        recordings.append(events)
    return Transform(operations=(*operations, frames), max_bins=10**6), recordings, legal


@settings(max_examples=examples(300, by_hand=25))
@given(blocks())
def test_filtered_blocks_are_tonics(case: tuple[Transform, list[Events], bool]) -> None:
    transform, recordings, legal = case
    chain, block = FusedChain(transform, has_y=True), block_of(recordings)
    expected = by_tonic(transform, recordings, has_y=True)
    before = [column.tobytes() for column in (block.t, block.x, block.y, block.p) if column is not None]
    if legal and not any(isinstance(one, RecordingError) for one in expected):
        assert_same(alone(chain, block), expected)
    with mock.patch.object(chain, "_chain", wraps=chain._chain) as left:
        assert_same(chain(block, name_of=name_of), expected)
    assert before == [c.tobytes() for c in (block.t, block.x, block.y, block.p) if c is not None]
    event(f"{left.call_count} of {len(recordings)} left to NumPy")


def test_polarities_that_are_all_one_are_filtered_too() -> None:
    transform = Transform(
        operations=(RefractoryPeriod(delta=2.0), ToFrame(sensor_size=(3, 1, 2), time_window=5.0))
    )
    events = recording([1, 2, 9, 10, 20], [0, 0, 2, 2, 0], 1, 0)
    expected = by_tonic(transform, [events], has_y=True)
    assert_same(alone(FusedChain(transform, has_y=True), block_of([events], p=None)), expected)


def test_a_table_of_too_many_pixels_is_left_to_numpy() -> None:
    frames = ToFrame(sensor_size=(60_000, 60_000, 2), time_window=5.0)
    transform = Transform(
        operations=(Denoise(filter_time=5.0), Downsample(spatial_factor=(0.01, 0.01)), frames)
    )
    assert (
        executor_for(transform, "auto", has_y=True) == "numpy"
    )  # more sites than the compiled pass supports
    small = Transform(
        operations=(*transform.on_events, ToFrame(sensor_size=(600, 600, 2), time_window=5.0)), max_bins=100
    )
    assert executor_for(small, "fused", has_y=True) == "fused"
    events = recording([1, 20, 21], [59_999, 0, 1], 1, [59_999, 0, 0])
    chain = FusedChain(small, has_y=True)
    with mock.patch.object(chain, "_chain", wraps=chain._chain) as left:
        found = chain(block_of([events]), name_of=name_of)
    assert left.call_count == 1
    assert found.n_cropped.tolist() == [1]
