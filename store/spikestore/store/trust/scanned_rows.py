"""Check rows of a set chunk by chunk, before a caller copies their stored bytes to a new set or encodes them again.

Whole columns of a fragment are larger than the processor's cache, and new memory of their size costs page faults. In this
module, each decoded chunk is checked and hashed while it is in the cache, and then dropped. The checks
report only that there is a fault. `FeatureSet.read` of the same rows raises an error that names the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import check_seed
from spikestore.store.columns.reader import DirectReader, FragmentDecoder, read_errors, undecodable
from spikestore.store.columns.samples import largest_value, range_problem
from spikestore.store.trust.block_rows import BlockRows, RowRange
from spikestore.store.trust.rows import fault_of_samples
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError, StoreError


class ScannedRows:
    """Reads and checks rows of one fragment of a committed set, chunk by chunk.

    Parameters
    ----------
    address, manifest
        Keys of the set, and its manifest, which has been checked.
    rows : RowRange
        The rows: whole blocks, because the column ``check`` has one hash per block.
    reader : DirectReader
        Reader of the set.
    describe : callable
        Called with the error of a failed read or check; returns the error that is raised instead.

    Attributes
    ----------
    samples : dict of str to array
        All columns with one value per row, shape (rows,), checked; they are shared and must not be changed.
    offsets : int64 array, shape (rows + 1,)
        Start of each row's non-zeros, counted from the first non-zero of all these rows. The last element is the end of the last row.
    """

    def __init__(
        self,
        address: Address,
        manifest: Manifest,
        rows: RowRange,
        reader: DirectReader,
        describe: Callable[[BaseException], StoreError],
    ) -> None:
        self._address, self._manifest, self._rows, self._reader = address, manifest, rows, reader
        self._describe = describe
        with read_errors(describe):
            table = reader.table(rows.fragment)
        self._blocks = BlockRows.of(manifest, rows, table)
        self.samples, self.offsets = self._blocks.samples, self._blocks.offsets
        self._checks = self._blocks.checks(manifest, check_seed(*address))
        if fault_of_samples(manifest, rows.fragment, self.samples, self._blocks.first) is not None:
            raise self._damaged()

    @classmethod
    def of_objects(
        cls,
        address: Address,
        manifest: Manifest,
        root: Mapping[str, Any],
        fragment: int,
        objects: Mapping[str, bytes],
    ) -> Self | None:
        """Return the rows of a whole fragment; None if only Zarr can decode it.

        Parameters
        ----------
        address, manifest, root
            Keys, manifest and ``data.zarr/zarr.json`` of the set, checked.
        fragment : int
            Number of the fragment.
        objects : mapping of str to bytes
            Objects of the fragment by path below ``data.zarr``.

        Raises
        ------
        DamagedError
            The objects cannot be decoded, or the decoded columns violate the format or contradict the manifest.
        """
        describe = partial(undecodable, fragment)
        with read_errors(describe):
            reader = FragmentDecoder(manifest, root).reader(fragment, objects)
        if not isinstance(reader, DirectReader):
            return None
        rows = RowRange(fragment, 0, len(manifest.rows(fragment)))
        return cls(address, manifest, rows, reader, describe)

    def pieces(self, name: str) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield a column chunk by chunk. The caller must take all of ``index``, then all of ``value``, and then call `finish`.

        Each chunk has been checked against the format, except that the largest index of each row is checked after the last chunk.

        Parameters
        ----------
        name : {"index", "value"}
            The column.

        Yields
        ------
        tuple of int and array
            Position of the chunk's first value among the values of these rows, and the values of the chunk. The array is valid until the next chunk is requested.

        Raises
        ------
        DamagedError, StoreError
            The values cannot be read or decoded, or the format or the manifest forbids them.
        """
        return self._index() if name == "index" else self._value()

    def finish(self) -> None:
        """Raise `StoreError` if the hashes of the rows differ from the stored hashes. Then the caller must discard all rows."""
        if not np.array_equal(self._checks.finish(), self._blocks.check):
            raise self._damaged()

    def _index(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        layout, filled = self._manifest.layout, self.samples["nnz"] > 0
        starts, ends = self.offsets[:-1][filled], self.offsets[1:][filled] - 1
        last = np.zeros(len(ends), layout.dtype("index"))  # of each row with non-zeros: its largest
        before: Any = 0
        for begins, piece in self._read("index"):
            if piece.dtype != last.dtype:
                raise self._damaged()
            self._checks.update(begins, piece)
            falls = np.flatnonzero(piece[1:] <= piece[:-1]) + (begins + 1)
            if begins and piece[0] <= before:
                falls = np.concatenate([[begins], falls])
            # An index falls only where a row begins.
            if not np.array_equal(starts[np.searchsorted(starts, falls, "right") - 1], falls):
                raise self._damaged()
            own = slice(*np.searchsorted(ends, [begins, begins + len(piece)]))
            last[own] = piece[ends[own] - begins]
            before = piece[-1]
            yield begins, piece
        bins = last.astype(np.uint64) // np.uint64(layout.site_count)
        if (
            int(last.max(initial=0)) > self._manifest.max_index
            or range_problem("index", last, last.dtype) is not None
            or (bins >= self.samples["n_bins"][filled].astype(np.uint64)).any()
        ):
            raise self._damaged()

    def _value(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        dtype = self._manifest.layout.dtype("value")
        for begins, piece in self._read("value"):
            if (
                piece.dtype != dtype
                or range_problem("value", piece, dtype) is not None
                or not (piece.min() > 0 if dtype.kind == "u" else piece.all())
                or largest_value(piece) > self._manifest.max_value
            ):
                raise self._damaged()
            self._checks.update(begins, piece)
            yield begins, piece

    def _read(self, name: str) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        # An error of the loop that uses the pieces is not raised here, so it is not taken for an error of reading.
        rows = self._rows
        with read_errors(self._describe):
            yield from self._reader.pieces(rows.fragment, name, rows.start, rows.stop)

    def _damaged(self) -> StoreError:
        fault = f"fragment {self._rows.fragment} has rows that the format or the manifest forbids"
        return self._describe(DamagedError(fault))
