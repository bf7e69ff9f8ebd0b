"""Checks of decoded rows against the format and the manifest.

Anybody can compute the column ``check``, so this column does not protect from malicious stores. Later code, including compiled loops, relies on the
conditions that this module checks: indices ascend within a row and are inside its frames, values are neither 0 nor the
fill value, and each label is the number of a class. Readers choose dtypes, and how much memory they allocate, by the largest
numbers in the manifest. So no number of a row may be larger than the corresponding number in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import block_checks, check_seed
from spikestore.store.columns.samples import Fault, SampleColumns, first_fault, largest_value, range_problem
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, SKIPPED_LABEL
from spikestore.store_schemas.wording import plural


def refuse_untrue_rows(
    address: Address,
    manifest: Manifest,
    fragment: int,
    columns: SampleColumns,
    check: npt.NDArray[np.uint64],
    start: int = 0,
) -> None:
    """Raise `DamagedError` unless decoded rows agree with their hashes, the format and the manifest.

    Parameters
    ----------
    address : Address
        Keys of the set; the hashes in `check` depend on them.
    manifest : Manifest
        Manifest of the set.
    fragment : int
        Fragment of the rows.
    columns : SampleColumns
        The rows, in whole blocks.
    check : uint64 array, shape (blocks,)
        Stored hashes of the blocks.
    start : int
        Number of rows of the fragment before the first row of `columns`.

    Raises
    ------
    DamagedError
        The rows of a block differ from its hash; the message names these rows. Or rows violate the format or contradict the
        manifest; the message names the fragment, and if only one value is wrong, its row.
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
    actual = block_checks(columns, manifest.layout, check_seed(*address), first // BLOCK)
    wrong = np.flatnonzero(actual != check) if actual.shape == check.shape else np.arange(len(actual))
    if len(wrong):
        row = first + int(wrong[0]) * BLOCK
        raise DamagedError(
            f"rows {row} to {min(row + BLOCK, manifest.samples) - 1} do not match their stored hash"
        )


def refuse_untrue_column(manifest: Manifest, fragment: int, name: str, values: npt.NDArray[Any]) -> None:
    """Raise `DamagedError` unless a per-sample column agrees with the format and the manifest.

    Parameters
    ----------
    manifest : Manifest
        Manifest of the set.
    fragment : int
        Fragment of the values.
    name : str
        Name of the column.
    values : array, shape (samples of the fragment,)
        The decoded values.

    Raises
    ------
    DamagedError
        A value violates the format or contradicts the manifest; the message names the fragment, and if only one value is wrong, its row.
    """
    problem = range_problem(name, values, manifest.layout.dtype(name))
    fault = None if problem is None else Fault(problem)
    if name == "label":
        fault = fault or _label_fault(manifest, values, manifest.rows(fragment).start)
    elif name == "n_bins":
        fault = fault or _bins_fault(manifest, fragment, values)
    elif name == "nnz" and int(values.sum(dtype=np.int64)) != manifest.fragments[fragment].nnz:
        fault = fault or Fault("the sum of the column nnz differs from nnz of this fragment in the manifest")
    _refuse(fault, fragment, manifest.rows(fragment).start)


def _refuse(fault: Fault | None, fragment: int, first: int) -> None:
    if fault is not None:
        row = "" if fault.row is None else f", row {first + fault.row}"
        raise DamagedError(f"fragment {fragment}{row}: {fault.what}")


def _dtype_fault(columns: SampleColumns, manifest: Manifest) -> Fault | None:
    for name, column in columns.in_order(manifest.layout):
        dtype = manifest.layout.dtype(name)
        if column.dtype != dtype or column.ndim != 1:
            return Fault(
                f"column {name!r} must be {dtype} with one axis, got {column.dtype} of shape {column.shape}"
            )
    return None


def _fault_against(manifest: Manifest, fragment: int, columns: SampleColumns, first: int) -> Fault | None:
    """Return how a row contradicts the manifest; None if all rows agree with the manifest."""
    offsets = columns.offsets()
    filled = np.flatnonzero(columns.nnz)
    last = columns.index[offsets[filled + 1] - 1]  # the largest index of each row
    above = np.flatnonzero(last > manifest.max_index)
    if len(above):
        what = f"index {last[above[0]]} exceeds the manifest's maximum of {manifest.max_index}"
        return Fault(what, int(filled[above[0]]))
    if largest_value(columns.value) > manifest.max_value:
        size = abs(columns.value) if columns.value.dtype.kind == "f" else columns.value
        # float64, as largest_value(): NumPy would compare float32 values with max_value rounded to float32
        place = int(np.flatnonzero(size.astype(np.float64) > manifest.max_value)[0])
        what = f"value {columns.value[place]} exceeds the manifest's maximum of {manifest.max_value:.16g}"
        return Fault(what, int(np.searchsorted(offsets, place, "right")) - 1)
    return _fault_of_rows(manifest, fragment, columns.nnz, columns.n_bins, columns.label, first)


def fault_of_samples(
    manifest: Manifest, fragment: int, samples: Mapping[str, npt.NDArray[Any]], first: int
) -> Fault | None:
    """Return the first violation of the format in per-sample columns, or None.

    `samples` has these columns by name. They begin with row `first` of the set.
    """
    for name, column in samples.items():
        dtype = manifest.layout.dtype(name)
        if column.dtype != dtype:
            return Fault(f"column {name!r} must be {dtype}, got {column.dtype}")
        problem = range_problem(name, column, dtype)
        if problem is not None:
            return Fault(problem)
    return _fault_of_rows(manifest, fragment, samples["nnz"], samples["n_bins"], samples["label"], first)


def _fault_of_rows(
    manifest: Manifest,
    fragment: int,
    nnz: npt.NDArray[Any],
    n_bins: npt.NDArray[Any],
    label: npt.NDArray[Any],
    first: int,
) -> Fault | None:
    skipped = _skipped(manifest, len(nnz), first)
    wrong = np.flatnonzero(skipped & ((nnz != 0) | (n_bins != 0)))
    if len(wrong):
        return Fault("a skipped row has non-zeros or time bins", int(wrong[0]))
    return _bins_fault(manifest, fragment, n_bins) or _label_fault(manifest, label, first)


def _bins_fault(manifest: Manifest, fragment: int, n_bins: npt.NDArray[Any]) -> Fault | None:
    most = manifest.fragments[fragment].n_bins
    if int(n_bins.max(initial=0)) <= most:
        return None
    row = int(np.flatnonzero(n_bins > most)[0])
    return Fault(f"{n_bins[row]} time bins exceed the manifest's maximum of {most}", row)


def _label_fault(manifest: Manifest, label: npt.NDArray[Any], first: int) -> Fault | None:
    classes = len(manifest.layout.classes)
    skipped = _skipped(manifest, len(label), first)
    wrong = np.flatnonzero(np.where(skipped, label != SKIPPED_LABEL, (label < 0) | (label >= classes)))
    if not len(wrong):
        return None
    row = int(wrong[0])
    why = "although the row was skipped" if skipped[row] else f"but the set has {plural(classes, 'class')}"
    return Fault(f"label {label[row]}, {why}", row)


def _skipped(manifest: Manifest, rows: int, first: int) -> npt.NDArray[np.bool_]:
    """Return a mask of the skipped rows among `rows` rows from row `first` of the set."""
    skipped = np.zeros(rows, bool)
    skipped[manifest.skipped_rows(range(first, first + rows)) - first] = True
    return skipped
