"""Voxel grids, time surfaces and averaged time surfaces of single recordings; their values are real numbers.

The formulas are Tonic's (1.7.0), with the same order of operations and the same types, so that rounding is the same. Two things
differ: a value is rounded to float32, and exp is computed in the same way on every processor (`kernels.exponential`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.frame_bins import exact
from spikestore.pipeline.transforms.frame_counts import Ints
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.operations import (
    FloatFrames,
    ToAveragedTimesurface,
    ToFrame,
    ToTimesurface,
    ToVoxelGrid,
)

Floats = npt.NDArray[np.float32]

EventFields = Events | Mapping[str, npt.NDArray[Any]]
"""The fields of the events of a recording."""

_DENSE_PLACES = 2**24
"""Largest number of places for which a table of all places is made (80 MiB). The table gives each place with events a number."""


def frame_with_bins_of(spec: FloatFrames) -> ToFrame:
    """Return the ``to_frame`` that divides each recording into one time bin for each frame of `spec`."""
    if isinstance(spec, ToTimesurface):
        return ToFrame(sensor_size=spec.sensor_size, time_window=spec.dt)
    return ToFrame(sensor_size=spec.sensor_size, n_time_bins=spec.bins)


def float_frames(
    spec: FloatFrames, events: EventFields, starts: Ints, ends: Ints, *, name: str
) -> tuple[Ints, Floats, int]:
    """Return the frames of a recording.

    Parameters
    ----------
    spec : ToVoxelGrid, ToTimesurface or ToAveragedTimesurface
        The operation.
    events : structured array, or mapping of str to array, shape (n_events,) each
        Fields ``t``, ``x``, ``y`` and ``p`` of the events: at least one event, all inside the sensor, sorted by time. ``x``,
        ``y`` and ``p`` are int64.
    starts, ends : int64 array, shape (n_bins,)
        Range of the events of each bin of `frame_with_bins_of`: bin i has the events ``starts[i]`` to ``ends[i]`` (exclusive).
    name : str
        Name of the recording in messages.

    Returns
    -------
    index : int64 array, shape (nnz,)
        Linear indices of the non-zeros, strictly increasing.
    value : float32 array, shape (nnz,)
        Values, never 0.
    n_dropped : int
        Number of events that are in no bin.

    Raises
    ------
    RecordingError
        The values are not defined, or too large for float32.
    """
    if isinstance(spec, ToVoxelGrid):
        index, value, n_dropped = _voxels(spec, events, name)
    elif isinstance(spec, ToTimesurface):
        index, value, n_dropped = _surfaces(spec, events, starts, ends)
    else:
        index, value = _averaged_surfaces(spec, events)
        n_dropped = 0
    if not np.isfinite(value).all():
        problem = f"{name}: {spec.op} gives values that are too large for float32"
        raise RecordingError(problem, recording=name)
    return index, value, n_dropped


def _voxels(spec: ToVoxelGrid, events: EventFields, name: str) -> tuple[Ints, Floats, int]:
    t, n_bins = events["t"], spec.n_time_bins
    if t[0] == t[-1]:
        problem = f"all events have the time {t[0].item()} µs, and {spec.op} divides by the time between the first event and the last"
        raise RecordingError(f"{name}: {problem}", recording=name, field="t")
    from spikestore.pipeline.transforms.float_frames.kernels import voxels

    width, height, _ = spec.sensor_size
    pixels, place_of = _numbered(events["y"] * width + events["x"], width * height)
    index, value = np.empty(2 * len(t), np.int64), np.empty(2 * len(t), np.float32)
    filled, n_dropped = voxels(
        t.astype(np.float64), float(t[0]), float(t[-1] - t[0]), n_bins, place_of, events["p"] != 0, pixels, width * height, index, value
    )  # fmt: skip
    return index[:filled], value[:filled], n_dropped


def _surfaces(spec: ToTimesurface, events: EventFields, starts: Ints, ends: Ints) -> tuple[Ints, Floats, int]:
    from spikestore.pipeline.transforms.float_frames.kernels import surface

    width, height, polarities = spec.sensor_size
    sites = polarities * height * width
    pixels, place_of = _numbered((events["p"] * height + events["y"]) * width + events["x"], sites)
    times = events["t"].astype(np.int64).astype(np.float64)
    last = np.full(len(pixels), -np.inf)
    index, value = np.empty(len(pixels), np.int64), np.empty(len(pixels), np.float32)
    dt, tau, first = exact(spec.dt), float(spec.tau), events["t"][0]
    indices, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    covered = seen = 0
    for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        covered += max(end - max(start, seen), 0)
        seen = max(seen, end)
        last[place_of[start:end]] = times[start:end]  # of several events of a pixel, the last one stays
        with np.errstate(over="ignore"):
            time = float((number + 1) * dt + first)  # in the type of the times, as in Tonic
        filled = surface(last, time, tau, pixels, number * sites, index, value)
        indices.append(index[:filled].copy())
        values.append(value[:filled].copy())
    return np.concatenate(indices), np.concatenate(values), len(times) - covered


def _numbered(places: Ints, size: int) -> tuple[Ints, Ints]:
    """Return an ascending array that contains each place with an event, and for each event the position of its place in this array.

    A place is a pixel, or a pixel of one polarity. If `size` is at most the number of events, the array contains all places from 0 to
    ``size - 1``, with or without events.

    Parameters
    ----------
    places : int64 array, shape (n_events,)
        Place of each event, from 0.
    size : int
        The places are below this number.
    """
    if size <= len(places):
        return np.arange(size, dtype=np.int64), places
    if size > _DENSE_PLACES:
        different, number = np.unique(places, return_inverse=True)
        return different, number.astype(np.int64, copy=False)
    has_events = np.zeros(size, np.bool_)
    has_events[places] = True
    different = np.flatnonzero(has_events).astype(np.int64, copy=False)
    numbers = np.empty(size, np.int32)
    numbers[different] = np.arange(len(different))
    return different, numbers[places].astype(np.int64)


def _averaged_surfaces(spec: ToAveragedTimesurface, events: EventFields) -> tuple[Ints, Floats]:
    from spikestore.pipeline.transforms.float_frames.kernels import add_surfaces

    across, down = spec.cells
    polarities, is_linear = spec.sensor_size[2], spec.decay == "lin"
    cell = (events["y"] // spec.cell_size) * across + events["x"] // spec.cell_size
    group = cell * polarities + events["p"]
    order = np.argsort(group, kind="stable")
    t, x, y = (events[field][order] for field in "txy")
    ends = np.cumsum(np.bincount(group, minlength=across * down * polarities))
    frames = np.zeros((len(ends), spec.surface_size, spec.surface_size), np.float32)
    tau = np.float32(3 * spec.tau if is_linear else spec.tau)
    for number in np.unique(group).tolist():
        own = slice(ends[number - 1] if number else 0, ends[number])
        times = t[own].astype(np.float32)
        add_surfaces(times, x[own], y[own], np.float32(spec.time_window), tau, is_linear, frames[number])
        frames[number] /= np.float32(len(times))
    cells = frames.reshape(-1)
    index = np.flatnonzero(cells).astype(np.int64, copy=False)
    return index, cells[index]
