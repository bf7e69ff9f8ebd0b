"""Filters that drop events by their pixels. The kept events are computed without a loop over events.

Tonic loops over the events, and keeps a table with the last time of each pixel. Here, a stable sort puts the events of each pixel
side by side, in the order of time. In this order, ``refractory_period`` compares neighbouring events. For ``denoise``, bisection
finds the previous event of each neighbouring pixel. The results equal Tonic's, including rounding, because times are float64 as in
Tonic's table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.frame_bins import exact
from spikestore.store_schemas.specs.operations import Decimation, Denoise, DropPixel, PixelFilter

LARGEST_COORDINATE = 2**16 - 1
"""Largest x and y of events that are filtered by pixel."""

Kept = npt.NDArray[np.bool_]


def kept_by(operation: PixelFilter, events: Events) -> Kept:
    """Return which events a filter keeps.

    Parameters
    ----------
    operation : PixelFilter
        The filter.
    events : structured array, shape (n_events,)
        At least one event, sorted by time, with coordinates from 0 to `LARGEST_COORDINATE`.

    Returns
    -------
    bool array, shape (n_events,)
        True for the events to keep.
    """
    if isinstance(operation, DropPixel):
        dropped = [_key(x, y) for x, y in operation.coordinates if max(x, y) <= LARGEST_COORDINATE]
        return ~np.isin(_pixels(events), dropped)
    if isinstance(operation, Decimation):
        return _each_nth(events, operation.n)
    if isinstance(operation, Denoise):
        return _with_recent_neighbour(events, exact(operation.filter_time))
    return _after_a_pause(events, exact(operation.delta))


def _key(x: int, y: int) -> int:
    return x * (LARGEST_COORDINATE + 1) + y


def _pixels(events: Events) -> npt.NDArray[np.int64]:
    """Return one number for the pixel of each event."""
    pixels: npt.NDArray[np.int64] = events["x"] * (LARGEST_COORDINATE + 1)
    return pixels + events["y"] if "y" in (events.dtype.names or ()) else pixels


def _each_nth(events: Events, n: int) -> Kept:
    pixels = _pixels(events)
    order = np.argsort(pixels, kind="stable")
    in_order = pixels[order]
    starts = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    sizes = np.diff(np.r_[starts, len(pixels)])
    rank = np.arange(len(pixels)) - np.repeat(starts, sizes)
    kept = np.empty(len(pixels), np.bool_)
    kept[order] = (rank + 1) % n == 0
    return kept


def _after_a_pause(events: Events, delta: float) -> Kept:
    pixels, times = _pixels(events), events["t"].astype(np.float64)
    order = np.argsort(pixels, kind="stable")
    follows = pixels[order[1:]] == pixels[order[:-1]]
    last = np.full(len(pixels), 0.0 - delta)
    last[order[1:][follows]] = times[order[:-1][follows]]
    kept: Kept = times - last > delta
    return kept


def _with_recent_neighbour(events: Events, filter_time: float) -> Kept:
    pixels, times = _pixels(events), events["t"].astype(np.float64)
    # The sum is rounded in the type of the times, as Tonic rounds it.
    ends = (events["t"] + filter_time).astype(np.float64)
    count = len(pixels)
    order = np.argsort(pixels, kind="stable")
    in_order = pixels[order]
    places = in_order * count + order  # ascending; 2^32 pixels of 2^31 events fit int64
    kept = np.zeros(count, np.bool_)
    for axis, step in (("x", -1), ("x", 1), ("y", -1), ("y", 1)):
        neighbour = pixels + _key(step, 0) if axis == "x" else pixels + step
        position = events[axis] + step
        inside = (position >= 0) & (position <= events[axis].max())
        before = np.searchsorted(places, neighbour * count + np.arange(count)) - 1
        found = (before >= 0) & (in_order[before] == neighbour)
        end = np.where(found, ends[order[before]], float(filter_time))
        kept |= inside & (end > times)
    return kept
