"""Conversion of the columns of an `EventBlock` to the few dtypes that the compiled pass supports.

The pass supports few dtypes, because numba compiles the pass separately for each dtype. Columns of common dtypes are views,
without a copy; other columns are converted. A value that does not fit is replaced by a value above `Column.last`. The pass then
reports the recording as unusual, and `FusedChain` transforms the unchanged recording with `NumpyChain`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.fused.tables import RAW


class Column(NamedTuple):
    """One column with a dtype that the compiled pass supports.

    Attributes
    ----------
    values : read-only C-contiguous array, shape (events,)
        Coordinates or polarities.
    last : int
        Largest valid value. A value that did not fit the dtype was replaced by a value above `last`.
    """

    values: npt.NDArray[Any]
    last: int


class Columns(NamedTuple):
    """The event columns of a block of recordings; `y` or `p` is None if the block has no such column."""

    t: npt.NDArray[Any]
    x: Column
    y: Column | None
    p: Column | None


def prepare(block: EventBlock, *, has_y: bool) -> Columns | None:
    """Return the columns of a block; None if the compiled pass does not support a dtype, if a time is 2^63 µs or more, or if `has_y` does not fit the block."""
    if (block.y is not None) != has_y:
        return None
    t = _codes(block) if block.time_table is not None else _microseconds(block.t)
    x = _narrow(block.x, np.uint16)
    y = None if block.y is None else _narrow(block.y, np.uint16)
    p = None if block.p is None else _narrow(block.p, np.uint8)
    missing = t is None or x is None or (has_y and y is None) or (block.p is not None and p is None)
    return None if missing else Columns(t, x, y, p)  # type: ignore[arg-type]


def frozen(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a contiguous, aligned and read-only array with these values; without a copy if possible.

    The compiled pass gets read-only arrays only, because numba would compile it again for writable arrays.
    """
    view = np.require(values, requirements=["C", "A"]).view()
    view.flags.writeable = False
    return view


def _codes(block: EventBlock) -> npt.NDArray[Any] | None:
    table = block.time_table
    fits = block.t.dtype == np.uint16 and table is not None and table.dtype == np.int64 and len(table) == RAW
    return frozen(block.t) if fits else None


def _microseconds(t: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    # Tonic computes with floating-point times in their own precision; `NumpyChain` does the same.
    if t.dtype.kind not in "iu" or (t.dtype == np.uint64 and len(t) and t.max() >= 2**63):
        return None
    return frozen(t.astype(np.int64, copy=False))


def _narrow(values: npt.NDArray[Any], wanted: type[np.uint16 | np.uint8]) -> Column | None:
    """Return integers with the dtype `wanted`, or None if `values` are not integers. A value that does not fit is replaced by a value above `Column.last`."""
    dtype, info = np.dtype(wanted), np.iinfo(wanted)
    if values.dtype.kind == "b" and wanted is np.uint8:
        values = values.view(np.uint8)
    if values.dtype.kind not in "iu":
        return None
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype == dtype:
        return Column(frozen(values), int(info.max))
    if values.dtype.kind == "i" and values.dtype.itemsize <= dtype.itemsize:
        same_size = values.astype(f"i{dtype.itemsize}", copy=False)
        return Column(frozen(same_size.view(dtype)), int(info.max) // 2)
    narrow = values.astype(dtype)
    if len(values) and (values.min() < 0 or values.max() >= info.max):
        narrow[(values < 0) | (values >= info.max)] = info.max
    return Column(frozen(narrow), int(info.max) - 1)
