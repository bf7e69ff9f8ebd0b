"""NumpyChain and TonicChain on inputs for which Tonic's result is wrong or undefined: one test per row of docs/tonic.md.

`chain` runs both, and fails where they differ.
"""

from __future__ import annotations

import itertools
import math
from unittest import mock

import numpy as np
import pytest
from tests.pipeline.tonic_cases import NAME, BothChains, chain, dense, recording
from tonic import transforms

from spikestore.pipeline.transforms import frame_counts
from spikestore.pipeline.transforms.from_tonic import transform_from_tonic
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.specs.operations import CropTime, Downsample, Operation, ToFrame

# ------------------------------------------------------------------ empty recordings

_MODES: dict[str, tuple[ToFrame, int]] = {
    "time_window": (ToFrame(sensor_size=(4, 1, 2), time_window=10), 1),
    "incomplete": (ToFrame(sensor_size=(4, 1, 2), time_window=10, include_incomplete=True), 1),
    "overlap": (ToFrame(sensor_size=(4, 1, 2), time_window=10, overlap=8, include_incomplete=True), 1),
    "start alone": (ToFrame(sensor_size=(4, 1, 2), time_window=10, start_time=-500), 1),
    "end alone": (ToFrame(sensor_size=(4, 1, 2), time_window=10, end_time=500), 1),
    "start and end": (ToFrame(sensor_size=(4, 1, 2), time_window=10, start_time=5, end_time=48), 4),
    "both, incomplete": (
        ToFrame(sensor_size=(4, 1, 2), time_window=10, start_time=5, end_time=48, include_incomplete=True), 5,
    ),
    "event_count": (ToFrame(sensor_size=(4, 1, 2), event_count=3), 1),
    "n_time_bins": (ToFrame(sensor_size=(4, 1, 2), n_time_bins=6), 6),
    "n_event_bins": (ToFrame(sensor_size=(4, 1, 2), n_event_bins=6, overlap=0.5), 6),
}  # fmt: skip


@pytest.mark.parametrize(("frames", "n_bins"), _MODES.values(), ids=list(_MODES))
@pytest.mark.parametrize("emptied", ["from the start", "by CropTime"])
def test_an_empty_recording_has_no_counts_and_the_bins_of_tonics_formula(
    frames: ToFrame, n_bins: int, emptied: str
) -> None:
    events = recording([] if emptied == "from the start" else [100, 101])
    sample = chain(Downsample(time_factor=0.5), CropTime(max=3), frames)(events, name=NAME)
    assert (len(sample.index), len(sample.value), sample.n_bins) == (0, 0, n_bins)
    assert sample.index.dtype == sample.value.dtype == np.int64
    assert (sample.n_events, sample.n_cropped, sample.n_dropped) == (len(events), len(events), 0)


# ------------------------------------------------------------------ bins


def test_a_recording_with_too_many_bins_is_named_before_anything_is_allocated() -> None:
    events = recording([0, 10**15])
    with pytest.raises(
        RecordingError,
        match=r"recording 17 of ssc_train.h5 would get 1,000,000,000,000,000 time bins, more than max_bins = 1,000,000",
    ):
        chain(ToFrame(sensor_size=(4, 1, 2), time_window=1))(events, name=NAME)
    edge = chain(ToFrame(sensor_size=(4, 1, 2), time_window=1), max_bins=9)
    assert edge(recording([0, 9]), name=NAME).n_bins == 9
    with pytest.raises(RecordingError, match="10 time bins, more than max_bins = 9"):
        edge(recording([0, 10]), name=NAME)


def test_an_absurd_number_of_bins_is_shortened_in_the_message() -> None:
    frames = chain(ToFrame(sensor_size=(4, 1, 2), time_window=1, start_time=-1e300))
    with pytest.raises(RecordingError, match=r"would get 1e\+300 time bins, more than max_bins = 1,000,000$"):
        frames(recording([0]), name=NAME)


def test_more_event_bins_than_allowed_are_refused_too() -> None:
    few = chain(ToFrame(sensor_size=(4, 1, 2), event_count=2), max_bins=3)
    assert few(recording(range(7)), name=NAME).n_bins == 3
    with pytest.raises(RecordingError, match="4 time bins, more than max_bins = 3"):
        few(recording(range(8)), name=NAME)


@pytest.mark.parametrize(
    "frames",
    [
        ToFrame(sensor_size=(4, 1, 2), n_time_bins=8),
        ToFrame(sensor_size=(4, 1, 2), n_event_bins=8),
        ToFrame(sensor_size=(4, 1, 2), time_window=1, start_time=0, end_time=8),
    ],
    ids=["n_time_bins", "n_event_bins", "start and end"],
)
def test_bins_that_no_recording_can_have_are_wrong_use(frames: ToFrame) -> None:
    assert chain(frames, max_bins=8)(recording([0]), name=NAME).n_bins == 8
    with pytest.raises(UsageError, match="every recording would get 8 time bins, more than max_bins = 7"):
        chain(frames, max_bins=7)


def test_no_64_bit_index_is_an_error() -> None:
    with pytest.raises(UsageError, match="too large for a 64-bit index"):
        chain(ToFrame(sensor_size=(2**40, 2**20, 2), n_time_bins=8), has_y=True)


def test_long_gaps_are_counted_sparsely() -> None:
    sample = chain(ToFrame(sensor_size=(700, 1, 2), time_window=1))(
        recording([0, 999_999, 10**6], [3, 4, 5]), name=NAME
    )
    assert sample.n_bins == 10**6
    assert sample.index.tolist() == [700 + 3, 999_999 * 1400 + 700 + 4]
    assert (sample.value.tolist(), sample.n_dropped) == ([1, 1], 1)


def test_events_on_edges_belong_to_the_later_bin_and_the_last_edge_to_none() -> None:
    sample = chain(ToFrame(sensor_size=(1, 1, 1), time_window=10))(recording([0, 10, 10, 20]), name=NAME)
    assert (dense(sample, 1, 1).ravel().tolist(), sample.n_dropped) == ([1, 2], 1)


def test_events_before_start_and_after_end_are_in_no_bin() -> None:
    frames = ToFrame(sensor_size=(1, 1, 1), time_window=10, start_time=20, end_time=40)
    sample = chain(CropTime(min=5, max=90), frames)(recording([0, 5, 19, 20, 39, 40, 90, 91]), name=NAME)
    assert dense(sample, 1, 1).ravel().tolist() == [1, 1]
    assert (sample.n_events, sample.n_cropped, sample.n_dropped) == (8, 2, 4)


def test_overlapping_bins_count_events_once_for_each_bin_and_drop_each_once() -> None:
    sample = chain(ToFrame(sensor_size=(1, 1, 1), time_window=10, overlap=5))(
        recording([0, 7, 12, 20]), name=NAME
    )
    assert (dense(sample, 1, 1).ravel().tolist(), sample.n_dropped) == ([2, 2, 1], 1)


def test_few_events_in_many_overlapping_event_bins_are_all_in_every_bin() -> None:
    """Tonic rounds the stride down to 0."""
    sample = chain(ToFrame(sensor_size=(1, 1, 1), n_event_bins=3, overlap=0.5))(
        recording([0, 1, 2]), name=NAME
    )
    assert (dense(sample, 1, 1).ravel().tolist(), sample.n_dropped) == ([1, 1, 1], 2)


# ------------------------------------------------------------------ counts


@pytest.mark.parametrize("n", [32_767, 32_768, 40_000, 70_000])
def test_counts_beyond_int16_are_counted(n: int) -> None:
    sample = chain(ToFrame(sensor_size=(2, 1, 1), event_count=n))(recording([5] * n, 1), name=NAME)
    assert (sample.index.tolist(), sample.value.tolist()) == ([1], [n])


def test_tonics_dense_frames_are_used_where_they_can_hold_the_result() -> None:
    """The reference stays Tonic's own code, not ours."""
    frames = chain(ToFrame(sensor_size=(2, 1, 1), event_count=4)).tonic
    with mock.patch.object(NumpyChain, "_counted") as ours:
        frames(recording([5] * 4), name=NAME)
        ours.assert_not_called()


# ------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_times_that_overflow_in_tonics_arithmetic_are_computed_in_64_bits(kind: str) -> None:
    """Unsigned times before a later start_time; narrow times times 1000."""
    events = recording([1, 2, 100], t_dtype=kind)
    frames = ToFrame(sensor_size=(1, 1, 1), time_window=50_000, start_time=50_000, include_incomplete=True)
    sample = chain(Downsample(time_factor=1000), frames)(events, name=NAME)
    assert (sample.n_bins, sample.index.tolist(), sample.n_dropped) == (1, [], 3)
    earlier = ToFrame(sensor_size=(1, 1, 1), time_window=50_000, start_time=2000, include_incomplete=True)
    sample = chain(Downsample(time_factor=1000), earlier)(events, name=NAME)
    assert (sample.n_bins, sample.index.tolist(), sample.n_dropped) == (2, [0, 1], 1)


def test_whole_parameters_are_exact_beyond_2_to_the_53() -> None:
    t = 2**60 + np.array([0, 1, 2, 3, 4])
    exact = chain(
        Downsample(spatial_factor=(0.5, 0.5)),
        CropTime(max=2.0**61),
        ToFrame(sensor_size=(1, 1, 1), time_window=1),
    )
    assert dense(exact(recording(t), name=NAME), 1, 1).ravel().tolist() == [1, 1, 1, 1]
    doubled = chain(Downsample(time_factor=2), ToFrame(sensor_size=(1, 1, 1), time_window=1))
    assert dense(doubled(recording(t), name=NAME), 1, 1).ravel().tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


def test_narrow_floating_point_times_are_computed_as_tonic_computes_them() -> None:
    """In float32, 16,777,216 and one more µs are the same time; if they were widened first, they would differ."""
    events = recording([5_592_405.5, 16_777_214.0], t_dtype="f4")
    parts = [transforms.Downsample(time_factor=1.1), transforms.ToFrame((1, 1, 1), n_time_bins=1)]
    spec = transform_from_tonic(transforms.Compose(parts))
    frames = parts[1](parts[0](events.copy()))
    np.testing.assert_array_equal(dense(BothChains(spec, has_y=False)(events, name=NAME), 1, 1), frames)


@pytest.mark.parametrize(
    ("times", "kind", "operations"),
    [
        ([-60_000, 60_000], "f2", [ToFrame(sensor_size=(1, 1, 1), n_time_bins=3)]),
        ([-60_000, 60_000], "f2", [ToFrame(sensor_size=(1, 1, 1), time_window=1000)]),
        ([0, 60_000], "f2", [ToFrame(sensor_size=(1, 1, 1), n_time_bins=1, overlap=0.5)]),
        ([0, 1], "f2", [ToFrame(sensor_size=(1, 1, 1), time_window=1e6)]),
    ],
)
def test_times_too_narrow_for_their_bins_are_an_error(
    times: list[float], kind: str, operations: list[Operation]
) -> None:
    with pytest.raises(
        RecordingError, match=f"{NAME}: the number of time bins overflows in the dtype of the times, float16"
    ):
        chain(*operations)(recording(times, t_dtype=kind), name=NAME)


def test_times_that_become_infinite_are_an_error() -> None:
    scaled = chain(Downsample(time_factor=1e300), ToFrame(sensor_size=(1, 1, 1), time_window=1))
    with pytest.raises(
        RecordingError, match=r"17 of .*, event 1: t = inf \(1e\+200 as read\) µs is out of range"
    ):
        scaled(recording([0, 1e200], t_dtype="f8"), name=NAME)


def test_products_beyond_64_bits_are_an_error() -> None:
    scaled = chain(Downsample(time_factor=2**40), ToFrame(sensor_size=(1, 1, 1), time_window=1))
    with pytest.raises(
        RecordingError, match=r"event 2: t = 16777216 times 1099511627776 exceeds a signed 64-bit"
    ):
        scaled(recording([0, 1, 2**24]), name=NAME)


# ------------------------------------------------------------------ ill-formed recordings


@pytest.mark.parametrize("sort", [False, True])
def test_unsorted_times_are_an_error_or_sorted(sort: bool) -> None:
    frames = chain(ToFrame(sensor_size=(4, 1, 1), event_count=1))
    events = recording([3, 1, 1, 2], [0, 1, 2, 3])
    if sort:
        sample = frames(events, name=NAME, sort=True)
        assert (sample.index % 4).tolist() == [1, 2, 3, 0]  # stable: 1 before 2
    else:
        with pytest.raises(
            RecordingError,
            match=r"17 of ssc_train.h5, event 1: t = 1 µs comes after 3 µs: times are not sorted",
        ):
            frames(events, name=NAME)


def test_events_are_named_by_their_number_as_read() -> None:
    frames = ToFrame(sensor_size=(4, 1, 1), time_window=5)
    cropped = chain(
        Downsample(spatial_factor=(0.5, 0.5)), CropTime(min=2, max=9), CropTime(min=3, max=9), frames
    )
    with pytest.raises(
        RecordingError, match=r"event 4: x = 4 \(9 as read\) is outside the sensor: x must be from 0 to 3"
    ) as caught:
        cropped(recording([0, 1, 2, 3, 4], [1, 1, 1, 7, 9]), name=NAME)
    assert caught.value.details == {"recording": NAME, "event": 4, "field": "x"}
    with pytest.raises(RecordingError, match=r"event 0: x = 4 \(9 as read\)"):
        cropped(recording([4, 0, 1, 2, 3], [9, 1, 1, 1, 7]), name=NAME, sort=True)


def test_cropped_events_may_be_outside_the_sensor() -> None:
    """Tonic never counts such events; they are common in the first milliseconds of a recording."""
    frames = chain(CropTime(min=2, max=9), ToFrame(sensor_size=(4, 1, 1), event_count=1))
    assert frames(recording([0, 2, 10], [99, 1, 99]), name=NAME).index.tolist() == [1]


def test_a_negative_coordinate_is_not_hidden_by_downsampling() -> None:
    halved = chain(Downsample(spatial_factor=(0.5, 0.5)), ToFrame(sensor_size=(4, 1, 1), event_count=1))
    with pytest.raises(RecordingError, match="event 1: x = -1 is negative"):
        halved(recording([0, 1], [0, -1]), name=NAME)


def test_a_one_polarity_sensor_takes_any_single_value_and_never_writes_to_the_caller() -> None:
    frames = chain(ToFrame(sensor_size=(1, 1, 1), event_count=2))
    for value in (-1, 0, 1, 7):
        events = recording([0, 1], p=value)
        events.flags.writeable = False
        assert frames(events, name=NAME).value.tolist() == [2]
    with pytest.raises(
        RecordingError,
        match="event 1: p = 1 differs from p = 0 of the first event, but the sensor has one polarity",
    ):
        frames(recording([0, 1], p=[0, 1]), name=NAME)


def test_events_with_and_without_y_are_not_mixed() -> None:
    assert chain(ToFrame(sensor_size=(2, 3, 1), event_count=1), has_y=True)(
        recording([0], 1, y=2), name=NAME
    ).index.tolist() == [5]
    with pytest.raises(UsageError, match=r"must be \(2, 1, 1\) for events without y, got \(2, 3, 1\)"):
        chain(ToFrame(sensor_size=(2, 3, 1), event_count=1))
    with pytest.raises(RecordingError, match="fields t, x, y, p, got t, x, p"):
        chain(ToFrame(sensor_size=(2, 3, 1), event_count=1), has_y=True)(recording([0]), name=NAME)
    with pytest.raises(RecordingError, match="fields t, x, p, got t, x, y, p"):
        chain(ToFrame(sensor_size=(2, 1, 1), event_count=1))(recording([0], y=0), name=NAME)


def test_errors_of_tonic_are_recording_errors_that_name_the_recording() -> None:
    frames = chain(ToFrame(sensor_size=(1, 1, 1), event_count=1)).tonic
    broken = mock.Mock(event_count=1, overlap=0)
    broken.get_slice_metadata.side_effect = AssertionError("stride")
    with (
        mock.patch.object(frames, "_slicer", broken),
        pytest.raises(RecordingError, match=f"{NAME}: Tonic failed with AssertionError: stride"),
    ):
        frames(recording([0]), name=NAME)


def test_too_little_memory_is_not_the_recordings_fault() -> None:
    """Otherwise ``on_error = "skip"`` would leave out a valid recording for ever."""
    frames = chain(ToFrame(sensor_size=(1, 1, 1), event_count=1)).tonic
    broken = mock.Mock(event_count=1, overlap=0)
    broken.get_slice_metadata.side_effect = MemoryError
    with mock.patch.object(frames, "_slicer", broken), pytest.raises(MemoryError):
        frames(recording([0]), name=NAME)


def test_the_sparse_count_in_blocks_equals_the_count_at_once() -> None:
    random = np.random.default_rng(0)
    events = recording(
        np.sort(random.integers(0, 500, 300)), random.integers(0, 3, 300), random.integers(0, 2, 300)
    )
    edges = np.arange(0, 301, 7)
    starts, ends = edges, np.minimum(edges + 20, 300)
    whole = frame_counts.count_sparsely(events, starts, ends, (2, 3))
    for block in (1, 19, 20, 21, 45):
        with mock.patch.object(frame_counts, "_BLOCK", block):
            pieces = frame_counts.count_sparsely(events, starts, ends, (2, 3))
        for left, right in itertools.zip_longest(whole, pieces):
            np.testing.assert_array_equal(left, right)
    assert whole[1].sum() == (ends - starts).sum()
    assert math.prod((len(edges), 2, 3)) > whole[0].max()
