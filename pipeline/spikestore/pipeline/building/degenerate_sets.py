"""Warnings about feature sets that are valid but probably a mistake, for example because all events have one position.

Other examples are a set whose events are mostly cropped, and a set with a single time bin or a single class. Such a set is
committed, and a warning reports each such property. But an empty set, in which no time bin has an event, is an error, unless
the caller allows empty sets. Some warnings state the times of recordings; for this, some recordings are read again, unless the
set was derived from a finer set.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from spikestore.pipeline.execution.fragment_content import FragmentContent, stored_contents, stored_sites
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store import FeatureSet
from spikestore.store.columns.packed_size import narrow_dtypes
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import SourceError
from spikestore.store_schemas.specs.operations import (
    SLICING_MODES,
    CenterCrop,
    CropTime,
    Decimation,
    Denoise,
    DropPixel,
    EventDownsampling,
    FrameOperation,
    OwnOperation,
    RefractoryPeriod,
    ToAveragedTimesurface,
    ToFrame,
    ToTimesurface,
)
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

CROPPED_SHARE = 0.9
"""Share of cropped events above which a warning is logged: an intended crop removes the ends of recordings, not most events."""

SAMPLED = 64
"""Maximum number of recordings, spread evenly over the source, whose times are read."""


_ALLOW_EMPTY = "pass --allow-empty, or set allow_empty = true under [build]; in Python, pass options=BuildOptions(allow_empty=True)"


_FOLDER_ADVICE = (
    'Under [source.folder]: if the times in the files are not in µs, set time_unit ("s", "ms" or "ns"); '
    'if they do not begin at 0, set offset = "first_event"'
)


_OBJECT_ADVICE = 'If the times in the data set are not in µs, pass time_unit= ("s", "ms" or "ns") to source_of_dataset, and pass the result to preprocess'


class SetReview:
    """Reports errors and probable mistakes in a new set.

    Parameters
    ----------
    label : str
        Name of the set in messages.
    located : LocatedSource
        The recordings of the set.
    may_read : bool
        Whether recordings may be read; False for a derived set, whose recordings may be missing.
    """

    def __init__(self, label: str, located: LocatedSource, *, may_read: bool) -> None:
        self._label = label
        self._located = located
        self._may_read = may_read

    def refuse_empty(self, manifest: Manifest, *, allow_empty: bool) -> None:
        """Raise `SourceError` if no sample of the set has an event; if `allow_empty` is true, log a warning instead."""
        if manifest.nnz:
            return
        message = f"{self._label} is empty: {self._why_empty(manifest)}"
        if not allow_empty:
            raise SourceError(f"{message}. To store the empty set, {_ALLOW_EMPTY}")
        logger.warning("%s", message)

    def report(self, features: FeatureSet, contents: Sequence[FragmentContent]) -> None:
        """Log one warning for each property of the set that is valid but probably a mistake.

        Parameters
        ----------
        features : FeatureSet
            The set.
        contents : sequence of FragmentContent
            Summaries of the fragments of this run. Columns of fragments of earlier runs are read from the store.

        Raises
        ------
        DamagedError
            A fragment of an earlier run is damaged.
        """
        manifest = features.manifest
        if manifest.nnz:
            built = {content.fragment for content in contents}
            earlier = [fragment for fragment in range(len(manifest.fragments)) if fragment not in built]
            everything = [*contents, *stored_contents(features, earlier)]
            self._report_times(manifest, everything)
            self._report_one_class(manifest, everything)
            self._report_one_site(features, contents, earlier)
            self._report_density(manifest, everything)

    def _report_times(self, manifest: Manifest, contents: Sequence[FragmentContent]) -> None:
        events = manifest.events
        without_events = sum(content.without_events for content in contents)
        if events.n_cropped > CROPPED_SHARE * events.n_events:
            logger.warning(
                "%s: %s of %s %s %s: %s",
                self._label,
                f"{events.n_cropped:,}",
                plural(events.n_events, "event"),
                "is" if events.n_cropped == 1 else "are",
                _state(manifest.transform),
                self._times_and_crop(manifest),
            )
        elif without_events:
            logger.warning(
                "%s: %s of %s %s events, but none in a time bin: %s",
                self._label,
                f"{without_events:,}",
                plural(sum(content.recordings for content in contents), "recording"),
                "has" if without_events == 1 else "have",
                self._times_and_crop(manifest),
            )
        frame = manifest.transform.to_frame
        numbers = _numbers(frame)
        length = next((numbers[name] for name in ("time_window", "duration", "dt") if name in numbers), None)
        if manifest.n_bins == 1 and length is not None and manifest.samples > 1:
            name = "dt" if isinstance(frame, ToTimesurface) else "duration"
            advice = (
                f"If the unit of these times is not µs, set {name} of {frame.op} in the unit of the times"
            )
            if isinstance(frame, ToFrame):
                advice = (
                    "If the unit of these times is not µs, scale them with time_factor of downsample, or set time_window of "
                    "to_frame in the unit of the times"
                )
            logger.warning(
                "%s: no recording has more than one time bin of %s µs: %s. %s",
                self._label,
                f"{length:,.12g}",
                self._times(),
                _unit_advice(manifest.source) or advice,
            )

    def _report_one_class(self, manifest: Manifest, contents: Sequence[FragmentContent]) -> None:
        spans = [content.labels for content in contents if content.labels is not None]
        recordings = sum(content.recordings for content in contents)
        classes = manifest.layout.classes
        if recordings < 2 or len(classes) < 2 or len({number for span in spans for number in span}) != 1:
            return
        (number, _) = spans[0]
        limit = manifest.source.limit
        logger.warning(
            "%s: all %s recordings have the label %d (%s), of %d classes%s",
            self._label,
            f"{recordings:,}",
            number,
            classes[number] if number < len(classes) else "no class",
            len(classes),
            f": limit = {limit} takes the first recordings, and files may be sorted by class"
            if limit is not None
            else "",
        )

    def _report_one_site(
        self, features: FeatureSet, contents: Sequence[FragmentContent], earlier: Sequence[int]
    ) -> None:
        sites = {site for content in contents if content.sites is not None for site in content.sites}
        layout = features.layout
        for fragment in earlier:
            if len(sites) > 1 or layout.site_count == 1:
                break
            sites.update(stored_sites(features, fragment) or ())
        if len(sites) != 1 or layout.site_count == 1:
            return
        indices = np.unravel_index(sites.pop(), layout.sites)
        position = ", ".join(
            f"{axis} {int(index)}" for axis, index in zip(layout.axes[1:], indices, strict=True)
        )
        logger.warning(
            "%s: all events are at the same position (%s), although frames have %d positions: check that spatial_factor of "
            "downsample fits sensor_size of to_frame",
            self._label,
            position,
            layout.site_count,
        )

    def _report_density(self, manifest: Manifest, contents: Sequence[FragmentContent]) -> None:
        places = sum(content.bins for content in contents) * manifest.layout.site_count
        density = sum(content.nnz for content in contents) / max(places, 1)
        # A dense cell is a float32, of 4 bytes.
        times = density * sum(dtype.itemsize for dtype in narrow_dtypes(manifest)) / 4
        if times > 1:
            logger.warning(
                "%s: %.0f %% of the values in its frames are not 0: in memory, the set takes %.2f times as much as dense frames would",
                self._label,
                100 * density,
                times,
            )

    def _why_empty(self, manifest: Manifest) -> str:
        events, recordings = manifest.events, plural(manifest.samples, "recording")
        if len(manifest.skipped) == manifest.samples:
            first = manifest.skipped[0].reason
            if manifest.samples == 1:
                return f"its only recording was skipped, because {first}"
            return f"all {recordings} were skipped, the first because {first}"
        if events.n_events == 0:
            return (
                "its only recording has no events"
                if manifest.samples == 1
                else f"its {recordings} have no events"
            )
        state = _state(manifest.transform)
        if events.n_cropped < events.n_events:
            state = f"in no time bin, or {state}"
        if events.n_events == 1:
            lost = f"its only event is {state}"
        else:
            lost = f"all {events.n_events:,} events of {recordings} are {state}"
        return f"{lost}: {self._times_and_crop(manifest)}"

    def _times_and_crop(self, manifest: Manifest) -> str:
        """Return a text with the times of the recordings, the times that the transform keeps, and the options to change."""
        filters = _filters(manifest.transform)
        if not filters:
            return self._times_kept(manifest)
        advice = f"To keep more events, {' or '.join(filters.values())}"
        dropped = manifest.events.n_cropped > CROPPED_SHARE * manifest.events.n_events
        if dropped and not _crops(manifest.transform):
            return f"{self._times()}. {advice}"
        return f"{self._times_kept(manifest)}. {advice}"

    def _times_kept(self, manifest: Manifest) -> str:
        times = self._times()
        frame = manifest.transform.to_frame
        settings = f"{frame.op} has " + ", ".join(
            f"{name} = {value:,.12g}" for name, value in _numbers(frame).items()
        )
        crops = _crops(manifest.transform)
        if not crops and "n_event_bins" in _numbers(frame):  # no unit and no offset can be wrong
            return f"{times}; {settings}. Set a smaller n_event_bins"
        if manifest.source.folder is not None:
            kept = " and then ".join(f"{crop.min:,.12g} to {crop.max:,.12g} µs" for crop in crops)
            return f"{times}; {f'crop_time keeps {kept}' if crops else settings}. {_FOLDER_ADVICE}"
        if not crops:
            ends = [name for name in ("start_time", "end_time") if name in _numbers(frame)]
            if not ends:
                return f"{times}; {settings}. Set a smaller {' or '.join(_numbers(frame))}"
            return f"{times}; {settings}. Set these values in µs. If the times have an offset, add it to {' and '.join(ends)}"
        kept = " and then ".join(f"{crop.min:,.12g} to {crop.max:,.12g} µs" for crop in crops)
        start = f"{times}; crop_time keeps {kept}. If the times have an offset, add it to min and max of crop_time"
        advice = _unit_advice(manifest.source)
        if advice is not None:
            return f"{start}. {advice}"
        return f"{start}; if their unit is not µs, set time_factor of a downsample before crop_time"

    def _times(self) -> str:
        """Return a text with the first and the last time of the events, for messages."""
        if not self._may_read:
            return "the set was computed from a finer set, so the times of its recordings are unknown"
        with self._located.open() as reader:
            rows = np.unique(np.linspace(0, len(reader) - 1, min(SAMPLED, len(reader))).astype(int))
            first, last = np.inf, -np.inf
            for row in rows:
                block = reader.read_block(int(row), int(row) + 1)
                if len(block.t):
                    times = block.t if block.time_table is None else block.time_table[block.t]
                    first, last = min(first, float(times.min())), max(last, float(times.max()))
            of = (
                "the recordings"
                if len(rows) == len(reader)
                else f"{len(rows)} of the {plural(len(reader), 'recording')}"
            )
        if first > last:
            return f"{of} have no events"
        return f"the times in {of} run from {first:,.0f} to {last:,.0f} µs"


def _unit_advice(source: Source) -> str | None:
    """Return where to set the unit of the times; None if the source has no setting for it. If times in s are read as µs, nearly all become 0."""
    if source.folder is not None:
        return _FOLDER_ADVICE
    if source.items is not None and any(part.kind != "files" for part in source.items.parts):
        return _OBJECT_ADVICE
    return None


def _crops(transform: Transform) -> list[CropTime]:
    return [operation for operation in transform.on_events if isinstance(operation, CropTime)]


def _numbers(frame: FrameOperation) -> dict[str, float]:
    """Return the parameters with which an operation divides recordings into bins: a mapping of names to numbers."""
    names: tuple[str, ...] = (*SLICING_MODES, "start_time", "end_time", "duration", "frames_number", "dt")
    if isinstance(frame, ToAveragedTimesurface):
        names = ("cell_size",)  # its time_window divides no recording
    return {name: value for name in names if (value := getattr(frame, name, None)) is not None}


def _state(transform: Transform) -> str:
    """Return what happened to the events that the transform does not keep, for messages."""
    filters = _filters(transform)
    if not filters:
        return "cropped"
    dropped = f"dropped by {' or '.join(filters)}"
    return f"cropped or {dropped}" if _crops(transform) else dropped


def _filters(transform: Transform) -> dict[str, str]:
    """Return advice for each filter of a transform, by the filter's name: how to change the filter to keep more events."""
    advice: dict[str, str] = {}
    for operation in transform.on_events:
        if isinstance(operation, Denoise):
            advice[operation.op] = (
                f"set a larger filter_time of denoise (now {operation.filter_time:,.12g} µs)"
            )
        elif isinstance(operation, RefractoryPeriod):
            advice[operation.op] = (
                f"set a smaller delta of refractory_period (now {operation.delta:,.12g} µs)"
            )
        elif isinstance(operation, Decimation):
            advice[operation.op] = f"set a smaller n of decimation (now {operation.n:,})"
        elif isinstance(operation, DropPixel):
            pixels = len(operation.coordinates)
            advice[operation.op] = f"list fewer coordinates of drop_pixel (now {plural(pixels, 'pixel')})"
        elif isinstance(operation, OwnOperation):
            advice[operation.name] = f"change the parameters of {operation.name}"
        elif isinstance(operation, CenterCrop):
            width, height = operation.size
            advice[operation.op] = f"set a larger size of center_crop (now {width:,} and {height:,})"
        elif isinstance(operation, EventDownsampling):
            threshold = operation.noise_threshold
            advice[operation.op] = f"set a smaller noise_threshold of event_downsampling (now {threshold:,})"
    return advice
