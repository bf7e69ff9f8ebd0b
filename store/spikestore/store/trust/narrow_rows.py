"""Rows that are checked chunk by chunk, and converted to the dtypes that a caller requests.

`refuse_untrue_rows` reads whole columns several times, and the columns are larger than the processor's cache. The compiled
loops of this module make the same checks, but on one decoded chunk at a time, while the chunk is in the cache. Only the converted
rows are kept. If a check fails, the result is None. The caller then reads the rows again with `FeatureSet.read`, whose error names the
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
        Class numbers; -1 for skipped rows.
    """

    index: npt.NDArray[Any]
    value: npt.NDArray[Any]
    offsets: _Int64s
    n_bins: npt.NDArray[Any]
    label: npt.NDArray[Any]

    @classmethod
    def of(cls, columns: SampleColumns, dtypes: tuple[np.dtype[Any], np.dtype[Any]]) -> NarrowRows:
        """Return rows that the caller has checked, with these dtypes of ``index`` and ``value``. All values must fit the dtypes."""
        return cls(
            index=columns.index.astype(dtypes[0]),
            value=columns.value.astype(dtypes[1]),
            offsets=columns.offsets(),
            n_bins=columns.n_bins,
            label=columns.label,
        )


class NarrowReader:
    """Reads and checks rows of one set, and returns ``index`` and ``value`` in requested dtypes. Any number of threads may share a reader.

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
        self._loops = _Loops.of(manifest)
        # The columns with one value per sample are checked once, when their fragment is read first.
        self._true_tables: WeakSet[FragmentTable] = WeakSet()

    def read(
        self, rows: RowRange, dtypes: tuple[np.dtype[Any], np.dtype[Any]], empty: Empty = np.empty
    ) -> NarrowRows | None:
        """Return rows with ``index`` and ``value`` in the given dtypes; None if a check fails.

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
            self._loops.take_index(self._pieces(rows, "index"), blocks, checks, index)
            and self._loops.take_value(self._pieces(rows, "value"), checks, value)
            and checks.finish().tobytes() == blocks.check.tobytes()
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


@dataclass(frozen=True, eq=False)
class _Loops:
    """The compiled loops for the rows of one set, with everything that is the same for all its rows."""

    sites: np.uint64
    index: np.dtype[Any]
    most_index: np.uint64
    index_loop: Callable[..., bool]
    value: np.dtype[Any]
    most_value: Any
    value_loop: Callable[..., bool]

    @classmethod
    def of(cls, manifest: Manifest) -> _Loops:
        from spikestore.store.trust.narrow_kernels import take_index, take_real, take_value

        index, value = (manifest.layout.dtype(name) for name in ("index", "value"))
        value_loop: Callable[..., bool] = take_real
        most_value: Any = manifest.max_value
        if value.kind == "u":
            value_loop, most_value = take_value, np.uint64(min(most_value, int(FILL[value.name]) - 1))
        return cls(
            sites=np.uint64(manifest.layout.site_count),
            index=index,
            most_index=np.uint64(min(manifest.max_index, int(FILL[index.name]) - 1)),
            index_loop=take_index,
            value=value,
            most_value=most_value,
            value_loop=value_loop,
        )

    def take_index(
        self, pieces: _Pieces, blocks: BlockRows, checks: BlockChecks, out: npt.NDArray[Any]
    ) -> bool:
        """Copy the pieces to `out`, and update `checks` with them. Return False if a piece has another dtype than the column, or if the index does not ascend in a row, leaves the row's frames or is above the manifest's maximum."""
        n_bins = blocks.samples["n_bins"].astype(np.uint64)
        before = np.uint64(0)
        for begins, piece in pieces:
            if piece.dtype != self.index:
                return False
            checks.update(begins, piece)
            if not self.index_loop(
                piece, begins, before, blocks.offsets, n_bins, self.sites, self.most_index, out
            ):
                return False
            before = np.uint64(piece[-1])
        return True

    def take_value(self, pieces: _Pieces, checks: BlockChecks, out: npt.NDArray[Any]) -> bool:
        """Copy the pieces to `out`; return True if all values are valid and none is above the manifest's maximum."""
        for begins, piece in pieces:
            if piece.dtype != self.value:
                return False
            checks.update(begins, piece)
            if not self.value_loop(piece, begins, self.most_value, out):
                return False
        return True
