"""What binning lost, and how often each value occurs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikestore.pipeline.reporting.facts.set_facts import SetFacts


def losses(splits: Mapping[str, SetFacts]) -> dict[str, dict[str, Any]]:
    """Return, for each split, what happened to the events that were read.

    Returns
    -------
    dict of str to dict
        ``read``, ``cropped``, ``in_no_bin``: events; ``counted``: the sum of all values; ``clipped``: events above the maximum of
        ``clip_counts``, 0 without it, None if bins overlap; ``merged``: events that share their place with another one; ``non_zeros``;
        ``at_maximum``: places whose value is the maximum of ``clip_counts``, None without it; ``lossy_samples``: samples with more
        than 5 % of their events in no bin; ``empty_samples``: samples without non-zeros.
    """
    return {split: _losses(facts) for split, facts in splits.items()}


def _losses(facts: SetFacts) -> dict[str, Any]:
    manifest = facts.features.manifest
    events, transform = manifest.events, manifest.transform
    counted = int(facts.events.sum())
    in_bins = events.n_events - events.n_cropped - events.n_dropped
    most = transform.max_count
    clipped = in_bins - counted if most is not None and transform.to_frame.windows_per_event == 1 else None
    return {
        "read": events.n_events,
        "cropped": events.n_cropped,
        "in_no_bin": events.n_dropped,
        "clipped": 0 if most is None else clipped,
        "counted": counted,
        "merged": counted - manifest.nnz,
        "non_zeros": manifest.nnz,
        "at_maximum": None if most is None else facts.histograms.values.counts().get(most, 0),
        "lossy_samples": events.lossy_samples,
        "empty_samples": int(((facts.columns["nnz"] == 0) & facts.kept).sum()),
    }


def value_counts(splits: Mapping[str, SetFacts], most: int = 16) -> list[dict[str, Any]]:
    """Return how many non-zeros have each value, by split; values from `most` on are one group."""
    rows = []
    for split, facts in splits.items():
        groups: dict[int, int] = {}
        for value, count in facts.histograms.values.counts().items():
            groups[min(value, most)] = groups.get(min(value, most), 0) + count
        rows += [
            {"split": split, "value": f"{value}" if value < most else f"{most}+", "non_zeros": count}
            for value, count in groups.items()
        ]
    return rows
