"""Frames of real numbers, computed from the columns of an `EventBlock`, but only for ordinary recordings.

A recording is ordinary if its times are whole, sorted and within ± `EXACT`, and its events are inside the sensor. One compiled
loop checks this. `NumpyChain` would check and copy the events several times, which takes longer than making the frames.
`NumpyChain` computes the other recordings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Sample
from spikestore.pipeline.transforms.float_frames.frames import float_frames, frame_with_bins_of
from spikestore.pipeline.transforms.frame_bins import FrameBins
from spikestore.pipeline.transforms.fused.columns import Column, Columns, frozen, prepare
from spikestore.pipeline.transforms.fused.filters import Filters, is_fused
from spikestore.store_schemas.specs.operations import FloatFrames
from spikestore.store_schemas.specs.transform import Transform


class FloatColumns:
    """Computes the samples of ordinary recordings, with the same bits as `NumpyChain`, but faster. `NumpyChain` computes all other recordings.

    Parameters
    ----------
    transform : Transform
        The transform; `can_read` must be true for it.
    """

    def __init__(self, transform: Transform) -> None:
        assert isinstance(transform.to_frame, FloatFrames)  # noqa: S101 - as `can_read` says
        self._spec = transform.to_frame
        sites = transform.sites(has_y=True)
        self._bins = FrameBins(frame_with_bins_of(self._spec), sites, max_bins=transform.max_bins)
        self._filters = Filters(transform.on_events) if transform.on_events else None

    def recordings(self, block: EventBlock) -> OrdinaryRecordings | None:
        """Return an object that computes the samples of a block's ordinary recordings; None if the compiled code does not support the block's columns."""
        columns = prepare(block, has_y=True) if block.time_table is None else None
        if columns is None:
            return None
        offsets, state = block.offsets, np.zeros(len(block), np.uint8)
        if self._filters is not None:
            filtered = self._filters(block, columns, state)
            if filtered is None:
                return None
            columns, offsets = filtered.columns, filtered.offsets
        return OrdinaryRecordings(self._spec, self._bins, columns, offsets, block.offsets, state)


def can_read(transform: Transform) -> bool:
    """Return whether `FloatColumns` supports a transform."""
    frames = transform.to_frame
    return (
        isinstance(frames, FloatFrames)
        and frames.sensor_size[2] == 2
        and all(is_fused(operation) for operation in transform.on_events)
    )


class OrdinaryRecordings:
    """Recordings of a block, as columns, after all operations that precede the frames.

    `sample` returns the samples of the ordinary recordings; the docstring of this module says which recordings are ordinary.

    Parameters
    ----------
    spec : ToVoxelGrid, ToTimesurface or ToAveragedTimesurface
        The operation that makes frames.
    bins : FrameBins
        The time bins of this operation.
    columns : Columns
        The events that the operations before the frames keep.
    offsets, offsets_read : int array, shape (recordings + 1,)
        Start of each recording, and the end of the last recording. `offsets` has positions in `columns`. `offsets_read` has
        positions among the events that were read.
    state : uint8 array, shape (recordings,)
        0 for each recording that the compiled operations before the frames have transformed. `NumpyChain` computes the others.
    """

    def __init__(
        self,
        spec: FloatFrames,
        bins: FrameBins,
        columns: Columns,
        offsets: npt.NDArray[np.int64],
        offsets_read: npt.NDArray[np.int64],
        state: npt.NDArray[np.uint8],
    ) -> None:
        self._spec, self._bins, self._state = spec, bins, state
        self._offsets, self._offsets_read = offsets, offsets_read
        self._t, self._x = columns.t, columns.x
        assert columns.y is not None  # noqa: S101 - `prepare` was called with has_y
        self._y = columns.y
        self._p = columns.p or Column(frozen(np.ones(len(columns.t), np.uint8)), 1)

    def sample(self, place: int, *, name: str) -> Sample | None:
        """Return the sample of a recording; None if no event remains, or if `NumpyChain` must compute it.

        `NumpyChain` must compute recordings that are not ordinary; see the docstring of this module.

        Parameters
        ----------
        place : int
            Number of the recording within the block, from 0.
        name : str
            Name of the recording in messages.

        Raises
        ------
        RecordingError
            The values of the frames are not defined, or too large for float32; or there are too many bins.
        """
        from spikestore.pipeline.transforms.fused.filter_kernels import is_ordinary

        events = slice(int(self._offsets[place]), int(self._offsets[place + 1]))
        if self._state[place] != 0 or events.start == events.stop:
            return None
        t, x, y, p = (values[events] for values in (self._t, self._x.values, self._y.values, self._p.values))
        width, height, _ = self._spec.sensor_size
        if not is_ordinary(
            t, x, y, p, min(width - 1, self._x.last), min(height - 1, self._y.last), min(1, self._p.last)
        ):
            return None
        n_bins = self._bins.count(t, name=name)
        starts, ends = self._bins.ranges(t)
        wide = {"t": t, "x": x.astype(np.int64), "y": y.astype(np.int64), "p": p.astype(np.int64)}
        index, value, n_dropped = float_frames(self._spec, wide, starts, ends, name=name)
        n_read = int(self._offsets_read[place + 1] - self._offsets_read[place])
        return Sample(index, value, n_bins, n_read, n_cropped=n_read - len(t), n_dropped=n_dropped)
