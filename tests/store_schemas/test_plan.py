"""Plans have fragments of the right size, with space for every possible non-zero."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples

from spikestore.store_schemas.documents.plan import FRAGMENT_BYTES, FRAGMENTS_PER_WORKER, Plan, make_plan
from spikestore.store_schemas.documents.zarr_metadata import CHUNK_VALUES, SHARD_MULTIPLE
from spikestore.store_schemas.errors import DamagedError, SpecError
from spikestore.store_schemas.layout import Layout, layout_of
from spikestore.store_schemas.specs.canonical import seal
from spikestore.store_schemas.specs.operations import SLICING_MODES, ToFrame
from spikestore.store_schemas.specs.transform import Transform

SOURCE_KEY = "0" * 64
Times = npt.NDArray[np.int64]


def parts(
    size: tuple[int, int, int] = (100, 1, 1), max_bins: int = 10**6, **frame: Any
) -> tuple[Transform, Layout]:
    fields = frame or {"time_window": 4000.0}
    transform = Transform(operations=(ToFrame(sensor_size=size, **fields),), max_bins=max_bins)
    return transform, layout_of(transform, has_y=False, classes=["a"], extras=[])


def plan(n_events: Any, transform_and_layout: tuple[Transform, Layout] | None = None, **wishes: Any) -> Plan:
    transform, layout = transform_and_layout or parts()
    return make_plan(transform, SOURCE_KEY, layout, np.asarray(n_events, np.int64), **wishes)


# Tonic 1.7.0's slicers.py, its four formulas for where windows start and end.


def by_time(t: Times, frame: ToFrame) -> list[tuple[int, int]]:
    assert frame.time_window is not None
    stride = frame.time_window - frame.overlap
    start = t[0] if frame.start_time is None else frame.start_time
    end = t[-1] if frame.end_time is None else frame.end_time
    rounding = np.ceil if frame.include_incomplete else np.floor
    slices = max(int(rounding((end - start - frame.time_window) / stride) + 1), 1)
    starts = np.arange(slices) * stride + start
    return list(zip(np.searchsorted(t, starts), np.searchsorted(t, starts + frame.time_window), strict=True))


def by_time_bins(t: Times, frame: ToFrame) -> list[tuple[int, int]]:
    assert frame.n_time_bins is not None
    window = (t[-1] - t[0]) // frame.n_time_bins * (1 + frame.overlap)
    starts = np.arange(frame.n_time_bins) * (window * (1 - frame.overlap)) + t[0]
    return list(zip(np.searchsorted(t, starts), np.searchsorted(t, starts + window), strict=True))


def by_event_count(t: Times, frame: ToFrame) -> list[tuple[int, int]]:
    assert frame.event_count is not None
    count, stride = min(frame.event_count, len(t)), frame.event_count - frame.overlap
    rounding = np.ceil if frame.include_incomplete else np.floor
    starts = (np.arange(int(rounding((len(t) - count) / stride) + 1)) * stride).astype(int)
    return [(int(first), int(first) + count) for first in starts]


def by_event_bins(t: Times, frame: ToFrame) -> list[tuple[int, int]]:
    assert frame.n_event_bins is not None
    count = int(len(t) // frame.n_event_bins * (1 + frame.overlap))
    starts = np.arange(frame.n_event_bins) * int(count * (1 - frame.overlap))
    return [(int(first), int(first) + count) for first in starts]


SLICERS = dict(zip(SLICING_MODES, (by_time, by_event_count, by_time_bins, by_event_bins), strict=True))


@st.composite
def frames(draw: st.DrawFn) -> ToFrame:
    """Strategy: all ways of slicing with all kinds of overlap, small enough to be computed."""
    mode = draw(st.sampled_from(SLICING_MODES))
    number = draw(st.integers(1, 40))
    share = draw(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 0.97]))
    if mode == "event_count":
        fields: dict[str, Any] = {mode: number, "overlap": float(int(share * number))}
    elif mode == "time_window":
        scale = draw(st.sampled_from([1.0, 0.1, 1 / 3]))
        fields = {mode: number * scale, "overlap": number * scale * share}
    else:
        fields = {mode: number, "overlap": share}
    if mode in {"time_window", "event_count"}:
        fields["include_incomplete"] = draw(st.booleans())
    return ToFrame(sensor_size=(10**6, 1, 1), **fields)


@settings(max_examples=examples(200))
@given(
    frame=frames(),
    steps=st.lists(st.sampled_from([0, 0, 1, 1, 2, 3, 10, 50]), min_size=1, max_size=60),
    start=st.sampled_from([0, 5, 10**6, 1_700_000_000_000_000]),
    early=st.sampled_from([None, 0.0, 3.5, -7.1]),
)
@example(ToFrame(sensor_size=(1, 1, 1), event_count=3, overlap=1.0), [1] * 9, 0, None)
@example(ToFrame(sensor_size=(1, 1, 1), event_count=3, overlap=2.0), [0] * 9, 0, None)
@example(ToFrame(sensor_size=(1, 1, 1), time_window=3.0, overlap=1.0), [1] * 9, 0, None)
@example(ToFrame(sensor_size=(1, 1, 1), n_time_bins=3, overlap=0.5), [1] * 9, 0, None)
@example(ToFrame(sensor_size=(1, 1, 1), n_event_bins=5, overlap=0.5), [1] * 9, 0, None)
def test_no_recording_can_have_more_non_zeros_than_were_planned(
    frame: ToFrame, steps: list[int], start: int, early: float | None
) -> None:
    """In the worst case every event has its own place, so all events of each window are non-zeros."""
    if frame.time_window is not None:
        # Microseconds since 1970 are exact to a quarter of a µs in float64; smaller strides do not exist.
        assume(start < 10**15 or frame.time_window - frame.overlap >= 0.5)
        frame = frame.model_copy(update={"start_time": None if early is None else start - early})
    times = start + np.cumsum(steps)
    windows = SLICERS[frame.mode](times, frame)
    occurrences = sum(int(max(0, min(stop, len(times)) - first)) for first, stop in windows)
    assert occurrences <= len(times) * frame.non_zeros_per_event
    counted = np.zeros(len(times) + 1, int)
    for first, stop in windows:
        counted[first : max(first, stop)] += 1
    assert counted.max() <= frame.non_zeros_per_event


@settings(max_examples=examples(60))
@given(
    n_events=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=300),
    frame=frames(),
    places=st.sampled_from([1, 50, 10**6]),
    wish=st.none() | st.sampled_from([64, 100, 128, 10**6]),
    workers=st.sampled_from([1, 2, 16]),
    spare=st.sampled_from([1, 16]),
)
def test_a_shard_has_room_for_every_fragment(
    n_events: list[int], frame: ToFrame, places: int, wish: int | None, workers: int, spare: int
) -> None:
    """It is a multiple of 262,144, and at least the sum of the bounds of any fragment's recordings."""
    fields = {mode: getattr(frame, mode) for mode in SLICING_MODES} | {"overlap": frame.overlap}
    made_for = parts(size=(places, 1, 1), max_bins=100, **fields)
    made = plan(n_events, made_for, workers=workers, fragment_samples=wish, spare=spare)
    bins = min(frame.n_time_bins or frame.n_event_bins or 100, 100)
    bounds = [min(spare * count * frame.non_zeros_per_event, bins * places) for count in n_events]
    sums = [sum(bounds[made.rows(k).start : made.rows(k).stop]) for k in range(made.fragments)]
    assert max(sums) <= made.shard_values
    assert made.shard_values % SHARD_MULTIPLE == 0
    assert made.shard_values - SHARD_MULTIPLE < max(max(sums), 1)
    assert made.fragment_samples % 64 == 0
    assert [row for k in range(made.fragments) for row in made.rows(k)] == list(range(len(n_events)))
    if wish is not None:
        assert 0 <= made.fragment_samples - wish < 64


@settings(max_examples=examples(40))
@given(st.integers(1, 100_000), st.integers(1, 64))
def test_every_worker_gets_four_fragments(samples: int, workers: int) -> None:
    """If there are four blocks for each; sets with fewer blocks have a fragment for each block."""
    made = plan(np.full(samples, 10), workers=workers)
    if samples >= 64 * FRAGMENTS_PER_WORKER * workers:
        assert made.fragments >= FRAGMENTS_PER_WORKER * workers
    else:
        assert made.fragment_samples == 64


@settings(max_examples=examples(40))
@given(st.integers(1, 100_000), st.integers(2, 16))
def test_workers_end_together(samples: int, workers: int) -> None:
    """No worker builds a fragment more than its share, except for the rounding to whole blocks."""
    made = plan(np.full(samples, 10), workers=workers)
    rounds = -(-made.fragments // workers)
    assert rounds * made.fragment_samples < samples / workers + 64 * rounds


def test_an_event_on_a_rounded_edge_has_room_twice() -> None:
    """Windows of 0.4 µs: 24 · 0.4 + 0.4 lies above 25 · 0.4 in float64, and the event at 10 µs is in both."""
    frame = ToFrame(sensor_size=(1, 1, 1), time_window=0.4)
    windows = by_time(np.array([0, 10, 11]), frame)
    assert sum(first <= 1 < stop for first, stop in windows) == 2 == frame.non_zeros_per_event


def decoded(made: Plan, events: int) -> int:
    return made.fragment_samples * (8 * events + 4 * (len(made.layout.columns) + 2))


@pytest.mark.parametrize("events", [1000, 15_200, 300_000])
def test_a_fragment_stays_below_its_size(events: int) -> None:
    """At most 256 MB decoded, and within 64 rows of it where the set is large."""
    row = decoded(plan(np.full(1, events)), events) // 64
    made = plan(np.full(12 * FRAGMENT_BYTES // row, events))
    assert FRAGMENT_BYTES - 64 * row <= decoded(made, events) <= FRAGMENT_BYTES


def test_huge_recordings_still_make_blocks() -> None:
    """A fragment has at least 64 rows, however large they are."""
    made = plan(np.full(1000, 10**9), parts(size=(10**4, 1, 1)))
    assert made.fragment_samples == 64
    assert made.shard_values == -(-64 * 10**9 // SHARD_MULTIPLE) * SHARD_MULTIPLE


def test_frames_limit_the_non_zeros_of_many_events() -> None:
    """A recording of a billion events in 20 bins of 100 channels has 2,000 non-zeros at most."""
    made = plan(np.full(64, 10**9), parts(n_time_bins=20))
    assert made.shard_values == SHARD_MULTIPLE


def test_recordings_without_events() -> None:
    """There is room for values, so that no array has length 0."""
    assert plan(np.zeros(64)).shard_values == SHARD_MULTIPLE


def test_no_recordings_are_an_error() -> None:
    """An empty source has no feature set."""
    with pytest.raises(SpecError, match="no recordings"):
        plan([])


def test_plans_survive_the_store() -> None:
    """They are equal after a round trip, and their hash is that of their bytes."""
    made = plan(np.arange(500))
    assert Plan.from_bytes(made.to_bytes(), path="plan.json") == made
    assert Plan.from_bytes(made.to_bytes(), path="plan.json").hash == made.hash


def test_equal_wishes_make_equal_plans() -> None:
    """Two builders that start at the same time with the same options join the same build."""
    assert plan(np.arange(500)).to_bytes() == plan(np.arange(500)).to_bytes()
    assert plan(np.arange(500)).hash != plan(np.arange(500), fragment_samples=128).hash


ARRAYS = ("zarr", "consolidated_metadata", "metadata")
CHUNKS = ("chunk_grid", "configuration", "chunk_shape")
CONTRADICTIONS: list[tuple[tuple[str, ...], Any]] = [
    (("samples",), 501),
    (("fragment_samples",), 100),
    (("fragment_samples",), 256),
    (("shard_values",), SHARD_MULTIPLE - 1),
    (("shard_values",), CHUNK_VALUES),
    (("shard_values",), 2 * SHARD_MULTIPLE),
    (("source_key",), "x"),
    (("extra",), 1),
    (("zarr",), {}),
    (("zarr", "consolidated_metadata"), None),
    (("zarr", "consolidated_metadata"), 5),
    (ARRAYS, {}),
    ((*ARRAYS, "index"), None),
    ((*ARRAYS, "../../../manifest.json"), {}),
    ((*ARRAYS, "index", "shape"), [1]),
    ((*ARRAYS, "start", "shape"), [1]),
    ((*ARRAYS, "check", "shape"), [1]),
    ((*ARRAYS, "value", "chunk_grid"), {}),
    ((*ARRAYS, "value", *CHUNKS), [7 * SHARD_MULTIPLE]),
    ((*ARRAYS, "label", *CHUNKS), [64]),
    ((*ARRAYS, "label", "data_type"), "int64"),
]


@pytest.mark.parametrize(
    ("path", "value"),
    CONTRADICTIONS,
    ids=[f"{'.'.join(path[-2:])}={value}" for path, value in CONTRADICTIONS],
)
def test_a_plan_that_contradicts_itself_is_refused(path: tuple[str, ...], value: Any) -> None:
    """Fragments that share an object would lose data, so numbers and Zarr metadata must agree."""
    document = json.loads(plan(np.arange(500), fragment_samples=128).to_bytes())
    del document["self"]
    Plan.from_bytes(seal(document), path="plan.json")
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(DamagedError, match=r"plan\.json is not a valid plan"):
        Plan.from_bytes(seal(document), path="plan.json")


def test_other_codecs_are_welcome() -> None:
    """The plan names the codecs, so that a later version may use others."""
    document = json.loads(plan(np.arange(500)).to_bytes())
    del document["self"]
    document["zarr"]["consolidated_metadata"]["metadata"]["label"]["codecs"] = [{"name": "bytes"}]
    assert Plan.from_bytes(seal(document), path="plan.json").zarr == document["zarr"]
