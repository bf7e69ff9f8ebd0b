"""How sizes of samples are distributed, for each class and split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.reporting.facts.set_facts import SetFacts, bin_ms

ALL_CLASSES = "all classes"

_QUANTILES = {"least": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "most": 1.0}


def distributions(splits: Mapping[str, SetFacts]) -> list[dict[str, Any]]:
    """Return a distribution for each measure, split and class, and one for all classes together, without the skipped recordings.

    The member ``all`` is true in a distribution of all classes together. Its ``class`` is `ALL_CLASSES`, but a class may have this name too.
    """
    rows = []
    for split, facts in splits.items():
        label = facts.columns["label"][facts.kept]
        for measure, unit, values in _measures(facts):
            groups = [(ALL_CLASSES, np.ones(len(label), bool))]
            groups += [(name, label == number) for number, name in enumerate(facts.features.classes)]
            for number, (name, chosen) in enumerate(groups):
                if chosen.any():
                    rows.append(
                        {"measure": measure, "unit": unit, "split": split, "class": name, "all": number == 0}
                        | quantiles(values[chosen])
                    )
    return rows


def quantiles(values: npt.NDArray[Any]) -> dict[str, float]:
    """Return number, mean and quantiles of some values."""
    found = np.quantile(values, list(_QUANTILES.values()))
    return {
        "samples": len(values),
        "mean": float(values.mean()),
        **dict(zip(_QUANTILES, map(float, found), strict=True)),
    }


def _measures(facts: SetFacts) -> Iterator[tuple[str, str, npt.NDArray[np.float64]]]:
    """Yield name, unit and values of each measure; skipped recordings have no values."""
    kept = facts.kept
    events = facts.events[kept]
    nnz, n_bins = (facts.columns[name][kept].astype(np.float64) for name in ("nnz", "n_bins"))
    sites = facts.features.layout.site_count
    if facts.is_real:
        yield "sum of absolute values", "sum", events
        yield "mean absolute value", "of the non-zeros", events / np.maximum(nnz, 1)
    else:
        yield "events in frames", "events", events
    yield "non-zeros", "non-zeros", nnz
    width = bin_ms(facts.features.manifest.transform)
    length = n_bins if width is None else n_bins * width
    yield "length", "time bins" if width is None else "ms", length
    if not facts.is_real:
        unit = "events per time bin" if width is None else "events per ms"
        yield "rate", unit, events / np.maximum(length, width or 1)
    yield "density", "% of cells", 100 * nnz / np.maximum(n_bins * sites, 1)
