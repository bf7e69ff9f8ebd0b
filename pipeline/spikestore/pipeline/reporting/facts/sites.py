"""Event rate of each channel or pixel (for frames of real numbers, the mean value), and which channels or pixels are silent or hot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.reporting.facts.set_facts import SetFacts, bin_ms

HOT = 10.0
"""A channel or pixel is hot if it has more events than this factor times the median. The median is that of all channels or pixels with events."""

MOST_LISTED = 20


def site_facts(splits: Mapping[str, SetFacts]) -> dict[str, Any]:
    """Return the mean number of events of a sample at each site, and silent and hot channels or pixels, over all splits.

    Returns
    -------
    dict
        ``axes`` and ``sizes`` of the sites; ``mean_events``: mean number of events of a sample at each site, as nested lists of
        the shape `sizes`; ``mean_seconds``: mean duration of a sample, None if the samples have bins of different lengths; ``silent``: number of
        channels or pixels without events of any polarity; ``hot``: number of hot channels or pixels;
        ``hot_means_times_the_median``: the constant `HOT`; ``listed``: the hottest channels or pixels, each with its position
        and its ratio to the median. For real numbers, sums of absolute values replace numbers of events, and
        ``mean_absolute_sum`` replaces ``mean_events``.
    """
    layout = next(iter(splits.values())).features.layout
    by_site = np.sum([facts.site_events for facts in splits.values()], axis=0).reshape(layout.sites)
    samples = sum(int(facts.kept.sum()) for facts in splits.values())
    events = by_site.sum(axis=0).reshape(-1)
    active = events[events > 0]
    median = float(np.median(active)) if len(active) else 0.0
    hot = np.flatnonzero(events > HOT * median) if median else np.zeros(0, np.int64)
    hottest = hot[np.argsort(-events[hot], kind="stable")][:MOST_LISTED]
    is_real = next(iter(splits.values())).is_real
    axes, sizes = layout.axes[2:], layout.sites[1:]
    return {
        "axes": list(layout.axes[1:]),
        "sizes": list(layout.sites),
        "mean_absolute_sum" if is_real else "mean_events": (by_site / samples).tolist(),
        "mean_seconds": mean_seconds(splits),
        "silent": int((events == 0).sum()),
        "hot": len(hot),
        "hot_means_times_the_median": HOT,
        "listed": [
            {
                **{axis: int(place) for axis, place in zip(axes, np.unravel_index(site, sizes), strict=True)},
                "times_the_median": float(events[site] / median),
            }
            for site in hottest.tolist()
        ],
    }


def mean_seconds(splits: Mapping[str, SetFacts]) -> float | None:
    """Return the mean length of a sample in seconds; None if the bins of the samples differ in length."""
    facts = [*splits.values()]
    width = bin_ms(facts[0].features.manifest.transform)
    if width is None:
        return None
    return float(np.mean(np.concatenate([one.columns["n_bins"][one.kept] for one in facts]))) * width / 1000


def pooled(values: npt.NDArray[np.float64], most: int) -> tuple[npt.NDArray[np.float64], int]:
    """Replace square groups of pixels by their means; return the smaller picture (y, x), and the side of a group in pixels.

    The groups are so large that no side of the smaller picture has more than `most` values.
    """
    side = max(1, -(-max(values.shape) // most))
    rows = np.add.reduceat(values, np.arange(0, values.shape[0], side), axis=0)
    sums = np.add.reduceat(rows, np.arange(0, values.shape[1], side), axis=1)
    counts = np.outer(*(np.diff([*range(0, size, side), size]) for size in values.shape))
    return sums / counts, side
