"""Checks of coordinates and polarities: any dtype, any stride."""

from __future__ import annotations

import re

import numpy as np
import pytest

from spikestore.pipeline.readers.formats.events import refuse_outside, refuse_polarities

INTEGERS = ["i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">i4", "<i8", ">i8", ">u8"]


@pytest.mark.parametrize("dtype", [*INTEGERS, "?", "f2", "f4", "f8"])
@pytest.mark.parametrize("step", [1, 2])
def test_values_within_the_sensor_pass(dtype: str, step: int) -> None:
    values = np.array([0, 1, 1, 0, 1], dtype)[::step]
    refuse_outside("x", values, 2)
    refuse_polarities(values)
    refuse_outside("x", values[:0], 2)


@pytest.mark.parametrize("dtype", [*INTEGERS, "f2", "f4", "f8"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_value_at_the_size_of_the_sensor_is_named(dtype: str, step: int) -> None:
    values = np.array([0, 0, 1, 1, 2, 9], dtype)[::step]
    event = 4 // step
    message = re.escape(f"event {event}: x = {values[event]} is outside the sensor, which has 0 to 1")
    with pytest.raises(ValueError, match=message):
        refuse_outside("x", values, 2)
    with pytest.raises(ValueError, match=re.escape(f"event {event}: p = {values[event]} should be 0 or 1")):
        refuse_polarities(values)


@pytest.mark.parametrize("dtype", [name for name in INTEGERS if "i" in name])
def test_the_lowest_value_of_a_dtype_is_negative_and_not_large(dtype: str) -> None:
    values = np.array([3, np.iinfo(dtype).min], dtype)
    with pytest.raises(ValueError, match=f"event 1: y = {np.iinfo(dtype).min} is outside the sensor"):
        refuse_outside("y", values, 100)


def test_a_large_value_of_swapped_bytes_is_not_small() -> None:
    with pytest.raises(ValueError, match="event 0: x = 256 is outside"):
        refuse_outside("x", np.array([256], ">u2"), 34)
