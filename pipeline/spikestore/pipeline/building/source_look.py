"""Properties of a source that are known before its recordings are read: the layout of its samples, and the numbers of events."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import refuse_other_columns
from spikestore.pipeline.readers.event_block import TimeType
from spikestore.pipeline.readers.event_files.file_per_recording import FileReader
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.sources.source_files import LocatedSource
from spikestore.store.columns.event_counts import EVENT_COLUMNS
from spikestore.store_schemas.errors import LayoutError, UsageError
from spikestore.store_schemas.layout import Layout, layout_of
from spikestore.store_schemas.specs.operations import FixedDuration, FixedFramesNumber, FrameOperation
from spikestore.store_schemas.specs.transform import Transform


class SourceLook(NamedTuple):
    """Properties of a source that are known before its recordings are read."""

    layout: Layout
    """Layout of the samples."""
    n_events: npt.NDArray[np.int64]
    """Number of events of each recording, or an estimate."""
    is_file_per_recording: bool
    """Whether each recording is one file."""
    estimates_events: bool
    """Whether `n_events` has estimates, which may be several times too small."""


def layout_of_source(located: LocatedSource, transform: Transform) -> Layout:
    """Return the layout of the samples of a source, without building anything.

    Raises
    ------
    LayoutError
        A file does not have the expected layout, or has no recordings.
    UsageError
        The transform does not fit the recordings.
    """
    return look_into(located, transform)[0]


def look_into(located: LocatedSource, transform: Transform) -> SourceLook:
    """Return the layout and the numbers of events of a source; errors are those of `layout_of_source`."""
    with located.open() as reader:
        return SourceLook(
            layout_of_reader(reader, located, transform),
            reader.n_events(),
            isinstance(reader, FileReader),
            reader.estimates_events,
        )


def layout_of_reader(reader: Reader, located: LocatedSource, transform: Transform) -> Layout:
    """Return the layout of the samples of a reader; errors are those of `layout_of_source`."""
    if len(reader) == 0:
        path = located.stamps[0].path
        raise LayoutError(f"{path} has no recordings", path=str(path))
    refuse_other_columns(f"the reader {reader.name}", reader.extras)
    problem = None if reader.has_y else transform.problem_without_y()
    if problem is not None:  # checked here, before the plan is stored
        raise UsageError(problem)
    items = located.source.items
    if items is not None and len(items.parts) > 1:
        from spikestore.pipeline.readers.items.items_reader import ItemsReader

        assert isinstance(reader, ItemsReader)  # noqa: S101 - the reader of all sources with items
        refuse_mixed_times(reader.time_types(), transform.to_frame)
    return layout_of(
        transform, has_y=reader.has_y, classes=reader.classes, extras=(*reader.extras, *EVENT_COLUMNS)
    )


def refuse_mixed_times(types: Set[TimeType], frame: FrameOperation) -> None:
    """Raise an error if the times of several data sets have types that a set must not mix.

    Recordings are read in blocks, and all times of a block get one type. So with mixed types, the frames of a recording could
    depend on the other recordings of its block. Integers and float16 times may be mixed, because both become integers in µs. But
    ``fixed_duration``, and ``fixed_frames_number`` with ``split_by = "time"``, compute with the stored float16 times: with
    these operations, no types may be mixed.

    Parameters
    ----------
    types : set of str
        Types of the times of the data sets; see `EventBlock.time_type`.
    frame : FrameOperation
        The operation that makes frames.

    Raises
    ------
    UsageError
        The types cannot be mixed with this operation.
    """
    if len(types) < 2:
        return
    if "floating-point" in types:
        raise UsageError(
            "some recordings have floating-point times, but others have integer or float16 times: build a separate set from each data set"
        )
    if isinstance(frame, FixedDuration) or (
        isinstance(frame, FixedFramesNumber) and frame.split_by == "time"
    ):
        raise UsageError(
            f"{frame.op} uses the float16 times of SHD and SSC files, but some of the data sets have other times: build a separate set for "
            "each data set"
        )
