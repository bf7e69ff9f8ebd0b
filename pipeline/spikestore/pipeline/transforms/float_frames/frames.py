"""Frames of real numbers of single recordings: voxel grids, time surfaces and averaged time surfaces.

The formulas are Tonic's (1.7.0), with the same order of operations and the same types, so that rounding is the same. Two things
differ: a value is rounded to float32, and exp is computed in the same way on every processor (`kernels.exponential`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.event_guards import Origin
from spikestore.pipeline.transforms.frame_bins import exact
from spikestore.pipeline.transforms.frame_counts import Ints, count_covered
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.operations import (
    FloatFrames,
    ToAveragedTimesurface,
    ToFrame,
    ToTimesurface,
    ToVoxelGrid,
)

Floats = npt.NDArray[np.float32]

_DENSE_PLACES = 2**22
"""Largest voxel grid that is computed as a dense array: 32 MiB."""


def frame_with_bins_of(spec: FloatFrames) -> ToFrame:
    """Return the ``to_frame`` that divides recordings into as many bins as `spec` makes frames."""
    if isinstance(spec, ToTimesurface):
        return ToFrame(sensor_size=spec.sensor_size, time_window=spec.dt)
    return ToFrame(sensor_size=spec.sensor_size, n_time_bins=spec.bins)


def float_frames(
    spec: FloatFrames, events: Events, starts: Ints, ends: Ints, *, origin: Origin
) -> tuple[Ints, Floats, int]:
    """Return the frames of a recording.

    Parameters
    ----------
    spec : ToVoxelGrid, ToTimesurface or ToAveragedTimesurface
        The operation.
    events : structured array, shape (n_events,)
        Events inside the sensor, sorted by time, at least one.
    starts, ends : int64 array, shape (n_bins,)
        Events of each bin of `frame_with_bins_of`.
    origin : Origin
        The recording of the events, for messages.

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
        index, value, n_dropped = _voxels(spec, events, origin)
    elif isinstance(spec, ToTimesurface):
        index, value = _surfaces(spec, events, starts, ends)
        n_dropped = len(events) - count_covered(starts, ends, len(events))
    else:
        index, value = _averaged_surfaces(spec, events)
        n_dropped = 0
    if not np.isfinite(value).all():
        problem = f"{origin.name}: {spec.op} gives values that are too large for float32"
        raise RecordingError(problem, recording=origin.name)
    return index, value, n_dropped


def _voxels(spec: ToVoxelGrid, events: Events, origin: Origin) -> tuple[Ints, Floats, int]:
    t, n_bins = events["t"], spec.n_time_bins
    if t[0] == t[-1]:
        problem = f"all events have the time {t[0].item()} µs, and {spec.op} divides by the time between the first event and the last"
        raise RecordingError(f"{origin.name}: {problem}", recording=origin.name, field="t")
    position = n_bins * (t.astype(np.float64) - t[0]) / (t[-1] - t[0])
    before = position.astype(np.int64)
    share = position - before
    sign = np.where(events["p"] == 0, -1, events["p"])
    width, height, _ = spec.sensor_size
    cell = before * (width * height) + events["y"] * width + events["x"]
    in_before, in_next = before < n_bins, before + 1 < n_bins
    cells = np.concatenate([cell[in_before], cell[in_next] + width * height])
    weights = np.concatenate([(sign * (1.0 - share))[in_before], (sign * share)[in_next]])
    n_dropped, places = int(np.count_nonzero(~in_before)), n_bins * height * width
    # `bincount` adds in the order of the events, as Tonic does.
    if places <= _DENSE_PLACES:
        grid = np.bincount(cells, weights, places).astype(np.float32)
        index = np.flatnonzero(grid).astype(np.int64, copy=False)
        return index, grid[index], n_dropped
    index, place = np.unique(cells, return_inverse=True)
    value = np.bincount(place, weights, len(index)).astype(np.float32)
    kept = value != 0
    return index[kept], value[kept], n_dropped


def _surfaces(spec: ToTimesurface, events: Events, starts: Ints, ends: Ints) -> tuple[Ints, Floats]:
    from spikestore.pipeline.transforms.float_frames.kernels import surface

    width, height, polarities = spec.sensor_size
    sites = (events["p"] * height + events["y"]) * width + events["x"]
    pixels, place_of = np.unique(sites, return_inverse=True)
    times = events["t"].astype(np.int64).astype(np.float64)
    last = np.full(len(pixels), -np.inf)
    place, value = np.empty(len(pixels), np.int64), np.empty(len(pixels), np.float32)
    dt, tau, first = exact(spec.dt), float(spec.tau), events["t"][0]
    indices, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        last[place_of[start:end]] = times[start:end]  # of several events of a pixel, the last one stays
        with np.errstate(over="ignore"):
            time = float((number + 1) * dt + first)  # in the type of the times, as in Tonic
        filled = surface(last, time, tau, place, value)
        indices.append(pixels[place[:filled]] + number * (polarities * height * width))
        values.append(value[:filled].copy())
    return np.concatenate(indices), np.concatenate(values)


def _averaged_surfaces(spec: ToAveragedTimesurface, events: Events) -> tuple[Ints, Floats]:
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
