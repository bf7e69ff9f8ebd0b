"""The report on the feature sets of one name (one set for each split): facts as plain JSON values, and the samples that its page shows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikestore.pipeline.reporting.facts.costs import column_costs, memory
from spikestore.pipeline.reporting.facts.distributions import distributions
from spikestore.pipeline.reporting.facts.findings import findings
from spikestore.pipeline.reporting.facts.identity import identity
from spikestore.pipeline.reporting.facts.losses import losses, real_values, value_counts
from spikestore.pipeline.reporting.facts.observers import KeptSample
from spikestore.pipeline.reporting.facts.set_facts import SetFacts, bin_ms, kept_rows
from spikestore.pipeline.reporting.facts.sites import site_facts
from spikestore.pipeline.reporting.facts.tables import (
    classes_by_split,
    duplicates,
    groups_by_split,
    skipped_recordings,
)
from spikestore.pipeline.reporting.recordings import Raster, Recordings
from spikestore.pipeline.reporting.scan_splits import scan_splits
from spikestore.pipeline.reporting.sweep import bin_widths
from spikestore.store import FeatureSet
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import UsageError


@dataclass(frozen=True, eq=False)
class ShownSample:
    """A sample of the gallery.

    Attributes
    ----------
    split : str
        Split of the sample.
    reasons : tuple of str
        Reasons why the sample is shown: one or more of ``typical``, ``shortest``, ``emptiest`` and ``fullest``.
    sample : KeptSample
        Frames of the sample.
    raster : Raster, optional
        Events of the recording of the sample; None if the recordings are not available.
    """

    split: str
    reasons: tuple[str, ...]
    sample: KeptSample
    raster: Raster | None


@dataclass(frozen=True, eq=False)
class Report:
    """A report on the feature sets of one name: one set for each split.

    Attributes
    ----------
    document : dict
        All facts, as plain JSON values.
    gallery : tuple of ShownSample
        The samples that the page shows.
    """

    document: dict[str, Any]
    gallery: tuple[ShownSample, ...]


def make_report(
    name: str,
    splits: Mapping[str, FeatureSet],
    *,
    data: Path | str | None = None,
    progress: Progress = lambda done, total, label: None,
) -> Report:
    """Read all samples of some sets once, and return a report on them.

    Parameters
    ----------
    name : str
        Name of the sets, as it was requested.
    splits : mapping of str to FeatureSet
        The sets, as ``Store.splits`` returns them.
    data : Path or str, optional
        Folder with the recordings. With it, the report also has rasters of events, the resolution of the time stamps, and
        results for time bins that are shorter than the time bins of the sets.
    progress : callable, optional
        Called as ``progress(samples_done, samples_total, split)``.

    Raises
    ------
    UsageError
        All recordings of a split were skipped.
    DamagedError
        A stored object differs from the committed object.
    SourceNotFoundError, SourceError
        `data` does not have the recordings of the sets.
    """
    empty = [split for split, features in splits.items() if not kept_rows(features).any()]
    if empty:
        raise UsageError(f"all recordings of {', '.join(empty)} were skipped: there is nothing to report on")
    fitted = "train" if "train" in splits else max(splits, key=lambda split: len(splits[split]))
    rest = sorted((split for split in splits if split != fitted), key=lambda split: split == "test")
    splits = {split: splits[split] for split in (fitted, *rest)}
    with ExitStack() as stack:
        recordings = None if data is None else stack.enter_context(Recordings(splits, data))
        scans = scan_splits(splits, progress)
        facts, chosen = scans.facts, scans.chosen
        document: dict[str, Any] = {"report": 1, "identity": identity(name, splits)}
        real = next(iter(splits.values())).manifest.transform.float_operation
        document |= {
            "real_numbers": None if real is None else real.op,
            "bin_ms": bin_ms(next(iter(splits.values())).manifest.transform),
            "classes": classes_by_split(facts),
            "groups": groups_by_split(facts),
            "losses": losses(facts),
            "values": value_counts(facts),
            "real_values": real_values(facts),
            "time_grid": None
            if recordings is None
            else {split: recordings.time_grid(split, [row for row, _ in chosen[split]]) for split in splits},
            "distributions": distributions(facts),
            "sites": site_facts(facts),
            "duplicates": duplicates(facts),
            "skipped": skipped_recordings(facts),
            "columns": column_costs(facts),
            "memory": memory(facts),
            "linear": scans.linear,
            "bin_widths": bin_widths(scans.sweep, facts, recordings),
        }
        gallery = tuple(
            ShownSample(
                split,
                reasons,
                facts[split].samples[row],
                None if recordings is None else recordings.raster(split, row),
            )
            for split, rows in chosen.items()
            for row, reasons in rows
        )
        document["gallery"] = [_described(shown, facts[shown.split]) for shown in gallery]
        document["findings"] = findings(document)
    return Report(document, gallery)


def _described(shown: ShownSample, facts: SetFacts) -> dict[str, Any]:
    row, label = shown.sample.row, shown.sample.label
    return {
        "split": shown.split,
        "row": row,
        "reasons": [*shown.reasons],
        "class": facts.features.classes[label],
        "absolute_sum" if facts.is_real else "events": float(facts.events[row]),
        "non_zeros": len(shown.sample.index),
        "bins": shown.sample.n_bins,
    }
