"""Sets that are legal and probably not meant: no events at all, nearly all cropped, one bin, one class, one channel.

An empty set is an error unless somebody asks for it; the others are committed, and reported in one line each. Times come
from some of the recordings, which are read again: that happens only where there is something to report.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from spikestore.pipeline.execution.fragment_task import FragmentContent
from spikestore.pipeline.readers.registry import open_reader
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import SourceError
from spikestore.store_schemas.specs.operations import CropTime

logger = logging.getLogger(__name__)

CROPPED_SHARE = 0.9
"""Share of cropped events that is reported: a crop that is meant removes the ends of recordings, not nearly all."""

SAMPLED = 64
"""Recordings, spread over the source, whose times are looked at."""


def refuse_empty(manifest: Manifest, label: str, located: LocatedSource, *, allow_empty: bool) -> None:
    """Raise `SourceError` if no sample of a set has an event, unless that is allowed: then it is a warning.

    Parameters
    ----------
    manifest : Manifest
        Of the set.
    label : str
        What to call it.
    located : LocatedSource
        Its recordings.
    allow_empty : bool
        Whether somebody asked for such a set.
    """
    if manifest.nnz:
        return
    why = f"{label} is empty: {_why_empty(manifest, located)}"
    if not allow_empty:
        raise SourceError(
            f"{why}. To store it all the same: --allow-empty, or allow_empty = true under [build]"
        )
    logger.warning("%s", why)


def report_degenerate(
    manifest: Manifest, label: str, located: LocatedSource, contents: Sequence[FragmentContent]
) -> None:
    """Warn of what is legal in a set and probably not meant; one line for each such thing.

    Parameters
    ----------
    manifest : Manifest
        Of the set.
    label : str
        What to call it.
    located : LocatedSource
        Its recordings.
    contents : sequence of FragmentContent
        Of the fragments that were built now; what earlier builders stored is not looked at.
    """
    if manifest.nnz == 0:
        return
    events = manifest.events
    without_events = sum(one.without_events for one in contents)
    if events.n_cropped > CROPPED_SHARE * events.n_events:
        logger.warning(
            "%s: %s of %s events are cropped: %s",
            label,
            f"{events.n_cropped:,}",
            f"{events.n_events:,}",
            _times_and_crop(manifest, located),
        )
    elif without_events:
        logger.warning(
            "%s: %s of %s recordings have events, but none in a time bin: %s",
            label,
            f"{without_events:,}",
            f"{sum(one.recordings for one in contents):,}",
            _times_and_crop(manifest, located),
        )
    frame = manifest.transform.to_frame
    if manifest.n_bins == 1 and frame.time_window is not None and manifest.samples > 1:
        logger.warning(
            "%s: every recording fits into one time bin of %s µs: %s. Is the unit of these times µs? If not, scale them "
            "with time_factor of downsample, or set time_window of to_frame in their unit",
            label,
            f"{frame.time_window:,.12g}",
            _times(located),
        )
    _report_one_class(manifest, label, contents)
    _report_one_site(manifest, label, contents)


def _report_one_class(manifest: Manifest, label: str, contents: Sequence[FragmentContent]) -> None:
    spans = [one.labels for one in contents if one.labels is not None]
    recordings = sum(one.recordings for one in contents)
    classes = manifest.layout.classes
    if recordings < 2 or len(classes) < 2 or len({number for span in spans for number in span}) != 1:
        return
    (number, _) = spans[0]
    limit = manifest.source.limit
    logger.warning(
        "%s: all %s recordings have the label %d (%s), of %d classes%s",
        label,
        f"{recordings:,}",
        number,
        classes[number] if number < len(classes) else "no class",
        len(classes),
        f": limit = {limit} takes the first ones, and files may be sorted by class"
        if limit is not None
        else "",
    )


def _report_one_site(manifest: Manifest, label: str, contents: Sequence[FragmentContent]) -> None:
    found = {number for one in contents if one.sites is not None for number in one.sites}
    layout = manifest.layout
    if len(found) != 1 or layout.site_count == 1:
        return
    place = np.unravel_index(found.pop(), layout.sites)
    where = ", ".join(f"{axis} {int(number)}" for axis, number in zip(layout.axes[1:], place, strict=True))
    logger.warning(
        "%s: all events are at one place of %d (%s): does spatial_factor of downsample fit sensor_size of to_frame?",
        label,
        layout.site_count,
        where,
    )


def _why_empty(manifest: Manifest, located: LocatedSource) -> str:
    events = manifest.events
    if len(manifest.skipped) == manifest.samples:
        return f"all {manifest.samples:,} recordings were skipped, the first because {manifest.skipped[0].reason}"
    if events.n_events == 0:
        return f"its {manifest.samples:,} recordings have no events"
    what = "cropped" if events.n_cropped == events.n_events else "cropped or in no time bin"
    lost = f"all {events.n_events:,} events of {manifest.samples:,} recordings are {what}"
    return f"{lost}: {_times_and_crop(manifest, located)}"


def _times_and_crop(manifest: Manifest, located: LocatedSource) -> str:
    """Say which times there are, which are kept, and what to set if that is not meant."""
    times = _times(located)
    frame = manifest.transform.to_frame
    settings = ", ".join(
        f"{name} = {value:,.12g}"
        for name in ("time_window", "start_time", "end_time")
        if (value := getattr(frame, name)) is not None
    )
    crops = [one for one in manifest.transform.operations if isinstance(one, CropTime)]
    if not crops:
        return f"{times}, to_frame has {settings or frame.mode}. Set these in the unit (µs) and with the offset of the times"
    kept = " and then ".join(f"{crop.min:,.12g} to {crop.max:,.12g} µs" for crop in crops)
    return (
        f"{times}, crop_time keeps {kept}. Is the unit of these times µs, and does every recording's clock begin at 0? "
        "For an offset, set min and max of crop_time; for another unit, time_factor of downsample before it"
    )


def _times(located: LocatedSource) -> str:
    """Say from when to when events were recorded."""
    with open_reader(located.source, located.root) as reader:
        rows = np.unique(np.linspace(0, len(reader) - 1, min(SAMPLED, len(reader))).astype(int))
        first, last = np.inf, -np.inf
        for row in rows:
            block = reader.read_block(int(row), int(row) + 1)
            if len(block.t):
                times = block.t if block.time_table is None else block.time_table[block.t]
                first, last = min(first, float(times.min())), max(last, float(times.max()))
        of = (
            "the recordings" if len(rows) == len(reader) else f"{len(rows)} of the {len(reader):,} recordings"
        )
    if first > last:
        return f"{of} have no events"
    return f"the times in {of} run from {first:,.0f} to {last:,.0f} µs"
