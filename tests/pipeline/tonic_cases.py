"""Recordings and transforms that tests compare with Tonic itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tonic.slicers
from hypothesis import assume
from hypothesis import strategies as st
from tonic import transforms

from spikestore.pipeline.readers.recording import Events, Sample
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER
from spikestore.store_schemas.specs.operations import Operation
from spikestore.store_schemas.specs.transform import Transform

NAME = "recording 17 of ssc_train.h5"


def recording(t: Any, x: Any = 0, p: Any = 1, y: Any = None, *, t_dtype: str = "i8") -> Events:
    """Return events with int64 coordinates; a scalar is the value of all events."""
    fields = {"t": t_dtype, "x": "i8", **({} if y is None else {"y": "i8"}), "p": "i8"}
    events = np.zeros(len(t), dtype=list(fields.items()))
    events["t"], events["x"], events["p"] = t, x, p
    if y is not None:
        events["y"] = y
    return events


class BothChains:
    """Runs `NumpyChain` and `TonicChain`; fails if samples, errors or messages differ."""

    def __init__(self, transform: Transform, *, has_y: bool) -> None:
        self.tonic = TonicChain(
            transform, has_y=has_y
        )  # `NumpyChain`'s own constructor rejects the transform
        self.numpy = NumpyChain(transform, has_y=has_y)

    def __call__(self, events: Events, *, name: str, sort: bool = False) -> Sample:
        before = events.tobytes()
        outcomes: list[Sample | RecordingError] = []
        for chain in (self.numpy, self.tonic):
            try:
                outcomes.append(chain(events, name=name, sort=sort))
            except RecordingError as error:
                outcomes.append(error)
        assert events.tobytes() == before
        ours, theirs = outcomes
        if isinstance(ours, RecordingError):
            assert isinstance(theirs, RecordingError), f"NumpyChain alone refuses: {ours}"
            assert (str(ours), ours.details) == (str(theirs), theirs.details)
            raise ours
        assert isinstance(theirs, Sample), f"TonicChain alone refuses: {theirs}"
        assert_same(ours, theirs)
        assert ours.index.dtype == ours.value.dtype == np.int64
        return ours


def chain(*operations: Operation, has_y: bool = False, **fields: Any) -> BothChains:
    return BothChains(Transform(operations=operations, **fields), has_y=has_y)


def dense(sample: Sample, *sites: int) -> npt.NDArray[np.int64]:
    frames = np.zeros((sample.n_bins, *sites), np.int64)
    frames.reshape(-1)[sample.index] = sample.value
    return frames


def assert_same(left: Sample, right: Sample) -> None:
    for one in ("index", "value"):
        np.testing.assert_array_equal(getattr(left, one), getattr(right, one))
    bare = np.empty(0, np.int64)
    assert str(replace(left, index=bare, value=bare)) == str(replace(right, index=bare, value=bare))


# ------------------------------------------------------------------ Tonic itself is the reference

_TIME_TYPES = ("i8", "i8", "u4", "i4", "f8", "i2", "u8", "f4", "f2")
_BASES = {
    "i8": (0, -500, 2**31 - 50, 2**53 - 50),
    "u4": (0, 2**31 - 50),
    "u8": (0, 2**31 - 50),
    "i4": (0, -500, 2**30),
}


def _cumulative(base: float, gaps: list[float], kind: str) -> npt.NDArray[Any]:
    times = base + np.cumsum(np.array([0, *gaps], np.float64 if kind[0] == "f" else np.int64))
    return np.sort(times.astype(kind))


def _numbers(draw: st.DrawFn, value: float, *, as_float: bool) -> int | float:
    """Strategy: a whole number as int or float, because users write either."""
    return float(value) if as_float or value != int(value) else int(value)


@st.composite
def legal_cases(draw: st.DrawFn) -> tuple[list[Any], Events]:
    """Strategy: Tonic transforms, and events for which Tonic's result is well-defined."""
    kind = draw(st.sampled_from(_TIME_TYPES))
    window: float = draw(st.sampled_from([1, 2, 3, 7, 10, 2.5, 1 / 3]))
    gap = st.one_of(
        st.sampled_from([0, 0, 1, window, 2 * window, window + 1, 40 * window]), st.integers(0, 12)
    )
    base = draw(st.sampled_from(_BASES.get(kind, (0,))))
    times = _cumulative(base, draw(st.lists(gap, max_size=30)), kind)
    n, exact = len(times), base > 2**50 or kind[0] == "u"

    has_y, polarities = draw(st.booleans()), draw(st.sampled_from([1, 2, 3]))
    size = draw(st.integers(1, 5)), draw(st.integers(1, 4)) if has_y else 1
    coordinate = draw(st.sampled_from(["u2", "i8", "i2", "u1"]))
    polarity = draw(st.sampled_from(["i8", "u1", "i1", "f4", *(["?"] if polarities < 3 else [])]))
    fields = [("t", kind), ("x", coordinate), *([("y", coordinate)] if has_y else []), ("p", polarity)]
    events = np.zeros(n, dtype=fields)
    events["t"] = times
    places = st.lists(st.integers(0, 2**16), min_size=n, max_size=n).map(np.array)
    events["x"] = draw(places) % size[0]
    if has_y:
        events["y"] = draw(places) % size[1]
    events["p"] = draw(st.integers(0, 1)) if polarities == 1 else draw(places) % polarities

    parts: list[Any] = []
    now, largest = events, [size[0] - 1, size[1] - 1]
    with np.errstate(all="ignore"):
        for which in draw(st.lists(st.sampled_from(["downsample", "crop"]), max_size=3)):
            if which == "downsample":
                factor = draw(st.sampled_from([1, 0.5, 1 / 3, 100 / 700, (0.5, 1.0), (2, 0.3)]))
                slower = draw(st.sampled_from([1, 1, 0.5, 0.1, *([] if exact else [3, 2.0])]))
                pair = factor if isinstance(factor, tuple) else (factor, factor)
                largest = [int(edge * f) for edge, f in zip(largest, pair, strict=True)]
                part = transforms.Downsample(time_factor=slower, spatial_factor=factor)
                scaled = now["t"].astype(float) * slower
                info = np.iinfo(kind) if kind[0] != "f" else np.finfo(kind)
                assume(scaled.size == 0 or (scaled.max() <= info.max and scaled.min() >= info.min))
            else:
                ends = sorted(
                    draw(
                        st.tuples(
                            *[st.sampled_from([*now["t"].tolist(), *(now["t"][:1] + 1).tolist()] or [0])] * 2
                        )
                    )
                )
                ends = [min(end, LARGEST_INTEGER) for end in ends]
                float_ends = kind[0] == "f" or (base <= 2**50 and draw(st.booleans()))
                part = transforms.CropTime(*(_numbers(draw, end, as_float=float_ends) for end in ends))
            parts.append(part)
            now = part(now)
    sensor = (largest[0] + 1 + draw(st.integers(0, 1)), largest[1] + 1 if has_y else 1, polarities)
    # Unsigned times wrap below an integer window, and float windows round above 2^53.
    floats = kind[0] == "u" or (base <= 2**50 and draw(st.booleans()))
    parts.append(draw(_frames(now["t"], kind, window, sensor, floats=floats)))
    return parts, events


@st.composite
def _frames(
    draw: st.DrawFn,
    times: npt.NDArray[Any],
    kind: str,
    window: float,
    sensor: tuple[int, int, int],
    *,
    floats: bool,
) -> Any:
    mode = draw(st.sampled_from(["time_window", "time_window", "event_count", "n_time_bins", "n_event_bins"]))
    if mode == "time_window":
        overlap = draw(st.sampled_from([0, 0, window / 2, window * 0.7, 1 if window > 1 else 0]))
        span = [times[0].item(), times[-1].item()] if len(times) else [0, 0]
        near = [
            None,
            *([] if kind[0] == "u" or span[0] < -(2**15) + 50 else [span[0] - 5, span[0] + 3, span[0]]),
        ]
        far = [None, span[1], span[1] + 7] if abs(span[1]) < 2**15 - 50 or kind in ("i8", "f8") else [None]
        start, end = draw(st.sampled_from(near)), draw(st.sampled_from(far))
        assume(max(start or 0, end or 0) <= LARGEST_INTEGER)
        assume(start is None or end is None or start <= end)
        return transforms.ToFrame(
            sensor,
            time_window=_numbers(draw, window, as_float=floats),
            overlap=_numbers(draw, overlap, as_float=floats),
            include_incomplete=draw(st.booleans()),
            start_time=start,
            end_time=end,
        )
    if mode == "event_count":
        count = draw(st.integers(1, 8))
        overlap = draw(st.integers(0, count - 1))
        return transforms.ToFrame(
            sensor, event_count=count, overlap=overlap, include_incomplete=draw(st.booleans())
        )
    overlap = draw(st.sampled_from([0, 0, 0.25, 0.9]))
    return transforms.ToFrame(sensor, overlap=overlap, **{mode: draw(st.integers(1, 12))})


def slices(frame: Any, events: Events) -> list[Events]:
    """Return the events that Tonic puts into each bin."""
    if frame.time_window is not None:
        slicer = tonic.slicers.SliceByTime(
            frame.time_window, frame.overlap, frame.include_incomplete, frame.start_time, frame.end_time
        )
    elif frame.event_count is not None:
        slicer = tonic.slicers.SliceByEventCount(frame.event_count, frame.overlap, frame.include_incomplete)
    elif frame.n_time_bins is not None:
        slicer = tonic.slicers.SliceByTimeBins(frame.n_time_bins, frame.overlap)
    else:
        slicer = tonic.slicers.SliceByEventBins(frame.n_event_bins, frame.overlap)
    return list(slicer.slice(events, None)[0])
