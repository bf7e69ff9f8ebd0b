"""Operations from events to events give the events that Tonic's classes give, and the frames after them are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.tonic_cases import NAME, assert_same, chain
from tonic import transforms

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.choose import executor_for
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.integrating_pixels import downsampled, steps_of
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas import (
    CropTime,
    Decimation,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    TimeSkew,
    ToFrame,
    Transform,
)
from spikestore.store_schemas.errors import RecordingError, UsageError

SIZE = (5, 4, 2)
TONICS_FIELDS = {"target_size", "dt", "noise_threshold", "differentiator_time_bins"}
FRAMES = ToFrame(sensor_size=SIZE, time_window=7.0, include_incomplete=True)
WITHOUT_Y = (
    st.integers(1, 3).map(transforms.Decimation),
    st.just(transforms.MergePolarities()),
    st.just(transforms.TimeAlignment()),
    st.tuples(st.sampled_from([1, 0.5, 1.5, 3]), st.sampled_from([0, 2, -4.5])).map(
        lambda numbers: transforms.TimeSkew(*numbers)
    ),
    st.just(transforms.CropTime(3, 30)),
)
WITH_Y = (
    st.sampled_from([1, 4, 4.5, 20]).map(transforms.Denoise),
    st.sampled_from([0, 3, 3.5, 20]).map(transforms.RefractoryPeriod),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4).map(
        lambda pixels: transforms.DropPixel(coordinates=pixels)
    ),
    st.tuples(st.sampled_from([SIZE, (2, 2, 2)]), st.tuples(st.integers(1, 7), st.integers(1, 6))).map(
        lambda sizes: transforms.CenterCrop(*sizes)
    ),
    st.just(transforms.Downsample(time_factor=0.5, spatial_factor=(0.6, 1))),
)
OPERATIONS = (
    "decimation", "merge_polarities", "time_alignment", "time_skew",
    "denoise", "refractory_period", "drop_pixel", "center_crop",
)  # fmt: skip


Case = tuple[list[Any], Events, bool]


@st.composite
def cases(draw: st.DrawFn, first: st.SearchStrategy[Any] | None = None, *, needs_y: bool = False) -> Case:
    """Strategy: operations, a recording with fields in any order and of several dtypes, and whether it has y.

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
    [*((part, False) for part in WITHOUT_Y[:4]), *((part, True) for part in WITH_Y[:4])],
    ids=OPERATIONS,
)
def test_frames_after_each_operation_are_tonics(operation: st.SearchStrategy[Any], needs_y: bool) -> None:
    @settings(max_examples=examples(40, by_hand=10), database=None)
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
    size = (12, 10, 2) if has_y else (7, 1, 2)  # padded by up to three center crops
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


@st.composite
def integrations(draw: st.DrawFn) -> tuple[EventDownsampling, Events]:
    """Return an operation, and events with which Tonic does not fail."""
    spec = EventDownsampling(
        sensor_size=SIZE[:2],
        target_size=draw(st.sampled_from([(2, 3), (5, 4), (1, 1), (6, 8)])),
        dt=draw(
            st.sampled_from([0.003, 0.0005, 0.0017, 0.01]) | st.floats(0.0004, 0.0109)
        ),  # ms, also fractions of a µs
        noise_threshold=draw(st.integers(1, 3)),
        differentiator_time_bins=draw(st.none() | st.integers(1, 3)),
    )
    gaps = draw(st.lists(st.sampled_from([0, 0, 1, 2, 9]), min_size=1, max_size=60))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    events = np.zeros(len(gaps), [("y", "i8"), ("t", "i8"), ("p", "i8"), ("x", "i8")])
    events["t"] = np.cumsum(gaps) + 11
    for field, size in zip("xyp", SIZE, strict=True):
        events[field] = random.integers(0, size, len(gaps)) * random.integers(0, 2, len(gaps))
    return spec, events


@settings(max_examples=examples(300, by_hand=40))
@given(integrations())
def test_integrating_pixels_give_tonics_events(case: tuple[EventDownsampling, Events]) -> None:
    spec, events = case
    steps = steps_of(spec, max_bins=10**6)
    found = downsampled(events, spec, steps)
    method = "integrator" if spec.differentiator_time_bins is None else "differentiator"
    fields = spec.model_dump(include=TONICS_FIELDS)
    part = transforms.EventDownsampling((*spec.sensor_size, 2), downsampling_method=method, **fields)
    assert transform_from_tonic(transforms.Compose([part, transforms.ToImage(SIZE)])).operations[0] == spec
    try:
        expected = part(events.copy())
    except (IndexError, ValueError):  # Tonic cannot concatenate no events
        expected = found[:0]
    assert len(found) == len(expected) <= len(events)
    for field in "txyp":
        np.testing.assert_array_equal(found[field], expected[field])
    after = ToFrame(sensor_size=(*spec.target_size, 2), time_window=7.0, include_incomplete=True)
    chain(spec, TimeSkew(coefficient=2.0), after, has_y=True)(events, name=NAME)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("t", 9, "t = 9 µs is the last time, and event_downsampling needs one after its first step, 10 µs"),
        ("x", 5, "x = 5 is outside the sensor: x must be from 0 to 4"),
        ("p", 2, "p = 2 is outside the sensor"),
    ],
)
def test_events_that_pixels_cannot_integrate_are_errors(field: str, value: int, words: str) -> None:
    events = np.zeros(1, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events["t"] = 50
    events[field] = value
    spec = EventDownsampling(
        sensor_size=(5, 4), target_size=(2, 2), dt=0.02, noise_threshold=1,
        differentiator_time_bins=2,
    )  # fmt: skip
    both = chain(spec, FRAMES, has_y=True)
    with pytest.raises(RecordingError, match=words):
        both(events, name=NAME)
    with pytest.raises(RecordingError, match="event_downsampling needs whole times in µs, got float32"):
        both(events.astype([("t", "f4"), ("x", "i8"), ("y", "i8"), ("p", "i8")]), name=NAME)


def test_events_after_integration_are_named_as_such() -> None:
    events = np.zeros(3, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events["x"], events["t"] = [0, 4, 0], [7, 2000, 4000]  # the third is not in a complete step
    spec = EventDownsampling(sensor_size=(5, 4), target_size=(10, 4), dt=1.0, noise_threshold=1)
    frames = chain(spec, CropTime(min=500.0, max=1e6), FRAMES, has_y=True)
    message = f"{NAME}, after event_downsampling, event 1: x = 8 is outside the sensor"
    with pytest.raises(RecordingError, match=message):
        frames(events, name=NAME)


def test_times_that_skew_exceeds_are_errors() -> None:
    events = np.zeros(1, [("t", "i8"), ("x", "i8"), ("p", "i8")])
    events["t"] = 2**61
    both = chain(TimeSkew(coefficient=4.0, offset=0.5), ToFrame(sensor_size=(5, 1, 2), n_event_bins=1))
    with pytest.raises(RecordingError, match=r"times 4 plus 0.5 exceeds a signed 64-bit integer"):
        both(events, name=NAME)


@pytest.mark.parametrize("kind", [NumpyChain, TonicChain])
def test_a_message_after_filters_has_the_number_of_the_event_in_the_file(kind: type[NumpyChain]) -> None:
    events = np.zeros(5, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    events["t"], events["x"] = [5, 1, 2, 3, 4], [9, 0, 1, 0, 2]
    spec = Transform(operations=(DropPixel(coordinates=((0, 0),)), CropTime(min=3.0, max=9.0), FRAMES))
    with pytest.raises(RecordingError, match="event 0: x = 9 is outside the sensor"):
        kind(spec, has_y=True)(events, name=NAME, sort=True)


def test_a_coordinate_or_time_that_no_filter_can_hold_is_an_error() -> None:
    events = np.zeros(1, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    ours = NumpyChain(Transform(operations=(Denoise(filter_time=1.0), FRAMES)), has_y=True)
    events["x"] = 2**16
    with pytest.raises(RecordingError, match="x = 65536 is too large for a filter by pixel"):
        ours(events, name=NAME)
    events["x"], events["t"] = 0, 2**62
    with pytest.raises(RecordingError, match="is out of range"):
        ours(events, name=NAME)


def test_filters_of_two_coordinates_need_y() -> None:
    frames = ToFrame(sensor_size=(5, 1, 2), time_window=7.0)
    with pytest.raises(UsageError, match=r"^denoise needs events with y"):
        NumpyChain(Transform(operations=(Denoise(filter_time=1.0), frames)), has_y=False)


def test_filters_are_computed_in_numpy() -> None:
    transform = Transform(operations=(Downsample(), Decimation(n=2), FRAMES))
    assert executor_for(transform, "auto", has_y=True) == "numpy"
    with pytest.raises(UsageError, match="does not support decimation: omit executor"):
        executor_for(transform, "fused", has_y=True)
