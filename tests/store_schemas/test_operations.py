"""Each operation accepts the parameters of Tonic's transform of the same name, and rejects ambiguous ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples

from spikestore.store.testing.strategies import to_frames
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.operations import SLICING_MODES, CropTime, Downsample, ToFrame

SIZE = (4, 3, 2)


@pytest.mark.parametrize(("factor", "wanted"), [(0.5, 0.5), ("1/2", 0.5), (1, 1.0)])
def test_one_spatial_factor_stands_for_both(factor: Any, wanted: float) -> None:
    """A single factor is used for both axes."""
    assert Downsample(spatial_factor=factor).spatial_factor == (wanted, wanted)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_size": [1, 1]},
        {"sensor_size": [1, 1, 1]},
        {"target_size": [1], "sensor_size": [1, 1, 1]},
        {"target_size": [1, 1], "sensor_size": [1, 1]},
        {"target_size": [0, 1], "sensor_size": [1, 1, 1]},
        {"target_size": [1.0, 1], "sensor_size": [1, 1, 1]},
        {"target_size": [True, 1], "sensor_size": [1, 1, 1]},
        {"target_size": "1, 1", "sensor_size": [1, 1, 1]},
    ],
)
def test_target_size_needs_a_whole_sensor_size(fields: dict[str, Any]) -> None:
    """One message names all that is needed."""
    with pytest.raises(
        SpecError, match=r"target_size must be 2 positive integers .*, and sensor_size must be 3 positive"
    ):
        Downsample.from_mapping(fields, origin="test")


def test_two_ways_to_say_the_factor_are_one_too_many() -> None:
    """They are rejected even if they agree."""
    fields = {"spatial_factor": 1, "target_size": [1, 1], "sensor_size": [1, 1, 1]}
    with pytest.raises(SpecError, match="remove either spatial_factor, or target_size and sensor_size"):
        Downsample.from_mapping(fields, origin="test")


@pytest.mark.parametrize(
    "fields",
    [{"time_factor": 0}, {"time_factor": [0.5, 1]}, {"spatial_factor": [1, 0]}, {"spatial_factor": -1}],
)
def test_factors_are_positive_and_not_random(fields: dict[str, Any]) -> None:
    """A tuple as time_factor, which is random in Tonic, is rejected."""
    with pytest.raises(SpecError):
        Downsample.from_mapping(fields, origin="test")


def test_crop_time_needs_an_ordered_span() -> None:
    """Both ends are inclusive, so they may be equal."""
    assert CropTime(min=5, max=5).min == 5
    with pytest.raises(SpecError, match=r"max \(1 µs\) must not be below min \(2 µs\)"):
        CropTime(min=2, max=1)


def test_exactly_one_way_of_slicing() -> None:
    """None, and two, are errors that list the four."""
    assert len(SLICING_MODES) == 4
    with pytest.raises(
        SpecError, match="time_window, event_count, n_time_bins, n_event_bins must be set, got none"
    ):
        ToFrame(sensor_size=SIZE)
    with pytest.raises(SpecError, match="got time_window and n_time_bins"):
        ToFrame(sensor_size=SIZE, time_window=1, n_time_bins=1)
    for mode in SLICING_MODES:
        assert ToFrame.from_mapping({"sensor_size": [4, 3, 2], mode: 7}, origin="test").mode == mode


@pytest.mark.parametrize("mode", SLICING_MODES)
def test_parameters_without_effect_are_refused(mode: str) -> None:
    """Otherwise two specs could mean the same."""
    fields = {"sensor_size": [4, 3, 2], mode: 7}
    takes = {"include_incomplete": mode in {"time_window", "event_count"}}
    takes |= dict.fromkeys(("start_time", "end_time"), mode == "time_window")
    for name, allowed in takes.items():
        value = True if name == "include_incomplete" else 3.0
        if allowed:
            assert getattr(ToFrame.from_mapping({**fields, name: value}, origin="test"), name) == value
        else:
            with pytest.raises(SpecError, match="no effect"):
                ToFrame.from_mapping({**fields, name: value}, origin="test")


def test_start_and_end_are_ordered() -> None:
    """An end before the start is rejected, because there would be no frames."""
    with pytest.raises(SpecError, match=r"end_time .* must not be below start_time"):
        ToFrame(sensor_size=SIZE, time_window=1, start_time=2, end_time=1)


@pytest.mark.parametrize(
    ("mode", "size", "most"),
    [("time_window", 4000, 4000), ("event_count", 5, 5), ("n_time_bins", 9, 1), ("n_event_bins", 9, 1)],
)
def test_overlap_leaves_a_stride(mode: str, size: int, most: float) -> None:
    """The overlap must be smaller than a bin: in µs, in events, or as a share."""
    fields = {"sensor_size": [4, 3, 2], mode: size}
    smaller = most - 1 if most > 1 else 0.99
    assert ToFrame.from_mapping({**fields, "overlap": smaller}, origin="test").overlap == smaller
    for overlap in (most, most + 1, -1):
        with pytest.raises(SpecError, match=r"overlap|greater than or equal to 0"):
            ToFrame.from_mapping({**fields, "overlap": overlap}, origin="test")


def test_overlap_of_events_is_whole() -> None:
    """Half an event has no meaning."""
    with pytest.raises(SpecError, match="with event_count, overlap must be an integer"):
        ToFrame(sensor_size=SIZE, event_count=5, overlap=0.5)


@pytest.mark.parametrize("size", [[4, 3], [4, 3, 2, 1], [4, 3, 0], [4.0, 3, 2], 4, None])
def test_sensor_size_is_three_positive_whole_numbers(size: Any) -> None:
    """(x, y, p), as in Tonic."""
    with pytest.raises(SpecError, match="sensor_size"):
        ToFrame.from_mapping({"sensor_size": size, "time_window": 1}, origin="test")


@settings(max_examples=examples(50))
@given(to_frames())
def test_non_zeros_per_event_is_a_small_whole_number(frame: ToFrame) -> None:
    """It is at most the number of bins; test_plan.py shows that it is an upper bound."""
    assert isinstance(frame.non_zeros_per_event, int)
    assert frame.non_zeros_per_event >= 1
    bins = frame.n_time_bins or frame.n_event_bins
    if bins is not None:
        assert frame.non_zeros_per_event <= bins


@pytest.mark.parametrize(
    ("window", "start", "wanted"), [(4000.0, None, 1), (4000.0, 5.0, 1), (0.4, None, 2), (4000.0, 0.1, 2)]
)
def test_neighbouring_windows_meet_exactly_only_at_whole_numbers(
    window: float, start: float | None, wanted: int
) -> None:
    """Without overlap an event is in one bin; at edges that are rounded it can be in two."""
    assert ToFrame(sensor_size=SIZE, time_window=window, start_time=start).non_zeros_per_event == wanted
    assert ToFrame(sensor_size=SIZE, n_time_bins=7).non_zeros_per_event == 1
    assert ToFrame(sensor_size=SIZE, event_count=7).non_zeros_per_event == 1
    assert ToFrame(sensor_size=SIZE, n_event_bins=7).non_zeros_per_event == 1


@given(st.integers(1, 99), st.data())
def test_non_zeros_per_event_for_whole_strides(stride: int, data: st.DataObject) -> None:
    """The overlap of k strides puts every event into k + 1 bins."""
    times = data.draw(st.integers(1, 9))
    frame = ToFrame(sensor_size=SIZE, event_count=stride * times, overlap=stride * (times - 1))
    assert frame.non_zeros_per_event == times
