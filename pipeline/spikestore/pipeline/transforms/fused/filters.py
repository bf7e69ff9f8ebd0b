"""Operations that drop single events (CenterCrop, Denoise and RefractoryPeriod), applied before the compiled pass.

The compiled pass looks up each event in one range of times and one table per coordinate, so the result for an event cannot
depend on other events. Therefore all operations up to the last filter are first applied to a copy of the events (`filter_kernels`).
The compiled pass then applies the other operations to the remaining events.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.fused.columns import Column, Columns, frozen
from spikestore.pipeline.transforms.fused.tables import EXACT
from spikestore.store_schemas.specs.operations import (
    CenterCrop,
    CropTime,
    Denoise,
    Downsample,
    EventOperation,
    RefractoryPeriod,
)
from spikestore.store_schemas.specs.transform import Transform

_LARGEST_SIZE = 2**15
"""Largest size of a sensor before and after a CenterCrop; moved coordinates then have 16 bits."""


class Filtered(NamedTuple):
    """Columns after the filters; for each recording, its start in these columns and the number of its dropped events."""

    columns: Columns
    offsets: npt.NDArray[np.int64]
    dropped: npt.NDArray[np.int64]


def is_fused(operation: EventOperation) -> bool:
    """Return whether compiled code applies this operation."""
    if isinstance(operation, CenterCrop):
        return max(*operation.sensor_size, *operation.size) <= _LARGEST_SIZE
    if isinstance(operation, Denoise):
        return operation.filter_time <= EXACT
    if isinstance(operation, RefractoryPeriod):
        return operation.delta <= EXACT
    return isinstance(operation, Downsample | CropTime)


def divided(transform: Transform) -> tuple[Filters | None, Transform]:
    """Return the operations up to the last filter, and a transform with all other operations. If there is no filter, return None and the whole transform."""
    operations = transform.on_events
    count = len(operations)
    while count and isinstance(operations[count - 1], Downsample | CropTime):
        count -= 1
    if count == 0:
        return None, transform
    rest = Transform(operations=transform.operations[count:], max_bins=transform.max_bins)
    return Filters(operations[:count]), rest


class Filters:
    """Applies operations to the events of blocks of recordings, in compiled code.

    Parameters
    ----------
    operations : tuple of EventOperation
        The operations; `is_fused` must be true for each.
    """

    def __init__(self, operations: tuple[EventOperation, ...]) -> None:
        # Imported here because numba takes a third of a second to import.
        from spikestore.pipeline.transforms.fused import filter_kernels

        self._kernels = filter_kernels
        kinds = {
            Downsample: filter_kernels.DOWNSAMPLE,
            CropTime: filter_kernels.CROP_TIME,
            CenterCrop: filter_kernels.CENTER_CROP,
            Denoise: filter_kernels.DENOISE,
            RefractoryPeriod: filter_kernels.REFRACTORY_PERIOD,
        }
        self._kinds = frozen(np.array([kinds[type(operation)] for operation in operations], np.int64))
        self._numbers = frozen(np.array([_numbers(operation) for operation in operations], np.float64))

    def __call__(self, block: EventBlock, columns: Columns, state: npt.NDArray[np.uint8]) -> Filtered | None:
        """Return the events that the operations keep; None if compiled code does not support the columns.

        A recording is marked in `state` if it is not ordinary (`is_ordinary`), or if an operation rejects it. Marked recordings have no
        events in the result, also those that were marked before.
        """
        if columns.y is None or block.time_table is not None:
            return None
        n_events, offsets = len(columns.t), frozen(block.offsets.astype(np.int64, copy=False))
        p = columns.p or Column(frozen(np.ones(n_events, np.uint8)), 1)
        t, x, y, new_p = (np.empty(n_events, dtype) for dtype in (np.int64, np.uint16, np.uint16, np.uint8))
        new_offsets = np.zeros(len(block) + 1, np.int64)
        self._kernels.filter_recordings(
            self._kinds,
            self._numbers,
            columns.t,
            columns.x.values,
            columns.y.values,
            p.values,
            columns.x.last,
            columns.y.last,
            p.last,
            offsets,
            state,
            t,
            x,
            y,
            new_p,
            new_offsets,
        )
        left = int(new_offsets[-1])
        new = Columns(
            frozen(t[:left]),
            Column(frozen(x[:left]), 2**16 - 1),
            Column(frozen(y[:left]), 2**16 - 1),
            Column(frozen(new_p[:left]), 2**8 - 1),
        )
        return Filtered(new, new_offsets, np.diff(offsets) - np.diff(new_offsets))


def _numbers(operation: EventOperation) -> tuple[float, float, float, float]:
    """Return the parameters of an operation as four numbers; missing numbers are 0."""
    if isinstance(operation, Downsample):
        return (operation.time_factor, *operation.spatial_factor, 0)
    if isinstance(operation, CropTime):
        return operation.min, operation.max, 0, 0
    if isinstance(operation, CenterCrop):
        return (*operation.offset, *operation.size)
    if isinstance(operation, Denoise):
        return operation.filter_time, 0, 0, 0
    assert isinstance(operation, RefractoryPeriod)  # noqa: S101 - `is_fused` is true for no other
    return operation.delta, 0, 0, 0
