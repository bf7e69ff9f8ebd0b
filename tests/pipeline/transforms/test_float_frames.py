"""Frames of real numbers equal Tonic's after one rounding to float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.fused_cases import block_of, name_of
from tests.pipeline.tonic_cases import NAME, recording
from tonic import transforms

from spikestore.pipeline.deriving.nesting import rebinning_of
from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.choose import block_chain, executor_for
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.errors import RecordingError, SpecError, UnsupportedTransformError, UsageError
from spikestore.store_schemas.specs.operations import ClipCounts, ToBinaRep, ToFrame, ToTimesurface
from spikestore.store_schemas.specs.transform import Transform

SIZE = (12, 9, 2)
GRID = transforms.ToVoxelGrid(SIZE, 3)
BINARY = transforms.Compose([transforms.ToFrame(SIZE, n_time_bins=16), transforms.ToBinaRep(2, 8)])


@st.composite
def events_with_y(draw: st.DrawFn, dtype: str) -> Events:
    """Strategy for recordings of at least two times."""
    count, first = draw(st.integers(2, 40)), draw(st.sampled_from([0, 7, 1_700_000_000_000_000]))
    longest = draw(st.sampled_from([30, 4_000, 30_000_000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    times = np.sort(rng.integers(0, longest, count) if dtype == "i8" else rng.random(count) * longest)
    times[-1] += longest  # also after rounding to float32
    events = recording(times + (first if dtype == "i8" else 0), y=rng.integers(0, 9, count), t_dtype=dtype)
    events["x"], events["p"] = (
        rng.integers(0, draw(st.sampled_from([2, 12])), count),
        rng.integers(0, 2, count),
    )
    return events


@st.composite
def float_transforms(draw: st.DrawFn) -> Any:
    """Strategy for Tonic's transforms with frames of real numbers; with the decay "exp", sums are Tonic's up to its own error."""
    number, small = st.integers(1, 40), st.floats(0.01, 50_000)
    side = draw(st.sampled_from([3, 5]))
    cell = draw(st.integers(side, 12))
    averaged = transforms.ToAveragedTimesurface(
        SIZE, side, cell, draw(small), draw(small), draw(st.sampled_from(["exp", "lin"]))
    )
    return draw(
        st.one_of(
            st.builds(transforms.ToVoxelGrid, st.just(SIZE), number),
            st.builds(transforms.ToTimesurface, st.just(SIZE), number.map(lambda n: n * 1_000_000), small),
            st.builds(transforms.ToTimesurface, st.just(SIZE), st.floats(300_000, 1e8), st.floats(1e5, 1e8)),
            st.just(averaged),
            st.just(BINARY),
        )
    )


def frames_of(part: Any, *recordings: Events) -> list[npt.NDArray[np.float32]]:
    """Return the dense frames of recordings, from the chain that a build would choose."""
    transform = transform_from_tonic(part)
    samples = block_chain(transform, "auto", has_y=True)(block_of(list(recordings)), name_of=name_of)
    assert samples.errors == {}
    assert samples.value.all()
    ends = np.cumsum(samples.nnz)
    dense = []
    for end, nnz, n_bins in zip(ends.tolist(), samples.nnz.tolist(), samples.n_bins.tolist(), strict=True):
        index = samples.index[end - nnz : end]
        assert (np.diff(index.astype(np.int64)) > 0).all()
        frames = np.zeros((n_bins, *transform.sites(has_y=True)), np.float32)
        frames.reshape(-1)[index] = samples.value[end - nnz : end]
        dense.append(frames)
    return dense


@settings(max_examples=25)
@given(
    st.sampled_from(["i8", "f4", "f8"]).flatmap(
        lambda dtype: st.lists(events_with_y(dtype), min_size=1, max_size=2)
    ),
    float_transforms(),
)
def test_frames_equal_tonics(recordings: list[Events], part: Any) -> None:
    for events, ours in zip(recordings, frames_of(part, *recordings), strict=True):
        theirs = np.asarray(part(events.copy())).astype(np.float32)
        if getattr(part, "decay", None) == "exp":  # NumPy's exp of float32 is not the nearest number
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_a_voxel_grid_adds_in_the_order_of_tonic() -> None:
    """A bin first adds its own events; in the other order, the sum of one cell is 1.1e-16 instead of 1.7e-16."""
    times, signs = [1, 2, 3, 8, 10, 10, 11, 11, 11, 16, 16, 18], [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1]
    events = recording(times, p=signs, y=0)
    (ours,) = frames_of(GRID, events)
    np.testing.assert_array_equal(ours, GRID(events.copy()).astype(np.float32))


def test_the_sign_is_kept_where_tonics_polarities_are_bool() -> None:
    """Tonic sets bool polarities of 0 to -1, which is true for bools: all events would count as +1."""
    events = recording([0, 10, 20], x=[1, 2, 3], p=[0, 1, 0], y=0)
    narrow = events.astype([("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "?")])
    (ours,) = frames_of(GRID, narrow)
    np.testing.assert_array_equal(ours, GRID(events.copy()).astype(np.float32))
    assert ours.min() == -1
    assert GRID(narrow.copy()).min() == 0


@pytest.mark.parametrize(
    "part", [GRID, BINARY, transforms.ToTimesurface(SIZE, 10, 5), transforms.ToAveragedTimesurface(SIZE)]
)
def test_a_recording_without_events_has_frames(part: Any) -> None:
    (frames,) = frames_of(part, recording([], y=[]))
    transform = transform_from_tonic(part)
    assert frames.shape == (transform.bins or 1, *transform.sites(has_y=True))
    assert not frames.any()


def test_events_in_no_bin_are_counted() -> None:
    events = recording([0, 5, 10, 25], y=0)
    for part, dropped in (
        (GRID, 1),
        (transforms.ToTimesurface(SIZE, 10, 5), 1),
        (transforms.ToAveragedTimesurface(SIZE), 0),
    ):
        sample = NumpyChain(transform_from_tonic(part), has_y=True)(events, name=NAME)
        assert sample.n_dropped == dropped, part


def test_a_voxel_grid_without_a_duration_is_an_error() -> None:
    with pytest.raises(
        RecordingError, match=rf"^{NAME}: all events have the time 7 µs, and to_voxel_grid divides by"
    ):
        NumpyChain(transform_from_tonic(GRID), has_y=True)(recording([7, 7], y=0), name=NAME)


def test_a_value_beyond_float32_is_an_error() -> None:
    """Times lose their fraction: the event at -0.5 µs would be half a microsecond later than the surface."""
    part = transforms.ToTimesurface(SIZE, 0.001, 0.001)
    with pytest.raises(RecordingError, match="to_timesurface gives values that are too large for float32"):
        NumpyChain(transform_from_tonic(part), has_y=True)(
            recording([-0.5, -0.4], y=0, t_dtype="f8"), name=NAME
        )


@pytest.mark.parametrize("part", [GRID, BINARY])
def test_recordings_without_y_are_refused(part: Any) -> None:
    transform = transform_from_tonic(part)
    op = transform.operations[-1].op
    advice = "use to_frame" if part is GRID else "remove to_bina_rep"
    with pytest.raises(
        UsageError, match=f"^{op} needs events with y, but these recordings have no y: {advice}$"
    ):
        block_chain(transform, "auto", has_y=False)


def test_executors() -> None:
    binary, grid = transform_from_tonic(BINARY), transform_from_tonic(GRID)
    assert [executor_for(binary, name, has_y=True) for name in ("auto", "fused", "tonic")] == [
        "fused",
        "fused",
        "tonic",
    ]
    assert executor_for(grid, "auto", has_y=True) == "numpy"
    for name in ("fused", "tonic"):
        with pytest.raises(
            UsageError, match=f'executor = "{name}" does not support to_voxel_grid: omit executor'
        ):
            executor_for(grid, name, has_y=True)
    events = recording([0, 10, 20, 99], x=3, y=[1, 1, 1, 2])
    (fused,) = frames_of(BINARY, events)
    samples = block_chain(binary, "tonic", has_y=True)(block_of([events]), name_of=name_of)
    assert samples.value.tolist() == fused[fused != 0].tolist()


def test_sums_of_real_numbers_are_no_coarser_set() -> None:
    fine = Transform(operations=(ToFrame(sensor_size=SIZE, time_window=1000.0, include_incomplete=True),))
    for part in (
        GRID,
        BINARY,
        transforms.ToTimesurface(SIZE, 1000, 5),
        transforms.ToAveragedTimesurface(SIZE),
    ):
        real = transform_from_tonic(part)
        problem = rebinning_of(real, fine, has_y=True)
        assert (
            problem
            == f"its values are real numbers of {real.operations[-1].op}, and only counts can be summed"
        )
        assert isinstance(rebinning_of(fine, real, has_y=True), str)


def test_types_of_frames() -> None:
    bool_first = [BINARY.transforms[0], transforms.NumpyAsType(bool), BINARY.transforms[1]]
    assert transform_from_tonic(bool_first) == transform_from_tonic(BINARY)
    assert transform_from_tonic([GRID, transforms.NumpyAsType(np.float32)]) == transform_from_tonic(GRID)
    with pytest.raises(
        UnsupportedTransformError, match="with float16 rounds real numbers, which are stored as float32"
    ):
        transform_from_tonic([GRID, transforms.NumpyAsType(np.float16)])


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (
            (ToTimesurface(sensor_size=SIZE, dt=1.0, tau=1.0), ClipCounts(max=1)),
            "frames of to_timesurface are real numbers",
        ),
        (
            (ToFrame(sensor_size=SIZE, n_time_bins=15), ToBinaRep(n_frames=2)),
            "n_frames × n_bits = 16",
        ),
        ((ToFrame(sensor_size=SIZE, time_window=1.0), ToBinaRep()), "n_frames × n_bits = 8"),
        (
            (ToFrame(sensor_size=SIZE, n_time_bins=8), ToBinaRep(), ToBinaRep()),
            "must have exactly one operation that makes",
        ),
    ],
)
def test_wrong_orders(operations: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        Transform(operations=operations)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (transforms.ToVoxelGrid((3, 3, 1), 3), "sensor_size must have 2 polarities, as in Tonic, got 1"),
        (transforms.ToTimesurface(SIZE, 0, 1), "dt: must be greater than 0"),
        (
            transforms.ToAveragedTimesurface(SIZE, surface_size=4),
            r"surface_size must be odd and at most cell_size \(10\), got 4",
        ),
        (transforms.ToBinaRep(1, 25), "n_bits: must be less than or equal to 24"),
    ],
)
def test_wrong_parameters(part: Any, words: str) -> None:
    with pytest.raises(UnsupportedTransformError, match=words):
        transform_from_tonic(part)
