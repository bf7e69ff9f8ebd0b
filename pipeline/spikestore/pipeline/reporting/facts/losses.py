"""Numbers of events that are not in the frames, and how often the non-zeros have each value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikestore.pipeline.reporting.facts.set_facts import SetFacts


def losses(splits: Mapping[str, SetFacts]) -> dict[str, dict[str, Any]]:
    """Return, for each split, what happened to the events that were read.

    Returns
    -------
    dict of str to dict
        ``read``, ``cropped``, ``in_no_bin``: numbers of events; ``counted``: the sum of all values; ``clipped``: events above
        the maximum of ``clip_counts`` (0 without ``clip_counts``, None if bins overlap); ``non_zeros``: places with
        events; ``merged``: events that are not the first one at their place (``counted`` minus ``non_zeros``); ``at_maximum``: places whose
        value is the maximum of ``clip_counts`` (None without ``clip_counts``); ``lossy_samples``: samples with more than 5 % of
        their events in no bin; ``empty_samples``: samples without non-zeros. For real numbers, ``counted``, ``clipped``,
        ``merged`` and ``at_maximum`` are None.
    """
    return {split: _losses(facts) for split, facts in splits.items()}


def _losses(facts: SetFacts) -> dict[str, Any]:
    manifest = facts.features.manifest
    events, transform = manifest.events, manifest.transform
    counted = None if facts.is_real else int(facts.events.sum())
    in_bins = events.n_events - events.n_cropped - events.n_dropped
    most = transform.max_count
    clipped: int | None = None if counted is None else 0
    if counted is not None and most is not None:
        clipped = in_bins - counted if transform.to_frame.non_zeros_per_event == 1 else None
    return {
        "read": events.n_events,
        "cropped": events.n_cropped,
        "in_no_bin": events.n_dropped,
        "clipped": clipped,
        "counted": counted,
        "merged": None if counted is None else counted - manifest.nnz,
        "non_zeros": manifest.nnz,
        "at_maximum": None if most is None else facts.histograms.values.counts().get(most, 0),
        "lossy_samples": events.lossy_samples,
        "empty_samples": int(((facts.columns["nnz"] == 0) & facts.kept).sum()),
    }


def value_counts(splits: Mapping[str, SetFacts], most: int = 16) -> list[dict[str, Any]]:
    """Return how many non-zeros have each value, by split. Values of at least `most` are counted as one group."""
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


def real_values(splits: Mapping[str, SetFacts]) -> list[dict[str, Any]]:
    """Return a histogram of the values of each split that has real numbers; an empty list if all splits have counts.

    Returns
    -------
    list of dict
        One for each bar: ``split``; ``from`` and ``to``: ends of the bar; ``non_zeros``. If no value is negative, bars below 0 are left out.
    """
    real = {split: facts.real_values for split, facts in splits.items() if facts.is_real}
    has_negative = any(one.counts[one.edges[:-1] < 0].any() for one in real.values())
    return [
        {"split": split, "from": low, "to": high, "non_zeros": count}
        for split, one in real.items()
        for low, high, count in zip(
            one.edges[:-1].tolist(), one.edges[1:].tolist(), one.counts.tolist(), strict=True
        )
        if has_negative or low >= 0
    ]
