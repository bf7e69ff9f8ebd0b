"""Rows of a coarse feature set, computed from the rows of a fine set (docs/decisions/0070-coarse-rows-from-fine-ones.md).

Each coarse time bin consists of `Rebinning.bins` consecutive fine time bins. Each coarse site consists of some fine sites. So
each coarse count is a sum of fine counts. The fine set does not contain events that are in no fine bin, for example
events after the last complete fine bin. So the coarse row lacks these events, even if their times are in a coarse bin.
`Rebinning.has_all_events` tells which rows certainly have all events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.layout import Layout
from spikestore.store_schemas.specs.items import FilePart
from spikestore.store_schemas.specs.operations import ClipCounts, FrameOperation, ToFrame
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.specs.transform import Transform

_Int64s = npt.NDArray[np.int64]

EXACT = 2**53
"""Whole numbers up to this limit are exact as floating-point numbers, and so are the bins that are computed from them."""


@dataclass(frozen=True, slots=True, eq=False)
class Rebinning:
    """How the cells of a fine set are added to cells of a coarse set. A cell is one site in one time bin.

    Attributes
    ----------
    bins : int
        Number of fine time bins in a coarse time bin.
    site_of : uint32 array, shape (fine sites,)
        Coarse site of each fine site.
    fine_keeps_incomplete, keeps_incomplete : bool
        ``include_incomplete`` of the fine and of the coarse set.
    max_count : int, optional
        Largest count of the coarse set; a larger sum becomes this count.
    """

    bins: int
    site_of: npt.NDArray[np.uint32]
    fine_keeps_incomplete: bool
    keeps_incomplete: bool
    max_count: int | None = None

    def n_bins(self, n_bins: npt.NDArray[Any]) -> _Int64s:
        """Return the number of coarse time bins of rows that have `n_bins` fine time bins.

        The number is exact for rows for which `has_all_events` is true; for other rows it may be wrong.
        """
        fine = n_bins.astype(np.int64)
        if self.keeps_incomplete:
            return -(-fine // self.bins)
        # Without events on the last edge, the last fine bin is incomplete.
        complete = fine - 1 if self.fine_keeps_incomplete else fine
        return np.where(fine > 0, np.maximum(complete // self.bins, 1), 0)

    def has_all_events(self, n_bins: npt.NDArray[Any], n_dropped: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Return, for each row, True if the coarse row certainly has all events, False if it may lack some: bool array, shape (rows,).

        Parameters
        ----------
        n_bins, n_dropped : arrays, shape (rows,)
            Number of fine time bins of each row, and number of its events that are in no fine bin.
        """
        nothing_lost: npt.NDArray[np.bool_] = n_dropped == 0
        if self.fine_keeps_incomplete != self.keeps_incomplete:
            return nothing_lost
        return nothing_lost | (self.n_bins(n_bins) * self.bins <= n_bins)

    def rows(self, columns: SampleColumns, layout: Layout, *, compiled: bool = True) -> SampleColumns:
        """Return the coarse rows of some fine rows.

        Parameters
        ----------
        columns : SampleColumns
            Rows of the fine set, checked.
        layout : Layout
            Layout of the coarse set, which has the same columns as the fine set.
        compiled : bool
            Whether to use a compiled loop; if false, NumPy is used, which needs no time to start.
        """
        n_bins = self.n_bins(columns.n_bins)
        total = _compiled_sums if compiled else _numpy_sums
        index, value, nnz, after = total(self, columns, n_bins, layout)
        extras = dict(columns.extras)
        extras["n_dropped"] = (extras["n_dropped"] + after).astype(extras["n_dropped"].dtype)
        if self.max_count is not None:
            value = np.minimum(value, np.uint32(self.max_count))
        return SampleColumns(
            index=index.astype(layout.dtype("index"), copy=False),
            value=value,
            nnz=nnz.astype(columns.nnz.dtype),
            n_bins=n_bins.astype(columns.n_bins.dtype),
            label=columns.label,
            extras=extras,
        )


def has_whole_times(source: Source) -> bool:
    """Return whether all times of a source are certainly whole µs.

    The result is False for readers of other packages, objects in Python and imported caches, because their times may be fractions.
    """
    if source.cache is not None:
        return False
    if source.items is not None:
        return all(isinstance(part, FilePart) and "." not in part.reader for part in source.items.parts)
    return "." not in source.reader  # a reader of another package is named after the package


def sums_problem(fine: Transform, bins: int) -> str | None:
    """Return why groups of `bins` time bins cannot be summed to coarser bins, in a set with the transform `fine`; None if they can."""
    if isinstance(fine.operations[-1], ClipCounts):
        return "its counts are limited by clip_counts"
    if fine.float_operation is not None:
        return f"its values are real numbers of {fine.float_operation.op}, and only counts can be summed"
    frame = fine.to_frame
    window = frame.time_window if isinstance(frame, ToFrame) else None
    problem = bins_problem(frame)
    if problem is None and (fine.max_bins + 1 + bins) * int(window or 0) > EXACT:
        return "its max_bins allows recordings whose times are too large for exact arithmetic"
    return problem


def bins_problem(frame: FrameOperation) -> str | None:
    """Return why the time bins of a set cannot be summed, or None."""
    if not isinstance(frame, ToFrame) or frame.time_window is None:
        return f"its time bins are made with {frame.mode}, not with time_window"
    if frame.overlap:
        return "its time bins overlap"
    times = (frame.time_window, frame.start_time, frame.end_time)
    if any(time is not None and not time.is_integer() for time in times):
        return "its bins do not begin at whole microseconds"
    return None


def uniform_sites(sites: Sequence[int], factors: Sequence[int]) -> npt.NDArray[np.uint32]:
    """Return the coarse site of each fine site if `factors` neighbours are summed along each axis.

    The last coarse site of an axis may have fewer fine sites.
    """
    place = np.indices(tuple(sites)).reshape(len(sites), -1)
    coarse = tuple(-(-size // factor) for size, factor in zip(sites, factors, strict=True))
    numbers = [axis // factor for axis, factor in zip(place, factors, strict=True)]
    return np.ravel_multi_index(tuple(numbers), coarse).astype(np.uint32)


Sums = tuple[npt.NDArray[Any], npt.NDArray[np.uint32], _Int64s, _Int64s]
"""Index and value of the coarse non-zeros, their number in each row, and the events of each row after its last coarse bin."""


def _compiled_sums(rebinning: Rebinning, columns: SampleColumns, n_bins: _Int64s, layout: Layout) -> Sums:
    # Imported here because numba takes a third of a second to import.
    from spikestore.store.rebinning.kernels import sum_cells

    index = np.empty(len(columns.index), layout.dtype("index"))
    value = np.empty(len(columns.index), np.uint32)
    nnz, after = np.zeros((2, len(columns)), np.int64)
    filled = sum_cells(
        columns.index,
        columns.value,
        columns.offsets(),
        n_bins,
        np.uint64(rebinning.bins),
        rebinning.site_of,
        np.uint64(layout.site_count),
        index,
        value,
        nnz,
        after,
    )
    return index[:filled], value[:filled], nnz, after


def _numpy_sums(rebinning: Rebinning, columns: SampleColumns, n_bins: _Int64s, layout: Layout) -> Sums:
    row = np.repeat(np.arange(len(columns)), columns.nnz)
    fine_bin, site = np.divmod(columns.index.astype(np.int64), len(rebinning.site_of))
    coarse_bin, count = fine_bin // rebinning.bins, columns.value.astype(np.int64)
    inside = coarse_bin < n_bins[row]
    after = np.bincount(row[~inside], count[~inside], len(columns)).astype(np.int64)
    first = np.cumsum(n_bins) - n_bins
    sites = layout.site_count
    cell = ((first[row] + coarse_bin) * sites + rebinning.site_of[site])[inside]
    order = np.argsort(cell, kind="stable")
    cell, count, row = cell[order], count[inside][order], row[inside][order]
    begins = np.flatnonzero(np.diff(cell, prepend=-1))
    value = np.add.reduceat(count, begins) if len(begins) else count
    row = row[begins]
    return (
        cell[begins] - first[row] * sites,
        value.astype(np.uint32),
        np.bincount(row, minlength=len(columns)),
        after,
    )
