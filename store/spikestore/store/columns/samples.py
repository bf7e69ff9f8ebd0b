"""Samples of a feature set as columns.

A sample is stored as coalesced COO: its coordinates are linearised in row-major order over (time bin, polarity, y, x). Each
non-zero has ``index`` and ``value``; each sample has ``nnz``, ``n_bins``, ``label`` and extras. On disk, ``start`` is the
position of a sample's non-zeros and ``check`` has a hash per block (docs/format.md, "Columns").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.layout import EXTRAS, FILL, Layout
from spikestore.store_schemas.wording import plural


class Fault(NamedTuple):
    """The reason why columns violate the format."""

    what: str
    """Description of the fault."""
    row: int | None = None
    """Row with the fault, counted from the first row of the columns; None if the fault concerns several rows."""


@dataclass(frozen=True, eq=False)
class SampleColumns:
    """Consecutive samples in packed columns.

    Attributes
    ----------
    index : unsigned array, shape (non-zeros,)
        Linear indices of the non-zeros, sample after sample, strictly increasing within a sample.
    value : unsigned or float array, shape (non-zeros,)
        Values of the non-zeros; never 0.
    nnz, n_bins : uint32 arrays, shape (samples,)
        Numbers of non-zeros and of time bins of each sample. ``n_bins`` is 0 for a skipped row.
    label : int32 array, shape (samples,)
        Class numbers; -1 for a skipped row.
    extras : mapping of str to array, shape (samples,) each
        Optional columns: ``speaker``, ``n_events``, ``n_cropped``, ``n_dropped``, ``user``.
    """

    index: npt.NDArray[Any]
    value: npt.NDArray[Any]
    nnz: npt.NDArray[Any]
    n_bins: npt.NDArray[Any]
    label: npt.NDArray[Any]
    extras: Mapping[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return len(self.nnz)

    def offsets(self) -> npt.NDArray[np.int64]:
        """Return the start of each sample in ``index``, and the end of the last sample: int64, shape (samples + 1,)."""
        offsets = np.zeros(len(self.nnz) + 1, np.int64)
        np.cumsum(self.nnz, out=offsets[1:])
        return offsets

    def rows(self, start: int, stop: int) -> SampleColumns:
        """Return samples `start` to `stop` (exclusive) as views."""
        first, last = (int(self.nnz[:row].sum(dtype=np.int64)) for row in (start, stop))
        return SampleColumns(
            index=self.index[first:last],
            value=self.value[first:last],
            nnz=self.nnz[start:stop],
            n_bins=self.n_bins[start:stop],
            label=self.label[start:stop],
            extras={name: column[start:stop] for name, column in self.extras.items()},
        )

    def in_order(self, layout: Layout) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Yield (name, column) in canonical order."""
        for name, _ in layout.columns:
            yield name, self.extras[name] if name in EXTRAS else getattr(self, name)

    def as_stored(self, layout: Layout, *, largest: int | None = None) -> SampleColumns:
        """Return the columns with the dtypes of `layout`, after checking them against the format.

        Parameters
        ----------
        layout : Layout
            Columns and dtypes of the set.
        largest : int, optional
            The largest number in ``value``, if the caller knows it.

        Raises
        ------
        UsageError
            Two columns have different lengths; an index does not increase strictly within its sample or is outside its frames; ``value``
            has a 0 or is not finite; a column has values outside the range of its dtype, or real numbers instead of integers.
        """
        fault = first_fault(self, layout, largest=largest)
        if fault is not None:
            raise UsageError(fault.what)
        stored = {
            name: np.ascontiguousarray(column, layout.dtype(name)) for name, column in self.in_order(layout)
        }
        extras = {name: stored.pop(name) for name in layout.extras}
        return SampleColumns(**stored, extras=extras)


def concatenate(samples: Iterable[SampleColumns]) -> SampleColumns:
    """Return several `SampleColumns` as one, in order; raise `UsageError` if there are none."""
    parts = list(samples)
    if not parts:
        raise UsageError("no samples to concatenate")
    if len(parts) == 1:
        return parts[0]
    return SampleColumns(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("index", "value", "nnz", "n_bins", "label")
        },
        extras={name: np.concatenate([part.extras[name] for part in parts]) for name in parts[0].extras},
    )


def largest_value(value: npt.NDArray[Any]) -> float:
    """Return the largest value of a column (of floating-point values, the largest absolute value); 0 if the column is empty."""
    return float(np.max(abs(value) if value.dtype.kind == "f" else value, initial=0))


def largest_index(columns: SampleColumns) -> int:
    """Return the largest index of some rows; 0 if they have no non-zeros. The indices must ascend in each row."""
    ends = columns.offsets()[1:][columns.nnz > 0] - 1
    return int(columns.index[ends].max(initial=0))


def first_fault(columns: SampleColumns, layout: Layout, *, largest: int | None = None) -> Fault | None:
    """Return the first violation of the format in some rows, or None; `largest` is the largest value, if it is known.

    Builders call this function before they store rows. Readers call it after they have decoded rows.
    """
    samples, values = len(columns.nnz), len(columns.index)
    if int(columns.nnz.sum(dtype=np.int64)) != values or len(columns.value) != values:
        return Fault("index, value and nnz contradict each other in the number of non-zeros")
    for name, column in columns.in_order(layout):
        if name not in {"index", "value"} and len(column) != samples:
            return Fault(f"column {name!r} has {plural(len(column), 'row')}, expected {samples:,}")
        if name == "index" and column.dtype == layout.dtype(name):
            continue  # indices ascend within a row: `_place_fault` checks the last one of each row
        problem = range_problem(name, column, layout.dtype(name), high=largest if name == "value" else None)
        if problem is not None:
            return Fault(problem)
    return _place_fault(columns, layout) if values else None


def _place_fault(columns: SampleColumns, layout: Layout) -> Fault | None:
    """Return a `Fault` for a row in which a value is 0, indices do not ascend, or an index is outside the frames; None if there is no such row."""
    offsets = columns.offsets()
    no_zero = columns.value.min() > 0 if columns.value.dtype.kind == "u" else columns.value.all()
    if not no_zero:  # for counts, the minimum is twice as fast as `all`
        zero = int(np.flatnonzero(columns.value == 0)[0])
        return Fault("column 'value' must not contain 0", int(np.searchsorted(offsets, zero, "right")) - 1)
    # An index increases within a sample, so it falls only where a sample begins, and a sample's last index is its largest.
    falls = np.flatnonzero(columns.index[1:] <= columns.index[:-1]) + 1
    begins = np.searchsorted(offsets, falls)
    wrong = np.flatnonzero(offsets[begins] != falls)
    if len(wrong):
        return Fault("column 'index' must increase strictly within each sample", int(begins[wrong[0]]) - 1)
    filled = np.flatnonzero(columns.nnz)
    last = columns.index[offsets[filled + 1] - 1]
    problem = range_problem("index", last, layout.dtype("index"))
    if problem is not None:
        return Fault(problem)
    # A division, because a product of numbers from a store may overflow.
    wrong = np.flatnonzero(
        last.astype(np.uint64) // np.uint64(layout.site_count) >= columns.n_bins[filled].astype(np.uint64)
    )
    if len(wrong):
        return Fault("column 'index' has a value outside its sample's frames", int(filled[wrong[0]]))
    return None


def range_problem(
    name: str, column: npt.NDArray[Any], dtype: np.dtype[Any], *, high: int | None = None
) -> str | None:
    """Return a message if a column cannot be stored with `dtype`, else None; `high` is the largest integer of the column, if it is known."""
    if not len(column):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is rejected below
            stored = column.astype(dtype)
        if not np.isfinite(stored).all():
            return f"column {name!r} has values that are NaN or infinite when stored as {dtype.name}"
        if not stored.all():
            return f"column {name!r} has values that are 0 as {dtype.name}, but a stored value must not be 0"
        return None
    if column.dtype.kind not in "iu":
        return f"column {name!r} must have integers ({dtype.name}), got {column.dtype.name}"
    low = 0 if column.dtype.kind == "u" else int(column.min())
    high = int(column.max()) if high is None else high
    fill = int(FILL[dtype.name])
    lowest, highest = (0, fill - 1) if dtype.kind == "u" else (fill + 1, 2**31 - 1)
    if low < lowest or high > highest:
        value = high if high > highest else low
        return f"column {name!r} must have values from {lowest} to {highest} ({dtype.name}), got {value}"
    return None
