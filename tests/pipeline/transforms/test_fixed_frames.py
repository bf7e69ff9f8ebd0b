"""``fixed_duration`` and ``fixed_frames_number`` count as SpikingJelly does, in NumPy and in the compiled pass."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import types
from tests.hypothesis_profiles import examples
from tests.pipeline.fused_cases import TABLE, alone, block_of, name_of, rows
from tests.pipeline.spikingjelly_rules import RULES
from tests.pipeline.tonic_cases import dense, recording

from spikestore.pipeline.readers.event_block import NO_TIME, EventBlock
from spikestore.pipeline.transforms.choose import OneByOne, executor_for
from spikestore.pipeline.transforms.fused import FusedChain, kernels
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.errors import SpecError, UsageError
from spikestore.store_schemas.specs.operations import (
    CropTime,
    Downsample,
    FixedDuration,
    FixedFramesNumber,
    FrameOperation,
)
from spikestore.store_schemas.specs.transform import Transform

Rule = Literal["duration", "number", "time"]
CHANNELS = 3


def operation_of(rule: Rule, number: int, *, has_y: bool = False) -> FrameOperation:
    size = (CHANNELS, 2 if has_y else 1, 2 if has_y else 1)
    if rule == "duration":
        return FixedDuration(sensor_size=size, duration=number)
    return FixedFramesNumber(sensor_size=size, frames_number=number, split_by=rule)


def tabled(times: list[npt.NDArray[np.float16]]) -> EventBlock:
    """Return recordings with stored float16 times, in channels that repeat."""
    events = [recording(np.zeros(len(t), np.int64), np.arange(len(t)) % CHANNELS) for t in times]
    codes = np.concatenate(times).view(np.uint16)
    return block_of(events, t=codes, time_table=TABLE, p=None)


def check(operation: FrameOperation, block: EventBlock, times: list[Any], rule: Rule, number: int) -> None:
    """Assert that both chains count every recording as the rule does; recordings without events have zero frames."""
    transform = Transform(operations=(operation,))
    has_y = block.y is not None
    x, y, p = operation.sensor_size
    chain = OneByOne(NumpyChain(transform, has_y=has_y))
    for samples in (chain(block, name_of=name_of), alone(FusedChain(transform, has_y=has_y), block)):
        assert not samples.errors
        for place, (sample, t) in enumerate(zip(rows(samples), times, strict=True)):
            some = slice(block.offsets[place], block.offsets[place + 1])
            site = block.x[some].astype(int)
            if block.y is not None and block.p is not None:
                site = (block.p[some].astype(int) * y + block.y[some]) * x + site
            frames = dense(sample, x * y * p)
            if len(t):
                expected = RULES[rule](t, site, x * y * p, number)
            else:
                expected = np.zeros((operation.bins or 1, x * y * p), np.int64)
            np.testing.assert_array_equal(frames, expected)
            # Bins of float16 times may leave out events; each bin is counted in full.
            assert sample.n_dropped >= len(t) - frames.sum()
            assert sample.n_dropped == 0 or (rule == "time" and t.dtype == np.float16)


@settings(max_examples=examples(60))
@given(
    st.sampled_from(["duration", "number", "time"]),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.001, 0.25, 0.9]),
    st.sampled_from([0.0005, 0.03, 1.4, 40.0]),
    st.integers(0, 2**32 - 1),
)
@example("time", 20, 0.9, 0.0005, 0)  # bins shorter than the distance of two float16
def test_stored_times(rule: Rule, number: int, start: float, length: float, seed: int) -> None:
    """Float16 times in s, as in files of SHD; some are before 1.94 ms, where several of them are the same µs."""
    random = np.random.default_rng(seed)
    counts = (0, 1, 2, *random.integers(3, 60, 3))
    times = [np.sort((start + random.random(count) * length).astype(np.float16)) for count in counts]
    number = number * 1000 if rule == "duration" else number
    check(operation_of(rule, number), tabled(times), times, rule, number)


@pytest.mark.parametrize("milliseconds", [4, 5, 10])
def test_every_stored_time(milliseconds: int) -> None:
    """All float16 times from a first time to 1.4 s, for several first times."""
    every = np.arange(2**14, dtype=np.uint16).view(np.float16)
    every = every[every < np.float16(1.4)]
    times = [every[every >= np.float16(first)] for first in (0, 0.0003, 0.0105, 0.3)]
    duration = milliseconds * 1000
    check(operation_of("duration", duration), tabled(times), times, "duration", duration)
    # All inputs are read-only: numba compiles separate code for writable arrays.
    inputs = [signature[:14] for signature in kernels.bin_recordings.signatures]  # type: ignore[attr-defined]
    assert not [one for each in inputs for one in each if isinstance(one, types.Array) and one.mutable]


@settings(max_examples=examples(60))
@given(
    st.sampled_from(["duration", "number", "time"]),
    st.integers(1, 40),
    st.sampled_from([0, 5, 10**6, 2**40]),
    st.sampled_from([1, 30, 3000]),
    st.sampled_from([np.int64, np.uint32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_times_of_cameras(
    rule: Rule, number: int, start: int, length: int, dtype: type[np.generic], seed: int
) -> None:
    """Whole µs, often multiples of the duration; only NumPy computes floats in µs."""
    random = np.random.default_rng(seed)
    counts = (0, 1, 2, *random.integers(3, 60, 3))
    start = start % 2**31 if dtype is np.uint32 else start
    times = [start + np.sort(random.integers(0, length, count)) for count in counts]
    events = [
        recording(t, random.integers(0, CHANNELS, len(t)), random.integers(0, 2, len(t)), y=len(t) % 2)
        for t in times
    ]
    stored = np.concatenate(times).astype(dtype)
    block = block_of(events, t=stored)
    operation = operation_of(rule, number, has_y=True)
    if dtype is np.float64:
        chain = OneByOne(NumpyChain(Transform(operations=(operation,)), has_y=True))
        found = chain(block, name_of=name_of)
        whole = chain(block_of(events), name_of=name_of)
        np.testing.assert_array_equal(found.index, whole.index)
        np.testing.assert_array_equal(found.n_bins, whole.n_bins)
        return
    check(operation, block, times, rule, number)


@settings(max_examples=examples(80))
@given(
    st.sampled_from(["duration", "number", "time"]),
    st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=8), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
)
@example("duration", [[0x0011, 0x0010]], False, False)  # one µs, in the wrong order
@example("duration", [[0x0000, 0x7BFF]], False, False)  # too late for ms in float16
@example("time", [[0x8001, 0x3C00]], False, False)  # a negative time
def test_both_chains_agree_on_any_codes(rule: Rule, codes: list[list[int]], sort: bool, crops: bool) -> None:
    """Both agree for times that are not sorted, negative, too late or not finite; also after a crop and a downsample."""
    times = [np.array(one, np.uint16).view(np.float16) for one in codes]
    before = (CropTime(min=1.0, max=1e6), Downsample(spatial_factor=(0.5, 1.0))) if crops else ()
    transform = Transform(operations=(*before, operation_of(rule, 5 if rule != "duration" else 5000)))
    block = tabled(times)
    with np.errstate(all="ignore"):
        expected = OneByOne(NumpyChain(transform, has_y=False))(block, name_of=name_of, sort=sort)
        found = FusedChain(transform, has_y=False)(block, name_of=name_of, sort=sort)
    assert {row: str(error) for row, error in found.errors.items()} == {
        row: str(error) for row, error in expected.errors.items()
    }
    for name in ("index", "value", "nnz", "n_bins", "n_events", "n_cropped", "n_dropped"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert (TABLE[block.t] != NO_TIME).all() or expected.errors


def test_a_bin_of_less_than_a_millisecond_is_left_to_numpy() -> None:
    times = [np.array([0, 0.0004, 0.002], np.float16)]
    chain = FusedChain(Transform(operations=(operation_of("duration", 500),)), has_y=False)
    (sample,) = rows(chain(tabled(times), name_of=name_of))
    expected = RULES["duration"](times[0], np.arange(3), CHANNELS, 500)
    np.testing.assert_array_equal(dense(sample, CHANNELS), expected)


def test_times_must_be_those_of_the_recording() -> None:
    frames = operation_of("duration", 4000)
    Transform(operations=(Downsample(spatial_factor=(0.2, 1.0)), CropTime(max=1e6), frames))
    with pytest.raises(SpecError, match="remove time_factor of downsample, which comes before fixed_"):
        Transform(operations=(Downsample(time_factor=0.001), frames))


def test_tonic_has_no_such_frames() -> None:
    transform = Transform(operations=(operation_of("number", 4),))
    with pytest.raises(UsageError, match='executor = "tonic" does not support fixed_frames_number'):
        executor_for(transform, "tonic", has_y=False)
    assert executor_for(transform, "fused", has_y=False) == "fused"
