"""The sweep over bin widths: from the recordings if they are available, else by summing neighbouring bins of the set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from spikestore.pipeline.reporting.facts.bin_widths import FACTORS, BinWidth, coarser, result_for, spread
from spikestore.pipeline.reporting.facts.observers import KeptSample
from spikestore.pipeline.reporting.facts.set_facts import SetFacts
from spikestore.pipeline.reporting.recordings import Recordings
from spikestore.pipeline.reporting.scan_splits import Rows, SweepRows
from spikestore.store_schemas.specs.operations import ToFrame

FINER = (0.25, 0.5)
"""Bin widths for which the recordings are needed, as multiples of the bin width of the set."""

MOST_EVENTS = 20_000_000
"""Approximate maximum number of events that are read for each bin width; it limits the number of samples."""


def bin_widths(
    rows: SweepRows, facts: Mapping[str, SetFacts], recordings: Recordings | None
) -> dict[str, Any]:
    """Return the results for several bin widths.

    Returns
    -------
    dict
        ``from``: "recordings" or "bins", None if there are no results; ``results``: a list of mappings, one for each bin width, with the fields of `BinWidth`;
        ``missing``: None, or the reason why there are no results.
    """
    transform = facts[rows.fitted.split].features.manifest.transform
    sites = facts[rows.fitted.split].features.layout.sites
    frame = transform.to_frame
    if transform.float_operation is not None:
        return _missing(
            f"with {transform.float_operation.op}, the values of wider bins are not sums of the values of narrower bins",
            False,
        )
    has_width = isinstance(frame, ToFrame) and frame.time_window is not None
    if recordings is not None and has_width:
        read = recordings.samples

        def of_recordings(part: Rows, factor: float) -> list[KeptSample]:
            events = facts[part.split].columns["n_events"]
            mean = max(float(events.mean()), 1.0) if len(part.rows) else 1.0
            return read(part.split, spread(part.rows, max(2, int(MOST_EVENTS / mean / 2))), factor)

        return _results("recordings", (*FINER, *FACTORS), rows, of_recordings, sites)
    if isinstance(frame, ToFrame) and frame.overlap:
        return _missing(
            "bins of this set overlap, so sums of neighbouring bins are not the counts of wider bins",
            has_width,
        )
    if transform.max_count is not None:
        return _missing(
            "counts of this set are clipped, so their sums are not the counts of wider bins", has_width
        )
    site_count = facts[rows.fitted.split].features.layout.site_count

    def of_bins(part: Rows, factor: float) -> list[KeptSample]:
        return [coarser(facts[part.split].samples[row], int(factor), site_count) for row in part.rows]

    return _results("bins", FACTORS, rows, of_bins, sites)


def _missing(reason: str, recordings_help: bool) -> dict[str, Any]:
    advice = ": pass the folder of the recordings with --data" if recordings_help else ""
    return {"from": None, "results": [], "missing": f"{reason}{advice}"}


def _results(
    origin: str,
    factors: tuple[float, ...],
    rows: SweepRows,
    samples: Callable[[Rows, float], list[KeptSample]],
    sites: tuple[int, ...],
) -> dict[str, Any]:
    results: list[BinWidth] = []
    for factor in factors:
        fitted, tested = samples(rows.fitted, factor), samples(rows.tested, factor)
        if fitted:
            results.append(result_for(factor, fitted, tested, sites))
    return {"from": origin, "results": [asdict(one) for one in results], "missing": None}
