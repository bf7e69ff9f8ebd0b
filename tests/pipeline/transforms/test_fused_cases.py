"""Special recordings, blocks and transforms for FusedChain, and its errors."""

from __future__ import annotations

import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
from tests.pipeline.fused_cases import alone, assert_same, block_of, by_tonic, fused, name_of
from tests.pipeline.tonic_cases import recording

from spikestore.pipeline.readers.event_block import NO_TIME
from spikestore.pipeline.transforms.fused import FusedChain, can_run, kernels
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.layout import layout_of
from spikestore.store_schemas.specs.operations import ClipCounts, CropTime, Downsample, ToFrame
from spikestore.store_schemas.specs.transform import Transform

pytestmark = pytest.mark.bits

# ------------------------------------------------------------------ particular recordings


@pytest.mark.parametrize("n", [255, 256, 65_535, 65_536, 140_000])
@pytest.mark.parametrize("x_size", [3, 3000])
def test_huge_counts_are_counted(n: int, x_size: int) -> None:
    events = recording([5] * n + [14, 20], 1)
    found = alone(fused(ToFrame(sensor_size=(x_size, 1, 1), time_window=10.0)), block_of([events]))
    assert (found.index.tolist(), found.value.tolist(), found.n_dropped.tolist()) == ([1], [n + 1], [1])


@pytest.mark.parametrize("has_y", [False, True])
def test_large_sensors_need_no_dense_bins(has_y: bool) -> None:
    """1280 × 720 × 2 in 20,000 bins would be 37 billion cells."""
    random = np.random.default_rng(1)
    n = 20_000
    t = np.sort(random.integers(0, 20_000_000, n))
    t[: n // 2] = t[0]  # one crowded bin, which is scanned as a whole, and many bins with one or two events
    recordings = [
        recording(
            t,
            random.integers(0, 1280, n),
            random.integers(0, 2, n),
            random.integers(0, 720, n) if has_y else None,
        )
    ] * 2
    sensor = (1280, 720 if has_y else 1, 2)
    transform = Transform(operations=(ToFrame(sensor_size=sensor, time_window=1000.0, overlap=300.0),))
    found = alone(FusedChain(transform, has_y=has_y), block_of(recordings))
    assert_same(found, by_tonic(transform, recordings, has_y=has_y))
    assert found.index.dtype == (np.uint64 if has_y else np.uint32)


def test_long_gaps_take_no_time() -> None:
    frames = ToFrame(sensor_size=(700, 1, 2), time_window=1.0)
    recordings = [recording([0, 999_999, 10**6], [3, 4, 5])]
    found = alone(fused(frames), block_of(recordings))
    assert_same(found, by_tonic(Transform(operations=(frames,)), recordings, has_y=False))
    assert found.n_bins.tolist() == [10**6]


def test_bins_up_to_the_most_are_made_and_one_more_is_an_error() -> None:
    frames = ToFrame(sensor_size=(2, 1, 1), time_window=1.0)
    recordings = [recording([0, 9]), recording([0, 10])]
    expected = by_tonic(Transform(operations=(frames,), max_bins=9), recordings, has_y=False)
    assert isinstance(expected[1], RecordingError)
    assert_same(fused(frames, max_bins=9)(block_of(recordings), name_of=name_of), expected)


def test_products_beyond_64_bits_are_an_error_though_a_later_factor_undoes_them() -> None:
    operations = (
        Downsample(spatial_factor=(1e30, 1.0)),
        Downsample(spatial_factor=(1e-30, 1.0)),
        ToFrame(sensor_size=(2, 1, 1), time_window=1.0),
    )
    recordings = [recording([0, 9], 0), recording([0, 9], [0, 1])]
    expected = by_tonic(Transform(operations=operations), recordings, has_y=False)
    assert "exceeds a signed 64-bit integer" in str(expected[1])
    assert_same(fused(*operations)(block_of(recordings), name_of=name_of), expected)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u2", "u4", "u8"])
@pytest.mark.parametrize("size", [4, 100_000])
def test_coordinates_at_the_ends_of_their_types_are_not_mixed_up(dtype: str, size: int) -> None:
    """In 16 bits -1 would be 65,535, and 65,537 would be 1."""
    info = np.iinfo(dtype)
    wanted = (-(2**15), -1, 3, 127, 2**15, 65_534, 65_535, 65_536, 65_537, 2**32 + 1)
    values = [one for one in wanted if info.min <= one <= info.max]
    frames = ToFrame(sensor_size=(size, 1, 1), time_window=1.0)
    recordings = [recording([0, 9], [1, one]) for one in values]
    expected = by_tonic(Transform(operations=(frames,)), recordings, has_y=False)
    x = np.array([place for one in values for place in (1, one)], dtype)
    assert_same(fused(frames)(block_of(recordings, x=x), name_of=name_of), expected)
    with mock.patch.object(NumpyChain, "__call__", side_effect=RecordingError("left to NumPy")) as left:
        fused(frames)(block_of(recordings, x=x), name_of=name_of)
    behind_16_bits = [one for one in values if not 0 <= one <= 65_534]
    assert left.call_count <= sum(not 0 <= one < size for one in values) + len(behind_16_bits)


@pytest.mark.parametrize("max_bins", [2**32 - 1, 2**32])
def test_index_has_the_width_of_the_layout(max_bins: int) -> None:
    transform = Transform(operations=(ToFrame(sensor_size=(1, 1, 1), time_window=1.0),), max_bins=max_bins)
    found = alone(FusedChain(transform, has_y=False), block_of([recording([0, 2])]))
    layout = layout_of(transform, has_y=False, classes=["a"], extras=[])
    assert found.index.dtype == layout.dtype("index")


def test_output_grows_as_overlap_multiplies_events() -> None:
    """There are a hundred times as many non-zeros as events, in the first recording and in a later one."""
    frames = ToFrame(sensor_size=(50, 1, 1), time_window=100.0, overlap=99.0, include_incomplete=True)
    dense = recording(np.arange(500), np.arange(500) % 50)
    recordings = [dense, recording([0]), dense[:0], dense]
    found = alone(fused(frames), block_of(recordings))
    assert_same(found, by_tonic(Transform(operations=(frames,)), recordings, has_y=False))
    assert len(found.index) > 20 * 1001


def test_recordings_of_both_kinds_keep_their_order() -> None:
    """Unusual recordings, which are computed one by one, are in their places between those of the compiled pass."""
    frames = ToFrame(sensor_size=(9, 1, 1), time_window=10.0)
    good = [recording(range(i, 60 + i), np.arange(60) % 9) for i in range(4)]
    unsorted, outside = recording([5, 3, 22, 9], [1, 2, 3, 4]), recording([0, 30], [0, 9])
    recordings = [unsorted, good[0], good[1], outside, unsorted, unsorted, good[2], unsorted[:0], good[3]]
    broken = RecordingError("recording 18 is torn", recording=18)
    recordings.append(good[0])
    block = block_of(recordings, first_row=9, errors={18: broken})
    expected = by_tonic(Transform(operations=(frames,)), recordings, has_y=False, sort=True, first_row=9)
    expected[9] = broken
    assert isinstance(expected[3], RecordingError)
    assert_same(fused(frames)(block, name_of=name_of, sort=True), expected, 9)
    unusual = [9, 13, 14]
    found = fused(frames)(block, name_of=name_of)
    assert sorted(found.errors) == [*unusual[:1], 12, *unusual[1:], 18]
    assert "times are not sorted" in str(found.errors[13])


@pytest.mark.parametrize("coded", [False, True])
def test_unsorted_recordings_are_sorted_without_tonic(coded: bool) -> None:
    """Events with equal times keep the order of the file; neighbouring recordings and empty ones are not affected."""
    frames = ToFrame(sensor_size=(9, 1, 1), time_window=1e6, overlap=5e5)
    t = np.random.default_rng(3).permutation(np.repeat(np.arange(40), 2)) * 2**18
    shuffled, good = recording(t, np.arange(80) % 9), recording(np.sort(t), np.arange(80) % 9)
    recordings = [shuffled, good, good[:0], shuffled[3:], good]
    block = block_of(recordings)
    if coded:
        codes = (np.concatenate([one["t"] for one in recordings]) // 2**18).astype(np.uint16)
        table = np.full(2**16, NO_TIME)
        table[:40] = np.arange(40) * 2**18
        block = block_of(recordings, t=codes, time_table=table)
    expected = by_tonic(Transform(operations=(frames,)), recordings, has_y=False, sort=True)
    assert_same(alone(fused(frames), block, sort=True), expected)


@pytest.mark.parametrize("p", [[0, 1, 0], [1, 1, 1], [-1, -1, -1], [255, 256, 256], [255, 255, 255]])
def test_one_polarity_of_any_value(p: list[int]) -> None:
    """Values that are equal only after a cast to a narrow column are told apart."""
    frames = ToFrame(sensor_size=(2, 1, 1), time_window=1.0)
    recordings = [recording([0, 1, 5], 1, p)]
    expected = by_tonic(Transform(operations=(frames,)), recordings, has_y=False)
    assert isinstance(expected[0], RecordingError) == (len(set(p)) > 1)
    for dtype in ("i8", "i2", *(["i1"] if max(p) < 2 else [])):
        block = block_of(recordings, p=np.array(p, dtype))
        assert_same(fused(frames)(block, name_of=name_of), expected)


def test_no_column_of_polarities_means_1() -> None:
    """On a sensor with two, events are in the second half."""
    frames = ToFrame(sensor_size=(3, 1, 2), time_window=10.0)
    block = block_of([recording([0, 4, 10], [0, 2, 1])], p=None)
    assert alone(fused(frames), block).index.tolist() == [3, 5]


def test_columns_that_belong_to_a_file_are_read_where_they_are() -> None:
    """Read-only, unaligned and strided columns give the same result, without another compilation."""
    recordings = [recording(range(50), np.arange(50) % 4)]
    frames = ToFrame(sensor_size=(4, 1, 1), time_window=7.0)
    plain = block_of(recordings, x=recordings[0]["x"].astype(np.uint16), p=None)
    expected = alone(fused(frames), plain)
    compiled = len(kernels.bin_recordings.signatures)  # type: ignore[attr-defined]
    for change in ("read-only", "unaligned", "strided"):
        t, x = plain.t.copy(), plain.x.copy()
        if change == "read-only":
            t.flags.writeable = x.flags.writeable = False
        elif change == "unaligned":
            raw = np.zeros(len(t) * 8 + 1, np.uint8)
            raw[1:] = t.view(np.uint8)
            t = raw[1:].view(np.int64)
        else:
            t = np.repeat(t, 2)[::2]
            x = np.repeat(x, 3)[::3]
        found = alone(fused(frames), block_of(recordings, t=t, x=x, p=None))
        assert found.index.tolist() == expected.index.tolist()
    assert len(kernels.bin_recordings.signatures) == compiled  # type: ignore[attr-defined]


@pytest.mark.parametrize("has_y", [False, True])
def test_a_block_of_the_other_kind_is_refused_recording_by_recording(has_y: bool) -> None:
    frames = ToFrame(sensor_size=(2, 1, 1), time_window=1.0)
    recordings = [recording([0, 1], y=None if has_y else 0)] * 2
    expected = by_tonic(Transform(operations=(frames,)), recordings, has_y=has_y)
    assert len([one for one in expected if isinstance(one, RecordingError)]) == 2
    assert_same(fused(frames, has_y=has_y)(block_of(recordings), name_of=name_of), expected)


def test_a_recording_that_fails_late_leaves_only_zeros() -> None:
    """Its events are cropped before its number of bins turns out to be too large."""
    crop, frames = CropTime(min=1.0, max=99.0), ToFrame(sensor_size=(2, 1, 1), time_window=1.0)
    found = fused(crop, frames, max_bins=3)(block_of([recording([0, 1, 9])]), name_of=name_of)
    assert "would get 8 time bins" in str(found.errors[0])
    assert [
        c.tolist() for c in (found.nnz, found.n_bins, found.n_events, found.n_cropped, found.n_dropped)
    ] == [[0]] * 5


def test_an_empty_block() -> None:
    block = block_of([recording([])], offsets=np.zeros(1, np.int64), labels=np.zeros(0, np.int64))
    found = alone(fused(ToFrame(sensor_size=(2, 1, 1), time_window=1.0)), block)
    assert (len(found.index), len(found.nnz), found.errors) == (0, 0, {})


def test_too_little_memory_is_not_the_recordings_fault() -> None:
    chain = fused(ToFrame(sensor_size=(2, 1, 1), time_window=1.0))
    with (
        mock.patch.object(NumpyChain, "__call__", side_effect=MemoryError),
        pytest.raises(MemoryError),
    ):
        chain(block_of([recording([1, 0])]), name_of=name_of)


# ------------------------------------------------------------------ supported transforms

_CASES: list[tuple[ToFrame, bool, bool]] = [
    (ToFrame(sensor_size=(4, 1, 2), time_window=10.0, overlap=1.5, start_time=3.0), False, True),
    (ToFrame(sensor_size=(4, 4, 2), n_time_bins=10, overlap=0.5), True, True),
    (ToFrame(sensor_size=(4, 1, 2), event_count=10), False, False),
    (ToFrame(sensor_size=(4, 1, 2), n_event_bins=10), False, False),
    (ToFrame(sensor_size=(2**23, 1, 2), n_time_bins=10), False, True),
    (ToFrame(sensor_size=(2**23, 1, 3), n_time_bins=10), False, False),
    (ToFrame(sensor_size=(2**12, 2**11, 2), n_time_bins=10), True, True),
    (ToFrame(sensor_size=(2**12, 2**11, 3), n_time_bins=10), True, False),
    (ToFrame(sensor_size=(4, 1, 2), time_window=2.0**50), False, True),
    (ToFrame(sensor_size=(4, 1, 2), time_window=2.0**51), False, False),
    (ToFrame(sensor_size=(4, 1, 2), time_window=2.0**51, overlap=2.0**50 + 2), False, False),
    (ToFrame(sensor_size=(4, 1, 2), time_window=10.0, start_time=-(2.0**51)), False, False),
    (ToFrame(sensor_size=(4, 1, 2), time_window=10.0, end_time=2.0**51), False, False),
]


@pytest.mark.parametrize(("frames", "has_y", "can"), _CASES)
def test_can_run_says_which_transforms(frames: ToFrame, has_y: bool, can: bool) -> None:
    transform = Transform(operations=(CropTime(max=1e300), Downsample(), frames, ClipCounts(max=1)))
    assert can_run(transform, has_y=has_y) is can
    if can:
        FusedChain(transform, has_y=has_y)
    else:
        with pytest.raises(ValueError, match=r"does not support this transform \(can_run is false\)"):
            FusedChain(transform, has_y=has_y)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (ToFrame(sensor_size=(2, 3, 1), time_window=1.0), "for events without y, got"),
        (ToFrame(sensor_size=(2, 1, 1), n_time_bins=8), "every recording would get 8 time bins"),
        (ToFrame(sensor_size=(2, 1, 1), time_window=1.0, start_time=0.0, end_time=8.0), "would get 8 time"),
    ],
)
def test_transforms_that_fit_no_recording_are_wrong_use(frames: ToFrame, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fused(frames, max_bins=7)
    if frames.sensor_size[1] == 1:
        fused(frames, max_bins=8)


def test_unusual_recordings_need_no_tonic() -> None:
    code = """
import sys
sys.modules["tonic"] = None  # an import of it fails
import numpy as np
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.fused import FusedChain
from spikestore.store_schemas import ToFrame, Transform

assert "numba" not in sys.modules
chain = FusedChain(Transform(operations=(ToFrame(sensor_size=(2, 1, 1), time_window=1.0),)), has_y=False)
def block(t):
    one = np.ones(2, np.uint16)
    return EventBlock(0, np.array([0, 2]), np.array(t), None, one, None, None, one[:1], {}, {})
assert not chain(block([0, 3]), name_of=str).errors
assert "times are not sorted" in str(chain(block([3, 0]), name_of=str).errors[0])
assert chain(block([0.0, 3.0]), name_of=str).nnz.tolist() == [1]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)  # our own code
