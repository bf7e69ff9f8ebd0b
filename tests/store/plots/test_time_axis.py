"""Time axes of transforms."""

from __future__ import annotations

from typing import Any

import pytest

from spikestore.store.plots.time_axis import time_axis
from spikestore.store_schemas import Downsample, FixedDuration, FixedFramesNumber, ToFrame, Transform
from spikestore.store_schemas.specs.operations import TimeAlignment, TimeSkew


@pytest.mark.parametrize(
    ("fields", "factor", "expected"),
    [
        ({"time_window": 4000}, 1, ("ms", 0, 4, "time after the first event (ms)")),
        ({"time_window": 4000, "overlap": 1000}, 1, ("ms", 0, 3, "time after the first event (ms)")),
        ({"time_window": 4000, "start_time": -2000}, 1, ("ms", -2, 4, "time (ms)")),
        # Spyx: from here on, the unit of time is a bin of 1/128 s
        ({"time_window": 1, "start_time": 0}, 0.000128, ("ms", 0, 1000 / 128, "time (ms)")),
        ({"event_count": 2000}, 1, ("bins", 0, 1, "time bin (event_count = 2,000)")),
        ({"n_time_bins": 10}, 1, ("bins", 0, 1, "time bin (n_time_bins = 10)")),
    ],
)
def test_time_axis(fields: dict[str, Any], factor: float, expected: tuple[str, float, float, str]) -> None:
    frame = ToFrame(sensor_size=(10, 1, 1), **fields)
    axis = time_axis(Transform(operations=(Downsample(time_factor=factor), frame)))
    unit, start, step, label = expected
    assert (axis.unit, axis.label) == (unit, label)
    assert (axis.start, axis.step) == pytest.approx((start, step))
    assert axis.at(3) == pytest.approx(start + 3 * step)


def test_changed_times_are_reverted() -> None:
    """Of the last operations in the order of the transform; after time_alignment, times are those after the first event."""
    frame = ToFrame(sensor_size=(10, 1, 1), time_window=4, start_time=3)
    before = (TimeSkew(coefficient=2, offset=500), Downsample(time_factor=0.001))
    axis = time_axis(Transform(operations=(*before, frame)))
    assert (axis.start, axis.step) == pytest.approx((1.25, 2))
    assert axis.label == "time (ms)"
    axis = time_axis(Transform(operations=(*before, TimeAlignment(), frame)))
    assert (axis.start, axis.step) == pytest.approx((1.5, 2))
    assert axis.label == "time after the first event (ms)"


def test_rules_of_spikingjelly() -> None:
    size = (10, 1, 1)
    axis = time_axis(Transform(operations=(FixedDuration(sensor_size=size, duration=4000),)))
    assert (axis.unit, axis.step, axis.label) == ("ms", 4, "time after the first event (ms)")
    frames = FixedFramesNumber(sensor_size=size, frames_number=16, split_by="time")
    assert time_axis(Transform(operations=(frames,))).label == "time bin (frames_number = 16)"
