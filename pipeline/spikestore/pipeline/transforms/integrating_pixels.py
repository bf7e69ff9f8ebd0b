"""Events of integrating pixels: ``EventDownsampling`` without a dense frame for each step.

Tonic makes a frame of each step and looks for pixels that reach the threshold. Only a pixel with events in a step can reach the
threshold, so the loop here looks only at pixels with events. The new events and their order are the same as Tonic's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.transforms.frame_bins import FrameBins
from spikestore.pipeline.transforms.frame_counts import Ints
from spikestore.store_schemas.specs.operations import EventDownsampling, ToFrame


def steps_of(spec: EventDownsampling, *, max_bins: int) -> FrameBins:
    """Return the steps of ``EventDownsampling`` as time bins; in each step, each pixel of the smaller sensor adds up its events."""
    width, height = spec.target_size
    frames = ToFrame(sensor_size=(width, height, 2), time_window=spec.step)
    return FrameBins(frames, (2, height, width), max_bins=max_bins)


def downsampled(events: Events, spec: EventDownsampling, steps: FrameBins) -> Events:
    """Return the events of the smaller sensor.

    Parameters
    ----------
    events : structured array, shape (n_events,)
        Events that `event_guards.check_integrable` accepts.
    spec : EventDownsampling
        The operation.
    steps : FrameBins
        Result of `steps_of`. Call ``steps.count`` first: ``steps.count`` rejects times with too many steps.

    Returns
    -------
    structured array
        The new events, with the fields of `events`, in the order of time.
    """
    (width, height), (old_width, old_height) = spec.target_size, spec.sensor_size
    x = (events["x"] * (width / old_width)).astype(np.int64)
    y = (events["y"] * (height / old_height)).astype(np.int64)
    starts, ends = steps.ranges(events["t"])
    step, site, p = _spikes(y * width + x, events["p"], starts, ends, width * height, spec.noise_threshold)
    length = spec.step
    if spec.differentiator_time_bins is not None:
        length = spec.dt * 1000
        step, site, p = _increases((step * spec.step // length).astype(np.int64), site, p, width * height)
    new = np.zeros(len(step), events.dtype)
    new["t"], new["y"], new["x"], new["p"] = step * length, site // width, site % width, p
    return new


def _spikes(
    sites: Ints, p: Ints, starts: Ints, ends: Ints, n_sites: int, threshold: int
) -> tuple[Ints, Ints, Ints]:
    """Return step, site and polarity of each spike, sorted by step, then by polarity (positive first), then by site."""
    signs, sums = np.where(p == 1, 1, -1), np.zeros(n_sites, np.int64)
    spikes: list[npt.NDArray[np.int64]] = [np.empty((0, 3), np.int64)]
    for step in np.flatnonzero(ends > starts).tolist():
        here = slice(starts[step], ends[step])
        np.add.at(sums, sites[here], signs[here])
        touched = np.unique(sites[here])
        for polarity in (1, 0):
            over = touched[sums[touched] * (1 if polarity else -1) >= threshold]
            sums[over] = 0
            spikes.append(np.stack([np.full_like(over, step), over, np.full_like(over, polarity)], axis=1))
    step, site, polarity = np.concatenate(spikes).T
    return step, site, polarity


def _increases(step: Ints, site: Ints, p: Ints, n_sites: int) -> tuple[Ints, Ints, Ints]:
    """Return all triples (step, site, polarity) for which the site has more spikes of the polarity in step + 1 than in step."""
    places, counts = np.unique((step * n_sites + site) * 2 + p, return_counts=True)
    before = places - 2 * n_sites
    position = np.searchsorted(places, before)
    known = places[np.minimum(position, len(places) - 1)] == before
    more = (before >= 0) & (counts > np.where(known, counts[np.minimum(position, len(places) - 1)], 0))
    where = before[more]
    return where // (2 * n_sites), where // 2 % n_sites, where % 2
