"""The rules of SpikingJelly 2.0.0 written out: how it divides a recording into frames.

They are ``integrate_events_by_fixed_duration`` and ``cal_fixed_frames_number_segment_index``, each in two forms: that of
``spikingjelly/datasets/utils.py`` for cameras, and that of ``spikingjelly/datasets/shd.py`` for float16 times in s. Where
these end with an IndexError, the functions here return what the operations define instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.int64]


def by_duration(t: npt.NDArray[Any], sites: npt.NDArray[Any], n_sites: int, duration: int) -> Frames:
    """Return frames (bins, sites) of `duration` µs; float16 times are in s, others in µs."""
    length: float = duration
    if t.dtype == np.float16:
        t, length = 1000 * t, duration / 1000
    t = t - t[0]
    bins = max(math.ceil(t[-1] / length), 1)
    frames = np.zeros((bins, n_sites), np.int64)
    for place, time in zip(sites, t, strict=True):
        frames[min(int(time // length), bins - 1), place] += 1
    return frames


def by_number(t: npt.NDArray[Any], sites: npt.NDArray[Any], n_sites: int, bins: int) -> Frames:
    """Return frames with equal numbers of events; the last one takes the rest."""
    taken = len(t) // bins
    ends = [taken * (i + 1) for i in range(bins - 1)] + [len(t)]
    return _counted([range(taken * i, end) for i, end in enumerate(ends)], sites, n_sites)


def by_time(t: npt.NDArray[Any], sites: npt.NDArray[Any], n_sites: int, bins: int) -> Frames:
    """Return frames of equal length; the last one takes the rest; a frame without events is zero."""
    span = t[-1] - t[0]
    length = span / bins if t.dtype == np.float16 else span // bins
    members: list[Any] = []
    for i in range(bins):
        left = length * i + t[0]
        inside = np.flatnonzero((t >= left) & (t < left + length))
        if i == bins - 1:
            inside = np.flatnonzero(t >= left)
        members.append(inside)
    return _counted(members, sites, n_sites)


def _counted(members: list[Any], sites: npt.NDArray[Any], n_sites: int) -> Frames:
    frames = np.zeros((len(members), n_sites), np.int64)
    for frame, events in zip(frames, members, strict=True):
        for event in events:
            frame[sites[event]] += 1
    return frames


RULES = {"duration": by_duration, "number": by_number, "time": by_time}
"""Rules by their name, each called with times, sites, number of sites, and the duration or the number of bins."""
