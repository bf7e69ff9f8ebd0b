"""Scans of all splits of a name: one pass over each split collects all facts about its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.reporting.facts.bin_widths import FITTED, TESTED, spread
from spikestore.pipeline.reporting.facts.chosen_rows import ChosenRow, chosen_rows
from spikestore.pipeline.reporting.facts.linear import (
    MOST_HELD_OUT,
    PARTS,
    Comparison,
    Inputs,
    LinearFit,
    Predictions,
)
from spikestore.pipeline.reporting.facts.observers import (
    ColumnHistograms,
    Contents,
    KeptRows,
    RealHistogram,
    SampleEvents,
    SiteEvents,
)
from spikestore.pipeline.reporting.facts.scan import Observer, scan
from spikestore.pipeline.reporting.facts.set_facts import SetFacts, kept_rows
from spikestore.store import FeatureSet
from spikestore.store.progress import Progress, UnlabelledProgress, labelled

HELD_OUT = 5
"""If there is only one split, every fifth row is held out to test the read-out; in a large set, fewer rows are held out."""


class Rows(NamedTuple):
    """Some rows of a split."""

    split: str
    rows: list[int]


class SweepRows(NamedTuple):
    """Rows of the sweep over bin widths: a read-out for each width is fitted to the rows `fitted`, and tested with the rows `tested`."""

    fitted: Rows
    tested: Rows


@dataclass(frozen=True, eq=False)
class Scans:
    """Results of the scans.

    Attributes
    ----------
    facts : dict of str to SetFacts
        The facts of each split, in the order of the splits.
    chosen : dict of str to list of ChosenRow
        Rows for the gallery.
    sweep : SweepRows
        Rows that the sweep over bin widths uses.
    linear : dict, optional
        Results of the linear read-out, as plain JSON values; None if no sample could be fitted.
    """

    facts: dict[str, SetFacts]
    chosen: dict[str, list[ChosenRow]]
    sweep: SweepRows
    linear: dict[str, Any] | None


def scan_splits(splits: Mapping[str, FeatureSet], progress: Progress) -> Scans:
    """Read all samples of all splits once. The caller ensures that each split has at least one sample that was not skipped.

    The linear read-out is fitted to the first split, and tested with each of the other splits. If there is only one split, the
    read-out is tested with held-out samples. `_sweep_rows` chooses the samples on which several bin widths are compared.
    """
    order = [*splits]
    fitted = order[0]
    kept = {split: kept_rows(features) for split, features in splits.items()}
    columns = {
        split: {name: features.column(name) for name in ("nnz", "n_bins", "label", *features.manifest.extras)}
        for split, features in splits.items()
    }
    chosen = {split: chosen_rows(columns[split], kept[split], typical=split == fitted) for split in splits}
    sweep = _sweep_rows(order, kept)
    first = splits[fitted]
    longest = int(np.quantile(columns[fitted]["n_bins"][kept[fitted]], 0.95))
    inputs = Inputs(first.layout.sites, max(1, -(-longest // PARTS)))
    hold_out = 0 if len(order) > 1 else max(HELD_OUT, len(first) // MOST_HELD_OUT)
    fit = LinearFit(inputs, len(first.classes), hold_out)
    facts: dict[str, SetFacts] = {}
    largest = max(float(features.manifest.max_value) for features in splits.values())

    def look(split: str, *more: Observer) -> None:
        rows = [row for row, _ in chosen[split]]
        rows += [row for part in sweep if part.split == split for row in part.rows]
        report = labelled(progress, split)
        facts[split] = _scan(splits[split], columns[split], rows, largest, more, report)

    look(fitted, fit)
    comparisons: dict[str, Comparison] = {}
    read_out = fit.read_out() if fit.samples else None
    for split in order[1:]:
        if read_out is None:
            look(split)
            continue
        predictions = Predictions(inputs, read_out, len(first.classes))
        look(split, predictions)
        comparisons[split] = predictions.comparison
    if read_out is not None and hold_out:
        comparisons[f"held-out samples of {fitted}"] = fit.held_out(read_out)
    linear = None
    if comparisons:
        linear = {
            "fitted": fitted,
            "fitted_samples": fit.samples,
            "inputs": inputs.size,
            "parts_of_time": PARTS,
            "tests": [_test(tested, comparison) for tested, comparison in comparisons.items()],
        }
    return Scans(facts, chosen, sweep, linear)


def _test(tested: str, comparison: Comparison) -> dict[str, Any]:
    samples = int(comparison.samples.sum())
    return {
        "tested": tested,
        "samples": samples,
        "accuracy": comparison.correct / max(samples, 1),
        "largest_class": float(comparison.samples.max() / max(samples, 1)),
        "confusion": None if comparison.confusion is None else comparison.confusion.tolist(),
    }


def _sweep_rows(order: list[str], kept: Mapping[str, npt.NDArray[np.bool_]]) -> SweepRows:
    """Choose samples for the sweep over bin widths. For each bin width, the sweep fits a read-out and tests it.

    The read-outs are fitted to samples of the first split, and tested with samples of ``test``, or of the last split if there is
    no ``test``. If there is only one split, they are tested with every third sample that is chosen, and fitted to the other chosen samples.
    """
    rows = {split: np.flatnonzero(kept[split]).tolist() for split in order}
    fitted, tested = order[0], "test" if "test" in order[1:] else order[-1]
    if fitted != tested:
        return SweepRows(
            Rows(fitted, spread(rows[fitted], FITTED)), Rows(tested, spread(rows[tested], TESTED))
        )
    some = spread(rows[fitted], FITTED + TESTED)
    return SweepRows(
        Rows(fitted, [row for place, row in enumerate(some) if place % 3 != 2]), Rows(fitted, some[2::3])
    )


def _scan(
    features: FeatureSet,
    columns: Mapping[str, npt.NDArray[Any]],
    rows: list[int],
    largest: float,
    more: tuple[Observer, ...],
    report: UnlabelledProgress,
) -> SetFacts:
    events, sites = SampleEvents(), SiteEvents(features.layout.site_count)
    histograms, contents, samples = ColumnHistograms(), Contents(), KeptRows(rows)
    real_values = RealHistogram(largest or 1.0)
    scan(features, (events, sites, histograms, real_values, contents, samples, *more), report)
    return SetFacts(
        features,
        columns,
        events.events,
        sites.events,
        histograms,
        real_values,
        contents.hashes,
        samples.samples,
    )
