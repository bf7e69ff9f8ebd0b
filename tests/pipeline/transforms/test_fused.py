"""FusedChain returns the same samples as TonicChain, for ordinary and for unusual recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
from hypothesis import assume, event, given, reject, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.fused_cases import TABLE, alone, assert_same, block_of, by_tonic, fused, name_of, rows
from tests.pipeline.tonic_cases import legal_cases, recording
from tonic import transforms

from spikestore.pipeline.demo.demo_data import write_demo_data
from spikestore.pipeline.readers.event_block import NO_TIME
from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.fused import FusedChain, can_run
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.layout import layout_of
from spikestore.store_schemas.specs.operations import ClipCounts, CropTime, Downsample, Operation, ToFrame
from spikestore.store_schemas.specs.transform import Transform

pytestmark = pytest.mark.bits

SEED = Transform(
    operations=(
        Downsample(spatial_factor=(100 / 700, 100 / 700)),
        CropTime(max=1e6),
        ToFrame(sensor_size=(100, 1, 1), time_window=4000.0, include_incomplete=True),
    )
)
"""The seed's transform: 100 of 700 channels, bins of 4 ms, at most 1 s."""


def made(transform: Transform, *, has_y: bool) -> FusedChain:
    """Return the chain; reject the example if no recording can fit."""
    assume(can_run(transform, has_y=has_y))
    try:
        return FusedChain(transform, has_y=has_y)
    except UsageError:
        reject()


# ------------------------------------------------------------------ Tonic itself is the reference


@settings(max_examples=examples(120))
@given(legal_cases())
def test_every_legal_recording_results_in_tonics_frames(
    case: tuple[list[Any], Events],
) -> None:
    parts, events = case
    spec = transform_from_tonic(transforms.Compose(parts))
    has_y = "y" in (events.dtype.names or ())
    assume(can_run(spec, has_y=has_y))
    now = events.copy()
    with np.errstate(all="ignore"):
        for part in parts[:-1]:
            now = part(now)
        assume(len(now) > 0)
        frames = parts[-1](now.copy())
    (sample,) = rows(FusedChain(spec, has_y=has_y)(block_of([events]), name_of=name_of))
    assert frames.shape == (sample.n_bins, *spec.sites(has_y=has_y))
    np.testing.assert_array_equal(sample.index, np.flatnonzero(frames))
    np.testing.assert_array_equal(sample.value, frames.reshape(-1)[sample.index])


_FACTORS = [1.0, 0.5, 1 / 3, 100 / 700, 2.0, 0.1, 1e-3]
_TIMES = ["i8", "i8", "i8", "u4", "i4", "u8", "i2", "u1", ">i8", "f8", "f4"]
_PLACES = ["u2", "u2", "i8", "i2", "u1", "i1", "i4", "u8", ">u2"]
_POLARITIES = ["u1", "?", "i8", "i1", "u2"]


@st.composite
def transforms_by_time(draw: st.DrawFn, base: int) -> tuple[Transform, bool]:
    """Strategy: a transform that can run, for times near `base`, and whether events have y."""
    has_y = draw(st.booleans())
    operations: list[Operation] = []
    near = base
    for which in draw(st.lists(st.sampled_from(["downsample", "crop"]), max_size=3)):
        if which == "downsample":
            factor = draw(st.sampled_from(_FACTORS))
            pair = draw(st.sampled_from([(1.0, 1.0), (0.5, 0.5), (1 / 3, 1.0), (100 / 700, 2.0)]))
            operations.append(Downsample(time_factor=factor, spatial_factor=pair))
            near = int(near * factor)
        else:
            edges = st.sampled_from([near - 3.5, float(near), near + 1.0, near + 12.25, near + 40.0])
            low, high = sorted([draw(edges), draw(edges | st.just(1e300))])
            operations.append(CropTime(min=low, max=high))
    size = (draw(st.sampled_from([1, 3, 70, 300])), draw(st.integers(1, 4)) if has_y else 1)
    sensor = (*size, draw(st.sampled_from([1, 2, 3])))
    if draw(st.booleans()):
        overlap = draw(st.sampled_from([0.0, 0.0, 0.25, 0.9]))
        frames = ToFrame(sensor_size=sensor, n_time_bins=draw(st.integers(1, 12)), overlap=overlap)
    else:
        window = draw(st.sampled_from([1.0, 2.0, 7.0, 10.0, 2.5, 1 / 3, 0.1]))
        span: st.SearchStrategy[float | None] = st.sampled_from(
            [None, None, near - 5.0, near + 2.0, near + 0.1]
        )
        start, end = draw(span), draw(span)
        if start is not None and end is not None:
            start, end = min(start, end), max(start, end)
        frames = ToFrame(
            sensor_size=sensor,
            time_window=window,
            overlap=draw(st.sampled_from([0.0, 0.0, window / 2, window * 0.7, window * 0.95])),
            include_incomplete=draw(st.booleans()),
            start_time=start,
            end_time=end,
        )
    operations.append(frames)
    if draw(st.integers(0, 3)) == 0:
        operations.append(ClipCounts(max=draw(st.integers(1, 2))))
    return Transform(operations=tuple(operations), max_bins=draw(st.sampled_from([10**6, 30]))), has_y


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Transform, bool, list[Events], bool]:
    """Strategy: a transform, recordings of which some are ill-formed, and whether to sort."""
    kind = draw(st.sampled_from(_TIMES))
    bases = [0, 2**31 - 20] if np.dtype(kind).itemsize > 2 else [0]
    if kind == "i8":
        bases += [-700, 2**50 - 20, 2**53 - 20]
    base = draw(st.sampled_from(bases))
    base = 2**30 if kind == "i4" and base else base
    transform, has_y = draw(transforms_by_time(base))
    x_size, y_size, polarities = transform.to_frame.sensor_size
    dtypes = [("t", kind), ("x", draw(st.sampled_from(_PLACES)))]
    dtypes += [("y", draw(st.sampled_from(_PLACES)))] if has_y else []
    dtypes += [("p", draw(st.sampled_from(_POLARITIES[: 5 if polarities < 3 else 1])))]
    gaps = st.lists(st.sampled_from([0, 0, 1, 1, 2, 5, 7, 10, 31]), max_size=40)
    recordings = []
    for _ in range(draw(st.integers(1, 4))):
        gap = draw(gaps)
        n = len(gap)
        seed = np.random.default_rng(draw(st.integers(0, 2**16)))
        events = np.zeros(n, dtype=dtypes)
        events["t"] = (base + np.cumsum(np.array(gap, np.int64))).astype(kind)
        # Coordinates are sometimes outside the sensor, where raw coordinates are not scaled down.
        wild = draw(st.sampled_from([0, 0, 0, 1]))
        events["x"] = seed.integers(0, min(x_size + wild, 120), n)
        if has_y:
            events["y"] = seed.integers(0, y_size + wild, n)
        events["p"] = seed.integers(0, min(polarities, 2) + wild, n) if polarities > 1 or wild else 1
        if n and draw(st.integers(0, 9)) == 0:
            place = draw(st.integers(0, n - 1))
            field, value = draw(
                st.sampled_from([("x", -1), ("x", 2**15), ("x", 65535), ("p", 255), ("t", 0)])
            )
            with np.errstate(all="ignore"):
                events[field][place] = np.array(value).astype(events.dtype[field])
        recordings.append(events)
    return transform, has_y, recordings, draw(st.sampled_from([False, False, True]))


@settings(max_examples=examples(300))
@given(blocks())
def test_a_block_equals_its_recordings_one_by_one(
    case: tuple[Transform, bool, list[Events], bool],
) -> None:
    transform, has_y, recordings, sort = case
    block = block_of(recordings, first_row=64)
    before = [column.tobytes() for column in (block.t, block.x, block.y, block.p) if column is not None]
    chain = made(transform, has_y=has_y)
    expected = by_tonic(transform, recordings, has_y=has_y, sort=sort, first_row=64)
    with mock.patch.object(chain, "_chain", wraps=chain._chain) as left:
        found = chain(block, name_of=name_of, sort=sort)
    assert_same(found, expected, 64)
    assert before == [c.tobytes() for c in (block.t, block.x, block.y, block.p) if c is not None]
    layout = layout_of(transform, has_y=has_y, classes=["a"], extras=[])
    assert (found.index.dtype, found.value.dtype) == (layout.dtype("index"), layout.dtype("value"))
    event(f"{left.call_count} of {len(recordings)} left to NumPy, {len(found.errors)} wrong")


@st.composite
def ordinary(draw: st.DrawFn) -> tuple[Transform, bool, list[Events]]:
    """Return the recordings that the compiled pass must compute itself."""
    base = draw(st.sampled_from([0, 1000, -700, 2**31 - 20]))
    transform, has_y = draw(transforms_by_time(base))
    x_size, y_size, polarities = transform.to_frame.sensor_size
    factors = [one.spatial_factor for one in transform.on_events if isinstance(one, Downsample)]
    x_max = max(x for x in range(x_size) if x * np.prod([max(1.0, f[0]) for f in factors]) < x_size)
    y_max = max(y for y in range(y_size) if y * np.prod([max(1.0, f[1]) for f in factors]) < y_size)
    recordings = []
    for gap in draw(
        st.lists(st.lists(st.sampled_from([0, 0, 0, 1, 2, 7, 10]), max_size=80), min_size=1, max_size=3)
    ):
        random = np.random.default_rng(draw(st.integers(0, 2**16)))
        n = len(gap)
        events = recording(
            base + np.cumsum(np.array(gap, np.int64)),
            random.integers(0, x_max + 1, n),
            random.integers(0, polarities, n) if polarities > 1 else 1,
            random.integers(0, y_max + 1, n) if has_y else None,
        )
        recordings.append(events)
    return transform, has_y, recordings


@settings(max_examples=examples(200))
@given(ordinary())
def test_ordinary_recordings_are_never_left_to_numpy(case: tuple[Transform, bool, list[Events]]) -> None:
    transform, has_y, recordings = case
    chain = made(transform, has_y=has_y)
    expected = by_tonic(transform, recordings, has_y=has_y)
    assume(not any(isinstance(one, RecordingError) for one in expected))
    assert_same(alone(chain, block_of(recordings)), expected)


# ------------------------------------------------------------------ tables of times


@settings(max_examples=examples(80))
@given(
    st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=30), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_time_codes_equal_their_times(codes: list[list[int]], by_time: bool, legal: bool, seed: int) -> None:
    """Negative times, whose codes descend, and codes that are no times, are in the table."""
    random = np.random.default_rng(seed)
    transform = Transform(
        operations=(
            Downsample(time_factor=0.37, spatial_factor=(0.5, 0.5)),
            CropTime(min=-2e9, max=1e9),
            ToFrame(sensor_size=(4, 1, 2), n_time_bins=7),
        )
    )
    lists = [np.array(one, np.uint16) for one in codes]
    if legal:
        lists = [one[TABLE[one] != NO_TIME] for one in lists]
    if by_time:
        lists = [one[np.argsort(TABLE[one], kind="stable")] for one in lists]
    recordings = [recording(TABLE[one], random.integers(0, 8, len(one))) for one in lists]
    block = block_of(recordings, t=np.concatenate(lists), time_table=TABLE, p=None)
    expected = by_tonic(transform, recordings, has_y=False)
    for row, one in enumerate(lists):
        if len(none := np.flatnonzero(TABLE[one] == NO_TIME)):
            expected[row] = RecordingError(
                f"{name_of(row)}, event {none[0]}: t is not a time",
                recording=name_of(row),
                event=int(none[0]),
                field="t",
            )
    chain = FusedChain(transform, has_y=False)
    if legal and by_time:
        assert_same(alone(chain, block), expected)
    assert_same(chain(block, name_of=name_of), expected)


def test_another_table_is_noticed() -> None:
    chain = fused(ToFrame(sensor_size=(1, 1, 1), time_window=10.0, start_time=0.0, end_time=40.0))
    events = [recording([1, 2, 3])]
    for scale in (1, 10):
        table = np.arange(2**16, dtype=np.int64) * scale
        block = block_of(events, t=np.array([1, 2, 3], np.uint16), time_table=table)
        index = alone(chain, block).index
        assert index.tolist() == ([0] if scale == 1 else [1, 2, 3])
        table[:] = 0  # a later change of the caller's table has no effect
        assert chain._times is not None
        assert chain._times.raw[3] == 3 * scale


@pytest.mark.parametrize("is_view", [False, True])
def test_a_table_that_the_caller_changes_is_read_again(is_view: bool) -> None:
    chain = fused(ToFrame(sensor_size=(1, 1, 1), time_window=10.0, start_time=0.0, end_time=40.0))
    table = np.arange(2**16, dtype=np.int64)
    given = table[:]
    given.flags.writeable = False
    block = block_of(
        [recording([1, 2, 3])],
        t=np.array([1, 2, 3], np.uint16),
        time_table=given if is_view else table,
    )
    assert alone(chain, block).index.tolist() == [0]
    table *= 10
    assert alone(chain, block).index.tolist() == [1, 2, 3]


def test_the_seeds_transform_on_demo_data(tmp_path: Path) -> None:
    path = write_demo_data(tmp_path, train=40, valid=1, test=1)["train"]
    with h5py.File(path) as file:
        times, units = list(file["spikes/times"]), list(file["spikes/units"])
    codes = [one.view(np.uint16) for one in times]
    recordings = [recording(TABLE[t], x) for t, x in zip(codes, units, strict=True)]
    expected = by_tonic(SEED, recordings, has_y=False)
    chain = FusedChain(SEED, has_y=False)
    block = block_of(recordings, x=np.concatenate(units), p=None)
    assert_same(alone(chain, block), expected)
    tabled = block_of(recordings, t=np.concatenate(codes), time_table=TABLE, x=np.concatenate(units), p=None)
    assert_same(alone(chain, tabled), expected)
