"""Filters by pixel keep the events that Tonic's classes keep, and the frames after them are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.tonic_cases import NAME, assert_same
from tonic import transforms

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.choose import executor_for
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas import CropTime, Decimation, Denoise, Downsample, DropPixel, ToFrame, Transform
from spikestore.store_schemas.errors import RecordingError, UsageError

SIZE = (5, 4, 2)
FRAMES = ToFrame(sensor_size=SIZE, time_window=7.0, include_incomplete=True)
WITHOUT_Y = (
    st.integers(1, 3).map(transforms.Decimation),
    st.just(transforms.MergePolarities()),
    st.just(transforms.CropTime(3, 30)),
)
WITH_Y = (
    st.sampled_from([1, 4, 4.5, 20]).map(transforms.Denoise),
    st.sampled_from([0, 3, 3.5, 20]).map(transforms.RefractoryPeriod),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4).map(
        lambda pixels: transforms.DropPixel(coordinates=pixels)
    ),
    st.just(transforms.Downsample(time_factor=0.5, spatial_factor=(0.6, 1))),
)
OPERATIONS = ("decimation", "merge_polarities", "denoise", "refractory_period", "drop_pixel")


Case = tuple[list[Any], Events, bool]


@st.composite
def cases(draw: st.DrawFn, first: st.SearchStrategy[Any] | None = None, *, needs_y: bool = False) -> Case:
    """Operations, a recording with fields in any order and of several dtypes, and whether it has y.

    The operations begin with `first`, if this is given.
    """
    has_y = needs_y or draw(st.booleans())
    kinds = {
        "t": ["i8", "u4", "f4", "f8", ">i4"],
        "x": ["u1", "i2", "i8"],
        "y": ["i4"],
        "p": ["?", "i1", "u8"],
    }
    names = draw(st.permutations(sorted(kinds if has_y else kinds.keys() - {"y"})))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 40), st.integers(0, 4), st.integers(0, 3), st.integers(0, 1)),
            max_size=25,
        )
    )
    events = np.zeros(len(rows), [(name, draw(st.sampled_from(kinds[name]))) for name in names])
    for column, name in enumerate("txyp"):
        if name in names:
            events[name] = [row[column] for row in sorted(rows)]
    if events["t"].dtype.kind == "f":
        events["t"] *= events["t"].dtype.type(0.7)
    parts = draw(st.lists(st.one_of(*WITHOUT_Y, *(WITH_Y if has_y else ())), min_size=1, max_size=3))
    return parts if first is None else [draw(first), *parts[1:]], events, has_y


@pytest.mark.parametrize(
    ("operation", "needs_y"),
    [*((part, False) for part in WITHOUT_Y[:2]), *((part, True) for part in WITH_Y[:3])],
    ids=OPERATIONS,
)
def test_frames_after_each_operation_are_tonics(operation: st.SearchStrategy[Any], needs_y: bool) -> None:
    @settings(max_examples=examples(40, by_hand=15), database=None)
    @given(cases(operation, needs_y=needs_y))
    def check(case: Case) -> None:
        assert_equals_tonic(case)

    check()


@pytest.mark.parametrize("filter_time", [4, 4.5])
def test_denoise_at_its_limit_is_tonics(filter_time: float) -> None:
    events = np.zeros(2, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events["t"], events["x"] = [50, 54], [1, 2]
    assert_equals_tonic(([transforms.Denoise(filter_time)], events, True))


@pytest.mark.slow
@settings(max_examples=examples(250))
@given(cases())
def test_frames_after_filters_are_tonics(case: Case) -> None:
    assert_equals_tonic(case)


def assert_equals_tonic(case: Case) -> None:
    parts, events, has_y = case
    size = SIZE if has_y else (SIZE[0], 1, SIZE[2])
    frames = transforms.ToFrame(sensor_size=size, time_window=7, include_incomplete=True)
    spec = transform_from_tonic(transforms.Compose([*parts, frames]))
    before = events.tobytes()
    sample = NumpyChain(spec, has_y=has_y)(events, name=NAME)
    assert_same(TonicChain(spec, has_y=has_y)(events, name=NAME), sample)
    assert events.tobytes() == before

    # Tonic by itself, without a chain of this project; integers are widened, as docs/tonic.md says
    wide = [
        (name, events.dtype[name] if events.dtype[name].kind == "f" else "i8")
        for name in events.dtype.names or ()
    ]
    now = events.astype(wide)
    for part in parts:
        now = part(now.copy()) if len(now) else now
    assert sample.n_cropped == len(events) - len(now)
    if len(now):
        expected = frames(now.copy())
        np.testing.assert_array_equal(sample.index, np.flatnonzero(expected))
        np.testing.assert_array_equal(sample.value, expected.reshape(-1)[sample.index])


@pytest.mark.parametrize("chain", [NumpyChain, TonicChain])
def test_a_message_after_filters_has_the_number_of_the_event_in_the_file(chain: type[NumpyChain]) -> None:
    events = np.zeros(5, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events["t"], events["x"] = [5, 1, 2, 3, 4], [9, 0, 1, 0, 2]
    spec = Transform(operations=(DropPixel(coordinates=((0, 0),)), CropTime(min=3.0, max=9.0), FRAMES))
    with pytest.raises(RecordingError, match="event 0: x = 9 is outside the sensor"):
        chain(spec, has_y=True)(events, name=NAME, sort=True)


def test_a_coordinate_or_time_that_no_filter_can_hold_is_an_error() -> None:
    events = np.zeros(1, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    chain = NumpyChain(Transform(operations=(Denoise(filter_time=1.0), FRAMES)), has_y=True)
    events["x"] = 2**16
    with pytest.raises(RecordingError, match="x = 65536 is too large for a filter by pixel"):
        chain(events, name=NAME)
    events["x"], events["t"] = 0, 2**62
    with pytest.raises(RecordingError, match="is out of range"):
        chain(events, name=NAME)


def test_filters_of_two_coordinates_need_y() -> None:
    frames = ToFrame(sensor_size=(5, 1, 2), time_window=7.0)
    with pytest.raises(UsageError, match=r"^denoise needs events with y"):
        NumpyChain(Transform(operations=(Denoise(filter_time=1.0), frames)), has_y=False)


def test_filters_are_computed_in_numpy() -> None:
    transform = Transform(operations=(Downsample(), Decimation(n=2), FRAMES))
    assert executor_for(transform, "auto", has_y=True) == "numpy"
    with pytest.raises(UsageError, match="does not support decimation: omit executor"):
        executor_for(transform, "fused", has_y=True)
