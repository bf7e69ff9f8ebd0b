"""For each column, its stored bytes and its entropy; for each way of loading a set, the memory that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikestore.pipeline.reporting.facts.observers import Histogram
from spikestore.pipeline.reporting.facts.set_facts import SetFacts
from spikestore.store.columns.packed_size import default_window, packed_bytes

_BATCH = 128


def column_costs(splits: Mapping[str, SetFacts]) -> list[dict[str, Any]]:
    """Return stored bytes and entropy of each column, summed over the splits.

    The entropy is the length of an ideal code that only knows how often each number occurs. For ``index``, the numbers are the
    gaps between the indices of a sample. No entropy is given for ``start`` and ``check``, because they are computed from other
    columns. A ``value`` of real numbers has no entropy here either.
    """
    totals: dict[str, dict[str, Any]] = {}
    for facts in splits.values():
        for name in facts.features.layout.array_names:
            row = totals.setdefault(name, {"column": name, "stored_bytes": 0, "entropy_bytes": None})
            row["stored_bytes"] += sum(
                entry.size
                for fragment in range(len(facts.features.manifest.fragments))
                for entry in facts.features.record(fragment).objects
                if entry.path.partition("/")[0] == name
            )
            bits = _entropy(facts, name)
            if bits is not None:
                row["entropy_bytes"] = (row["entropy_bytes"] or 0.0) + bits / 8
    return [*totals.values()]


def _entropy(facts: SetFacts, name: str) -> float | None:
    """Return the entropy of a whole column in bits; None for ``start`` and ``check`` (see `column_costs`), and for real numbers."""
    if name in ("start", "check"):
        return None
    if name in ("index", "value"):
        if name == "value" and facts.features.layout.dtype(name).kind == "f":
            return None
        histogram = facts.histograms.gaps if name == "index" else facts.histograms.values
        return histogram.entropy() * facts.features.manifest.nnz
    histogram, column = Histogram(), facts.columns[name].astype(np.int64)
    histogram.count(column - column.min())
    return histogram.entropy() * len(column)


def memory(splits: Mapping[str, SetFacts]) -> list[dict[str, Any]]:
    """Return sizes in memory for each split: bytes of the packed columns, and for comparison bytes of dense float32 frames.

    The bytes of dense frames are given for a batch and for the whole set. The residences ``host`` and ``device`` keep all packed
    columns. The residence ``stream`` keeps the columns of two windows: the current window and the next window.
    """
    rows = []
    for split, facts in splits.items():
        manifest = facts.features.manifest
        sample = manifest.n_bins * manifest.layout.site_count * 4
        rows.append(
            {
                "split": split,
                "batch": _BATCH,
                "packed_bytes": packed_bytes(manifest),
                "stream_bytes": min(
                    packed_bytes(manifest),
                    2 * default_window(manifest) * packed_bytes(manifest) // manifest.samples,
                ),
                "dense_batch_bytes": _BATCH * sample,
                "dense_set_bytes": len(facts.features) * sample,
            }
        )
    return rows
