"""Hypothesis strategies for every model that is hashed into a key, and for columns that fit a layout.

`VALUES` has a strategy for each field of each model, except for three fields of `Source`. ``test_keys.py`` fails if a new field has no
strategy, so the effect of every field on the key is tested.

Examples
--------
>>> from hypothesis import given
>>> @given(transforms())
... def test_something(transform): ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from hypothesis import assume, reject
from hypothesis import strategies as st

from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.layout import EXTRAS, Layout, layout_of
from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER
from spikestore.store_schemas.specs.files import SourceFile
from spikestore.store_schemas.specs.model import Spec
from spikestore.store_schemas.specs.operations import (
    SLICING_MODES,
    CenterCrop,
    ClipCounts,
    CropTime,
    Decimation,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    FixedDuration,
    FixedFramesNumber,
    MergePolarities,
    Operation,
    OwnOperation,
    RefractoryPeriod,
    TimeAlignment,
    TimeSkew,
    ToAveragedTimesurface,
    ToBinaRep,
    ToFrame,
    ToTimesurface,
    ToVoxelGrid,
)
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

_Spec = TypeVar("_Spec", bound=Spec)

reals = st.floats(allow_nan=False, allow_infinity=False).map(lambda real: real + 0.0)
positive_reals = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
shares = st.floats(min_value=0, max_value=1, exclude_max=True)
counts = st.integers(0, LARGEST_INTEGER)
sizes = st.integers(1, LARGEST_INTEGER)
small_sizes = st.integers(1, 300)
_THREE_SIZES = st.tuples(sizes, sizes, sizes)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_first = st.sampled_from(_LETTERS + "0123456789")
names = st.builds(str.__add__, _first, st.text(_LETTERS + "0123456789._-", max_size=62))
dataset_names = st.builds(
    str.__add__, _first.map(str.upper), st.text(_LETTERS + "ABC0123456789._-", max_size=62)
)
sha256s = st.binary(min_size=32, max_size=32).map(bytes.hex)  # a regular expression is ten times slower
_path_parts = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\", min_codepoint=32),
    min_size=1,
    max_size=9,
).filter(lambda part: part not in {".", ".."})
file_names = st.lists(_path_parts, min_size=1, max_size=2).map("/".join)
source_files = st.builds(SourceFile, name=file_names, size=counts, sha256=sha256s)
_file_lists = st.lists(source_files, min_size=1, max_size=3, unique_by=lambda file: file.name).map(
    lambda files: tuple(sorted(files, key=lambda file: file.name))
)
_column_names = st.lists(names, max_size=3, unique=True).map(sorted).map(tuple)
"""The strategies above draw real numbers, integers, names, hashes and files for fields of the models."""

sources = st.builds(
    Source,
    reader=names,
    reader_version=sizes,
    dataset=dataset_names,
    split=names,
    sort=st.booleans(),
    on_error=st.sampled_from(["raise", "skip"]),
    limit=st.none() | sizes,
    files=_file_lists,
    columns=_column_names,
)
"""Any source."""

downsamples = st.builds(
    Downsample, time_factor=positive_reals, spatial_factor=st.tuples(positive_reals, positive_reals)
)
"""Any Downsample."""

clips = st.integers(1, 2**32 - 2)
clip_counts = st.builds(ClipCounts, max=clips)
"""Any ClipCounts."""

crop_times = st.tuples(reals, reals).map(lambda ends: CropTime(min=min(ends), max=max(ends)))
"""Any CropTime."""

_pixels = (
    st.lists(st.tuples(small_sizes, small_sizes), min_size=1, max_size=3, unique=True).map(sorted).map(tuple)
)
_parameters = st.dictionaries(names, st.text(max_size=3) | reals | st.just((1, "a")), max_size=2)
_plane_sizes = st.tuples(sizes, sizes)
_EVENT_OPERATIONS: Mapping[type[Spec], Mapping[str, st.SearchStrategy[Any]]] = {
    Decimation: {"n": sizes},
    Denoise: {"filter_time": positive_reals},
    DropPixel: {"coordinates": _pixels},
    MergePolarities: {},
    RefractoryPeriod: {"delta": positive_reals},
    CenterCrop: {"sensor_size": _plane_sizes, "size": _plane_sizes},
    EventDownsampling: {
        "sensor_size": _plane_sizes,
        "target_size": _plane_sizes,
        "dt": positive_reals,
        "noise_threshold": sizes,
        "differentiator_time_bins": st.none() | sizes,
    },
    OwnOperation: {"name": names, "version": sizes, "parameters": _parameters},
    TimeAlignment: {},
    TimeSkew: {"coefficient": positive_reals, "offset": reals},
}
_FIXED: Mapping[type[Spec], Mapping[str, st.SearchStrategy[Any]]] = {
    FixedDuration: {"sensor_size": _THREE_SIZES, "duration": sizes},
    FixedFramesNumber: {
        "sensor_size": _THREE_SIZES,
        "frames_number": sizes,
        "split_by": st.sampled_from(["number", "time"]),
    },
}
_TWO_POLARITIES = st.tuples(sizes, sizes, st.just(2))
_FLOAT: Mapping[type[Spec], Mapping[str, st.SearchStrategy[Any]]] = {
    ToVoxelGrid: {"sensor_size": _TWO_POLARITIES, "n_time_bins": sizes},
    ToTimesurface: {"sensor_size": _THREE_SIZES, "dt": positive_reals, "tau": positive_reals},
    ToAveragedTimesurface: {
        "sensor_size": _THREE_SIZES,
        "surface_size": st.sampled_from([1, 3, 5]),
        "cell_size": st.integers(5, 300),
        "time_window": positive_reals,
        "tau": positive_reals,
        "decay": st.sampled_from(["exp", "lin"]),
    },
    ToBinaRep: {"n_frames": small_sizes, "n_bits": st.integers(2, 24)},
}
event_operations: st.SearchStrategy[Operation] = st.one_of(
    *(st.builds(model, **fields) for model, fields in _EVENT_OPERATIONS.items())
)
"""Any operation from events to events, except Downsample and CropTime."""


@st.composite
def to_frames(
    draw: st.DrawFn,
    *,
    modes: tuple[str, ...] = SLICING_MODES,
    sensor_sizes: st.SearchStrategy[tuple[int, int, int]] = _THREE_SIZES,
    with_spans: bool = True,
) -> ToFrame:
    """Strategy for a `ToFrame` that slices in one of `modes`.

    Parameters
    ----------
    draw : callable
        Provided by Hypothesis.
    modes : tuple of str
        Some of `SLICING_MODES`.
    sensor_sizes : strategy
        Sizes (x, y, p).
    with_spans : bool
        Also draw start and end times.
    """
    mode = draw(st.sampled_from(modes))
    fields: dict[str, Any] = {"sensor_size": draw(sensor_sizes)}
    if mode == "time_window":
        window = draw(positive_reals)
        ends = sorted(draw(st.tuples(reals, reals))) if with_spans else [None, None]
        fields |= {"time_window": window, "overlap": window * draw(shares)}
        assume(fields["overlap"] < window)  # the smallest windows round up
        fields |= {"start_time": draw(st.sampled_from([None, ends[0]]))}
        fields |= {"end_time": draw(st.sampled_from([None, ends[1]]))}
    elif mode == "event_count":
        count = draw(sizes)
        fields |= {"event_count": count, "overlap": float(draw(st.integers(0, count - 1)))}
    else:
        fields |= {mode: draw(sizes), "overlap": draw(shares)}
    if mode in {"time_window", "event_count"}:
        fields["include_incomplete"] = draw(st.booleans())
    return ToFrame(**fields)


@st.composite
def transforms(draw: st.DrawFn, *, frames: st.SearchStrategy[ToFrame] | None = None) -> Transform:
    """Strategy for a transform: operations on events, a `ToFrame` (from `frames`), and possibly a `ClipCounts`."""
    before: list[Operation] = draw(st.lists(st.one_of(downsamples, crop_times, event_operations), max_size=3))
    after = draw(st.lists(clip_counts, max_size=1))
    return Transform(operations=(*before, draw(frames or to_frames()), *after), max_bins=draw(sizes))


VALUES: Mapping[type[Spec], Mapping[str, st.SearchStrategy[Any]]] = {
    Downsample: {"time_factor": positive_reals, "spatial_factor": st.tuples(positive_reals, positive_reals)},
    CropTime: {"min": reals, "max": reals},
    ToFrame: {
        "sensor_size": _THREE_SIZES,
        "time_window": positive_reals,
        "event_count": sizes,
        "n_time_bins": sizes,
        "n_event_bins": sizes,
        "overlap": st.one_of(shares, small_sizes.map(float), reals),
        "include_incomplete": st.booleans(),
        "start_time": st.none() | reals,
        "end_time": st.none() | reals,
    },
    ClipCounts: {"max": clips},
    **_EVENT_OPERATIONS,
    **_FIXED,
    **_FLOAT,
    Transform: {
        "operations": transforms().map(lambda transform: transform.operations),
        "max_bins": sizes,
    },
    SourceFile: {"name": file_names, "size": counts, "sha256": sha256s},
    Source: {
        "reader": names,
        "reader_version": sizes,
        "dataset": dataset_names,
        "split": names,
        "sort": st.booleans(),
        "on_error": st.sampled_from(["raise", "skip"]),
        "limit": st.none() | sizes,
        "files": _file_lists,
        "columns": _column_names,
    },
}
"""Strategy for each field of each model, except constants such as ``op``, and except ``cache``, ``folder`` and ``items`` of `Source`."""

_MODES_OF_FIELD = {
    "include_incomplete": ("time_window", "event_count"),
    "start_time": ("time_window",),
    "end_time": ("time_window",),
}
_ANY: Mapping[type[Spec], st.SearchStrategy[Any]] = {
    Downsample: downsamples,
    CropTime: crop_times,
    ClipCounts: clip_counts,
    **{
        model: st.builds(model, **fields)
        for model, fields in {**_EVENT_OPERATIONS, **_FIXED, **_FLOAT}.items()
    },
    Transform: transforms(),
    SourceFile: source_files,
    Source: sources,
}


@st.composite
def neighbours(draw: st.DrawFn, model: type[_Spec], field: str) -> tuple[_Spec, _Spec]:
    """Strategy for two valid specs of `model` that differ only in `field`."""
    if model is ToFrame:
        modes = (field,) if field in SLICING_MODES else _MODES_OF_FIELD.get(field, SLICING_MODES)
        one: Any = draw(to_frames(modes=modes))
    else:
        one = draw(_ANY[model])
    value = draw(VALUES[model][field])
    fields = {name: getattr(one, name) for name in model.model_fields}
    assume(value != fields[field])
    try:
        return one, model(**{**fields, field: value})
    except SpecError:  # the other fields do not allow this value
        reject()


@st.composite
def columns(
    draw: st.DrawFn,
    *,
    max_samples: int = 200,
    max_bins: int = 9,
) -> tuple[Transform, Layout, SampleColumns, list[int]]:
    """Strategy for a small feature set: transform, layout, columns with stored dtypes, and skipped rows.

    Frames have y or not, and have counts or real numbers. Any of the optional columns may be present. Samples may be empty or
    skipped.

    Parameters
    ----------
    draw : callable
        Provided by Hypothesis.
    max_samples : int
        Largest number of samples.
    max_bins : int
        Largest number of time bins of a sample.
    """
    has_y = draw(st.booleans())
    x, y, p = draw(st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 2)))
    window, is_real = draw(st.sampled_from([1.0, 4000.0])), draw(st.booleans())
    counting = ToFrame(sensor_size=(x, y, p), time_window=window)
    surface = ToTimesurface(sensor_size=(x, y, p), dt=window, tau=window)
    transform = Transform(operations=(surface if is_real else counting,))
    extras = draw(st.lists(st.sampled_from(list(EXTRAS)), unique=True))
    classes = draw(st.lists(st.text(max_size=3), min_size=1, max_size=3))
    layout = layout_of(transform, has_y=has_y, classes=classes, extras=extras)
    samples = draw(st.integers(1, max_samples))
    # Hypothesis chooses the shape of the set; NumPy fills it, which is faster than thousands of draws.
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    skipped = sorted(draw(st.sets(st.integers(0, samples - 1), max_size=3)))
    n_bins = rng.integers(1, max_bins + 1, samples)
    n_bins[skipped] = 0
    places = n_bins * math.prod(layout.sites)
    runs = [np.flatnonzero(rng.random(count) < density) for count in places]
    nnz = np.array([len(run) for run in runs])
    label = rng.integers(0, len(classes), samples)
    label[skipped] = -1
    value = rng.geometric(0.4, int(nnz.sum()))
    drawn = SampleColumns(
        index=np.concatenate(runs),
        value=value * rng.choice([-0.3, 0.7], len(value)) if is_real else value,
        nnz=nnz,
        n_bins=n_bins,
        label=label,
        extras={name: np.where(n_bins == 0, 0, rng.integers(0, 2**20, samples)) for name in layout.extras},
    )
    return transform, layout, drawn.as_stored(layout), skipped
