"""Time axes of transforms."""

from __future__ import annotations

from typing import Any

import pytest

from spikestore.store.plots.time_axis import time_axis
from spikestore.store_schemas import Downsample, FixedDuration, FixedFramesNumber, ToFrame, Transform
from spikestore.store_schemas.specs.operations import (
    EventDownsampling,
    TimeAlignment,
    TimeSkew,
    ToAveragedTimesurface,
    ToBinaRep,
    ToTimesurface,
    ToVoxelGrid,
)


@pytest.mark.parametrize(
    ("fields", "factor", "expected"),
    [
        ({"time_window": 4000}, 1, ("ms", 0, 4, "time after the first event (ms)")),
        ({"time_window": 4000, "overlap": 1000}, 1, ("ms", 0, 3, "time after the first event (ms)")),
        ({"time_window": 4000, "start_time": -2000}, 1, ("ms", -2, 4, "time (ms)")),
        # Spyx: from this operation on, the unit of time is a bin of 1/128 s
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
    """The last operations are reverted in the order of the transform; after time_alignment, times count from the first event."""
    frame = ToFrame(sensor_size=(10, 1, 1), time_window=4, start_time=3)
    before = (TimeSkew(coefficient=2, offset=500), Downsample(time_factor=0.001))
    axis = time_axis(Transform(operations=(*before, frame)))
    assert (axis.start, axis.step) == pytest.approx((1.25, 2))
    assert axis.label == "time (ms)"
    axis = time_axis(Transform(operations=(*before, TimeAlignment(), frame)))
    assert (axis.start, axis.step) == pytest.approx((1.5, 2))
    assert axis.label == "time after the first event (ms)"


SIZE = (10, 10, 2)
WINDOW = ToFrame(sensor_size=SIZE, time_window=4000, start_time=1000)


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ((FixedDuration(sensor_size=SIZE, duration=4000),), ("ms", 0, 4, "time after the first event (ms)")),
        (
            (FixedFramesNumber(sensor_size=SIZE, frames_number=16, split_by="time"),),
            ("bins", 0, 1, "time bin (frames_number = 16)"),
        ),
        (
            (ToFrame(sensor_size=SIZE, n_time_bins=8), ToBinaRep(n_frames=2, n_bits=4)),
            ("bins", 0, 1, "frame (n_frames = 2)"),
        ),
        (
            (ToAveragedTimesurface(sensor_size=SIZE, cell_size=5),),
            ("bins", 0, 1, "cell of the sensor (cell_size = 5)"),
        ),
        ((ToVoxelGrid(sensor_size=SIZE, n_time_bins=12),), ("bins", 0, 1, "time bin (n_time_bins = 12)")),
        (
            (ToTimesurface(sensor_size=SIZE, dt=2000, tau=500),),
            ("ms", 0, 2, "time after the first event (ms)"),
        ),
        ((TimeSkew(coefficient=1, offset=500), WINDOW), ("ms", 0.5, 4, "time (ms)")),
        (
            (
                TimeSkew(coefficient=1, offset=500),
                EventDownsampling(sensor_size=(20, 20), target_size=(10, 10), dt=1, noise_threshold=1),
                WINDOW,
            ),
            ("ms", 1, 4, "time after the first event (ms)"),
        ),
    ],
)
def test_other_operations(operations: tuple[Any, ...], expected: tuple[str, float, float, str]) -> None:
    axis = time_axis(Transform(operations=operations))
    assert (axis.unit, axis.start, axis.step, axis.label) == expected
