"""The columns of a store on their way in: rows that the format allows, that their manifest speaks of, and no others.

``check`` binds rows to their set, and anybody can compute it. What is relied on after it, in compiled loops too, is
compared here: places that ascend within a row and lie in its frames, values that are none of 0 and the fill value,
labels that have a class, and nothing above what the manifest says, by which readers choose dtypes and plan memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import block_checks, check_seed
from spikestore.store.columns.samples import Fault, SampleColumns, first_fault, range_problem
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, SKIPPED_LABEL


def refuse_untrue_rows(
    address: Address,
    manifest: Manifest,
    fragment: int,
    columns: SampleColumns,
    check: npt.NDArray[np.uint64],
    start: int = 0,
) -> None:
    """Raise unless rows that were decoded may be used.

    Parameters
    ----------
    address : Address
        Keys of the set, which seed `check`.
    manifest : Manifest
        What it says of itself.
    fragment : int
        The fragment that the rows are of.
    columns : SampleColumns
        The rows, whole blocks of them.
    check : uint64 array, shape (blocks,)
        Their stored hashes.
    start : int
        Row of the fragment that the first of `columns` is.

    Raises
    ------
    DamagedError
        They do not match their hashes, the format forbids them, or the manifest says otherwise; the message names
        fragment and row.
    """
    first = manifest.rows(fragment).start + start
    _refuse_other_hashes(address, manifest, columns, check, first)
    fault = (
        _dtype_fault(columns, manifest)
        or first_fault(columns, manifest.layout)
        or _fault_against(manifest, fragment, columns, first)
    )
    _refuse(fault, fragment, first)


def _refuse_other_hashes(
    address: Address,
    manifest: Manifest,
    columns: SampleColumns,
    check: npt.NDArray[np.uint64],
    first: int,
) -> None:
    found = block_checks(columns, manifest.layout, check_seed(*address), first // BLOCK)
    wrong = np.flatnonzero(found != check) if found.shape == check.shape else np.arange(len(found))
    if len(wrong):
        row = first + int(wrong[0]) * BLOCK
        raise DamagedError(f"rows {row} to {min(row + BLOCK, manifest.samples) - 1} do not match their check")


def refuse_untrue_column(manifest: Manifest, fragment: int, name: str, values: npt.NDArray[Any]) -> None:
    """Raise unless a column with one value a sample, read without the non-zeros, may be used.

    Parameters
    ----------
    manifest : Manifest
        What its set says of itself.
    fragment : int
        The fragment that it is of.
    name : str
        The column.
    values : array, shape (samples of the fragment,)
        What was decoded.

    Raises
    ------
    DamagedError
        The format forbids a value, or the manifest says otherwise; the message names fragment and row.
    """
    problem = range_problem(name, values, manifest.layout.dtype(name))
    fault = None if problem is None else Fault(problem)
    if name == "label":
        fault = fault or _label_fault(manifest, values, manifest.rows(fragment).start)
    elif name == "n_bins":
        fault = fault or _bins_fault(manifest, fragment, values)
    elif name == "nnz" and int(values.sum(dtype=np.int64)) != manifest.fragments[fragment].nnz:
        fault = fault or Fault("nnz does not add up to what the manifest says")
    _refuse(fault, fragment, manifest.rows(fragment).start)


def _refuse(fault: Fault | None, fragment: int, first: int) -> None:
    if fault is not None:
        row = "" if fault.row is None else f", row {first + fault.row}"
        raise DamagedError(f"fragment {fragment}{row}: {fault.what}")


def _dtype_fault(columns: SampleColumns, manifest: Manifest) -> Fault | None:
    for name, column in columns.in_order(manifest.layout):
        dtype = manifest.layout.dtype(name)
        if column.dtype != dtype or column.ndim != 1:
            return Fault(f"column {name} is {column.dtype} of shape {column.shape}, not {dtype}")
    return None


def _fault_against(manifest: Manifest, fragment: int, columns: SampleColumns, first: int) -> Fault | None:
    """Return the first row that the manifest contradicts."""
    offsets = columns.offsets()
    filled = np.flatnonzero(columns.nnz)
    last = columns.index[offsets[filled + 1] - 1]  # which is a row's largest
    above = np.flatnonzero(last > manifest.max_index)
    if len(above):
        what = f"index {last[above[0]]}, the manifest says at most {manifest.max_index}"
        return Fault(what, int(filled[above[0]]))
    if len(columns.value) and float(columns.value.max()) > manifest.max_value:
        place = int(np.flatnonzero(columns.value > manifest.max_value)[0])
        what = f"value {columns.value[place]}, the manifest says at most {manifest.max_value:.16g}"
        return Fault(what, int(np.searchsorted(offsets, place, "right")) - 1)
    skipped = _skipped(manifest, len(columns), first)
    wrong = np.flatnonzero(skipped & ((columns.nnz != 0) | (columns.n_bins != 0)))
    if len(wrong):
        return Fault("a skipped row has non-zeros or time bins", int(wrong[0]))
    return _bins_fault(manifest, fragment, columns.n_bins) or _label_fault(manifest, columns.label, first)


def _bins_fault(manifest: Manifest, fragment: int, n_bins: npt.NDArray[Any]) -> Fault | None:
    most = manifest.fragments[fragment].n_bins
    if int(n_bins.max(initial=0)) <= most:
        return None
    row = int(np.flatnonzero(n_bins > most)[0])
    return Fault(f"{n_bins[row]} time bins, the manifest says at most {most}", row)


def _label_fault(manifest: Manifest, label: npt.NDArray[Any], first: int) -> Fault | None:
    classes = len(manifest.layout.classes)
    skipped = _skipped(manifest, len(label), first)
    wrong = np.flatnonzero(np.where(skipped, label != SKIPPED_LABEL, (label < 0) | (label >= classes)))
    if not len(wrong):
        return None
    row = int(wrong[0])
    why = "and the row was skipped" if skipped[row] else f"there are {classes} classes"
    return Fault(f"label {label[row]}, {why}", row)


def _skipped(manifest: Manifest, rows: int, first: int) -> npt.NDArray[np.bool_]:
    """Return which of `rows` rows from row `first` of the set on were skipped."""
    skipped = np.zeros(rows, bool)
    skipped[manifest.skipped_rows(range(first, first + rows)) - first] = True
    return skipped
