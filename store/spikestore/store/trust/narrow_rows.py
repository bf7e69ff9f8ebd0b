"""Rows that are checked and narrowed chunk by chunk.

`refuse_untrue_rows` checks whole columns. It reads them several times, and they are larger than the processor's cache. The compiled
loops of this module make the same checks, but on one decoded chunk at a time, while the chunk is in the cache; only the narrow copy
is kept. If a check fails, the result is None. The caller then reads the rows again with `FeatureSet.read`, whose error names the
fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import BlockChecks, check_seed
from spikestore.store.columns.reader import DirectReader, FragmentTable
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.trust.block_rows import BlockRows, RowRange
from spikestore.store.trust.rows import fault_of_samples
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.layout import FILL

_Int64s = npt.NDArray[np.int64]
_Pieces = Iterator[tuple[int, npt.NDArray[Any]]]


Empty = Callable[[int, np.dtype[Any]], npt.NDArray[Any]]
"""Called with a number of elements and a dtype; returns an uninitialised array, as `numpy.empty` does."""


@dataclass(frozen=True, eq=False)
class NarrowRows:
    """Rows of a set in the dtypes that a reader requested.

    Attributes
    ----------
    index, value : arrays, shape (non-zeros,)
        In the requested dtypes.
    offsets : int64 array, shape (rows + 1,)
        Start of each row in ``index``, and the end of the last row.
    n_bins : uint32 array, shape (rows,)
        Time bins.
    label : int32 array, shape (rows,)
        Class numbers.
    """

    index: npt.NDArray[Any]
    value: npt.NDArray[Any]
    offsets: _Int64s
    n_bins: npt.NDArray[Any]
    label: npt.NDArray[Any]

    @classmethod
    def of(cls, columns: SampleColumns, dtypes: tuple[np.dtype[Any], np.dtype[Any]]) -> NarrowRows:
        """Return checked rows with these dtypes; the dtypes must hold the values of the rows."""
        return cls(
            index=columns.index.astype(dtypes[0]),
            value=columns.value.astype(dtypes[1]),
            offsets=columns.offsets(),
            n_bins=columns.n_bins,
            label=columns.label,
        )


class NarrowReader:
    """Reads and checks rows of one set, and returns ``index`` and ``value`` in narrower dtypes. Any number of threads may share a reader.

    Parameters
    ----------
    reader : DirectReader
        Reader of the set.
    address : Address
        Keys of the set; the hashes in ``check`` depend on them.
    manifest : Manifest
        Manifest of the set.
    """

    def __init__(self, reader: DirectReader, address: Address, manifest: Manifest) -> None:
        self._reader = reader
        self._seed = check_seed(*address)
        self._manifest = manifest
        # The columns with one value per sample are checked once, when their fragment is read first.
        self._true_tables: WeakSet[FragmentTable] = WeakSet()

    def read(
        self, rows: RowRange, dtypes: tuple[np.dtype[Any], np.dtype[Any]], empty: Empty = np.empty
    ) -> NarrowRows | None:
        """Return rows with ``index`` and ``value`` in narrower dtypes; None if a check fails.

        Parameters
        ----------
        rows : RowRange
            The rows.
        dtypes : tuple of two dtypes
            Dtypes of ``index`` and ``value``; they must hold the manifest's ``max_index`` and ``max_value``.
        empty : callable
            Returns memory for ``index`` or ``value``; see `FeatureSet.read_narrow`.

        Raises
        ------
        DamagedError, StoreError
            An object cannot be read or decoded.
        """
        table = self._reader.table(rows.fragment)
        if not self._is_true(rows.fragment, table):
            return None
        blocks = BlockRows.of(self._manifest, rows, table)
        checks = blocks.checks(self._manifest, self._seed)
        index, value = (empty(int(blocks.offsets[-1]), dtype) for dtype in dtypes)
        if not (
            _take_index(self._pieces(rows, "index"), self._manifest, blocks, checks, index)
            and _take_value(self._pieces(rows, "value"), self._manifest, checks, value)
            and np.array_equal(checks.finish(), blocks.check)
        ):
            return None
        # Copies: the table is shared.
        n_bins, label = (blocks.samples[name].copy() for name in ("n_bins", "label"))
        return NarrowRows(index, value, blocks.offsets, n_bins, label)

    def _pieces(self, rows: RowRange, name: str) -> _Pieces:
        return self._reader.pieces(rows.fragment, name, rows.start, rows.stop)

    def _is_true(self, fragment: int, table: FragmentTable) -> bool:
        if table in self._true_tables:
            return True
        first = self._manifest.rows(fragment).start
        if fault_of_samples(self._manifest, fragment, table.columns, first) is not None:
            return False
        self._true_tables.add(table)
        return True


def _take_index(
    pieces: _Pieces,
    manifest: Manifest,
    blocks: BlockRows,
    checks: BlockChecks,
    out: npt.NDArray[Any],
) -> bool:
    """Copy the pieces to `out`; return whether the index ascends in each row and stays inside the row's frames."""
    from spikestore.store.trust.narrow_kernels import take_index

    dtype = manifest.layout.dtype("index")
    most = np.uint64(min(manifest.max_index, int(FILL[dtype.name]) - 1))
    sites, n_bins = np.uint64(manifest.layout.site_count), blocks.samples["n_bins"].astype(np.uint64)
    before = np.uint64(0)
    for begins, piece in pieces:
        if piece.dtype != dtype:
            return False
        checks.update(begins, piece)
        if not take_index(piece, begins, before, blocks.offsets, n_bins, sites, most, out):
            return False
        before = np.uint64(piece[-1])
    return True


def _take_value(pieces: _Pieces, manifest: Manifest, checks: BlockChecks, out: npt.NDArray[Any]) -> bool:
    """Copy the pieces to `out`; return True if all values are valid and none is above the manifest's maximum."""
    from spikestore.store.trust.narrow_kernels import take_real, take_value

    dtype = manifest.layout.dtype("value")
    take: Callable[..., bool] = take_real
    most: Any = manifest.max_value
    if dtype.kind == "u":
        take, most = take_value, np.uint64(min(most, int(FILL[dtype.name]) - 1))
    for begins, piece in pieces:
        if piece.dtype != dtype:
            return False
        checks.update(begins, piece)
        if not take(piece, begins, most, out):
            return False
    return True
