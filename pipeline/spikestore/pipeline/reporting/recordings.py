"""What a report computes from recordings: events for pictures, differences between neighbouring times, and samples with other bin widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.building.recompute import located_recordings
from spikestore.pipeline.readers.reader import ClosesOnExit, Reader
from spikestore.pipeline.readers.recording import Events
from spikestore.pipeline.reporting.facts.observers import KeptSample
from spikestore.pipeline.transforms.choose import block_chain
from spikestore.pipeline.transforms.event_guards import put_in_order, widen
from spikestore.pipeline.transforms.event_operations import EventStep
from spikestore.pipeline.transforms.fused.samples import events_of
from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import SourceNotFoundError
from spikestore.store_schemas.specs.operations import (
    Downsample,
    EventDownsampling,
    OwnOperation,
    TimeAlignment,
    TimeSkew,
    ToFrame,
)
from spikestore.store_schemas.specs.transform import Transform


@dataclass(frozen=True, eq=False)
class Raster:
    """The events of one recording that reach the frames. Operations of other packages are not applied.

    Attributes
    ----------
    ms : float64 array, shape (events,)
        Times in ms from the start of the first bin.
    x : int64 array, shape (events,)
        Channel, or column of the pixel.
    p : int64 array, shape (events,)
        Polarity.
    """

    ms: npt.NDArray[np.float64]
    x: npt.NDArray[np.int64]
    p: npt.NDArray[np.int64]


class Recordings(ClosesOnExit):
    """Reads the recordings of some splits from their files; at the end of a ``with`` block, it closes the files.

    Parameters
    ----------
    splits : mapping of str to FeatureSet
        The sets.
    data : Path or str
        Folder with the recordings.

    Raises
    ------
    SourceNotFoundError
        The folder has no recordings of a set, or the recordings of a set are not files.
    SourceError
        The recordings differ from those of the set.
    """

    def __init__(self, splits: Mapping[str, FeatureSet], data: Path | str) -> None:
        located = {}
        for split, features in splits.items():
            source = features.manifest.source
            if source.items is not None or source.cache is not None:
                raise SourceNotFoundError(
                    f"the samples of {source.dataset} {source.split} do not come from files of recordings: omit --data"
                )
            located[split] = located_recordings(source, data)
        self._splits = splits
        self._stack = ExitStack()
        self._readers: dict[str, Reader] = {
            split: self._stack.enter_context(one.open()) for split, one in located.items()
        }

    def close(self) -> None:
        """Close the files; a second call has no effect."""
        self._stack.close()

    def raster(self, split: str, row: int) -> Raster:
        """Return the events of a recording."""
        reader, sort = self._readers[split], self._splits[split].manifest.source.sort
        events = events_of(reader.read_block(row, row + 1), 0)
        return _raster(events, self._transform(split), has_y=reader.has_y, sort=sort)

    def time_grid(self, split: str, rows: Sequence[int]) -> dict[str, Any]:
        """Describe the differences between neighbouring times of some recordings, in µs; equal times count once.

        Returns
        -------
        dict
            ``recordings``, ``events``, ``distinct_times``; ``least`` and ``median`` difference; and ``common_divisor`` of all
            differences. If no recording has two different times, ``least``, ``median`` and ``common_divisor`` are None. If a
            difference is not a whole number, only ``common_divisor`` is None.
        """
        differences, events, distinct = [np.zeros(0)], 0, 0
        for row in rows:
            block = self._readers[split].read_block(row, row + 1)
            times = np.unique(block.t if block.time_table is None else block.time_table[block.t])
            events += len(block.t)
            distinct += len(times)
            differences.append(np.diff(times.astype(np.float64)))
        found = np.concatenate(differences)
        whole = found.astype(np.int64)
        return {
            "recordings": len(rows),
            "events": events,
            "distinct_times": distinct,
            "least": float(found.min()) if len(found) else None,
            "median": float(np.median(found)) if len(found) else None,
            "common_divisor": int(np.gcd.reduce(whole)) if len(found) and (whole == found).all() else None,
        }

    def samples(self, split: str, rows: Sequence[int], factor: float) -> list[KeptSample]:
        """Return the samples of some recordings, computed with another bin width. Recordings that cannot be transformed are left out.

        Parameters
        ----------
        split : str
            The split.
        rows : sequence of int
            The rows.
        factor : float
            Bin width, as a multiple of the bin width of the set.
        """
        reader, transform = self._readers[split], with_bins(self._transform(split), factor)
        chain = block_chain(transform, "numpy", has_y=reader.has_y)
        sort, samples = self._splits[split].manifest.source.sort, []
        for row in rows:
            block = reader.read_block(row, row + 1)
            found = chain(block, name_of=reader.name_of, sort=sort)
            if not found.errors:
                samples.append(
                    KeptSample(
                        row,
                        found.index.astype(np.int64),
                        found.value.astype(np.float64),
                        int(found.n_bins[0]),
                        int(block.labels[0]),
                    )
                )
        return samples

    def _transform(self, split: str) -> Transform:
        return self._splits[split].manifest.transform


def with_bins(transform: Transform, factor: float) -> Transform:
    """Return a transform in which ``time_window`` and ``overlap`` are `factor` times as long."""
    operations = tuple(
        step.model_copy(update={"time_window": step.time_window * factor, "overlap": step.overlap * factor})
        if isinstance(step, ToFrame) and step.time_window is not None
        else step
        for step in transform.operations
    )
    bins = max(transform.max_bins, int(transform.max_bins / factor) + 1)
    return Transform(operations=operations, max_bins=bins)


def _raster(events: Events, transform: Transform, *, has_y: bool, sort: bool) -> Raster:
    """Return times, x and polarities of those events of a recording that reach the frames. Times are in ms from the start of the first bin.

    Operations that drop events are applied. But times and x are not scaled or shifted by operations. Only the new events that
    event_downsampling makes have the x of the smaller sensor.

    Operations of other packages are not applied, so that a report can be made if such a package is missing.
    """
    name = "the recording"
    events, _ = put_in_order(widen(events, name=name, has_y=has_y), name=name, sort=sort)
    t, x, p = events["t"].astype(np.float64), events["x"].copy(), events["p"].copy()
    factor, shift = 1.0, 0.0  # a time in the frames is factor · time + shift, apart from truncation
    for operation in transform.on_events:
        if len(events) == 0:
            break
        if isinstance(operation, OwnOperation):
            continue
        step = EventStep(operation, has_y=has_y, max_bins=transform.max_bins)
        kept = step.kept(events)
        if kept is not None:
            events, t, x, p = events[kept], t[kept], x[kept], p[kept]
        if isinstance(operation, Downsample):
            factor, shift = factor * operation.time_factor, shift * operation.time_factor
        elif isinstance(operation, TimeSkew):
            factor, shift = factor * operation.coefficient, shift * operation.coefficient + operation.offset
        elif isinstance(operation, TimeAlignment | EventDownsampling) and len(events):
            shift -= float(events["t"][0])
        events = step.changed(events, name=name)
        if step.makes_new_events:  # they are in no file
            t, x, p = (events["t"] - shift) / factor, events["x"].copy(), events["p"].copy()
    frame = transform.to_frame
    start = frame.start_time if isinstance(frame, ToFrame) else None
    zero = (start - shift) / factor if start is not None else float(t[0]) if len(t) else 0.0
    return Raster((t - zero) / 1000, x, p)
