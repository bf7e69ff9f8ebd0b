"""Whole fragments that are checked chunk by chunk, for a set that takes a fragment with its stored bytes from another set.

Whole columns of a fragment are larger than the processor's cache, and new memory of their size costs page faults. Here each decoded chunk is
checked and hashed while it is in the cache, and nothing is kept. As in `narrow_rows`, faults are not described: a caller that gets
an error reads the rows with `FeatureSet.read`, whose error names the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import BlockChecks, BlockHashes, check_seed
from spikestore.store.columns.reader import DirectReader, FragmentDecoder, FragmentTable
from spikestore.store.columns.samples import largest_value, range_problem
from spikestore.store.trust.rows import fault_of_samples
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK


class Largest(NamedTuple):
    """Largest numbers of a fragment; 0 without non-zeros."""

    max_index: int
    max_value: float


class ScannedFragment:
    """A fragment of a committed set; `opened` returns it.

    Attributes
    ----------
    samples : dict of str to array
        All columns with one value per sample, shape (samples,), checked.
    offsets : int64 array, shape (samples + 1,)
        Start of each sample's non-zeros, and the end.
    """

    def __init__(self, address: Address, manifest: Manifest, fragment: int, reader: DirectReader) -> None:
        self._address, self._manifest, self._fragment, self._reader = address, manifest, fragment, reader
        self._table: FragmentTable = reader.table(fragment)
        self.samples, self.offsets = self._table.columns, self._table.offsets
        first = manifest.rows(fragment).start
        wrong_dtype = any(
            column.dtype != manifest.layout.dtype(name) for name, column in self.samples.items()
        )
        if wrong_dtype or fault_of_samples(manifest, fragment, self.samples, first) is not None:
            raise self._damaged()

    @classmethod
    @contextmanager
    def opened(
        cls,
        address: Address,
        manifest: Manifest,
        root: Mapping[str, Any],
        fragment: int,
        objects: Mapping[str, bytes],
    ) -> Iterator[Self | None]:
        """Yield a fragment; None if only Zarr can decode it.

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
            The objects cannot be decoded, also inside of the ``with`` block; or the format or the manifest forbids the columns.
        """
        with FragmentDecoder(manifest, root).opened(fragment, objects) as reader:
            yield cls(address, manifest, fragment, reader) if isinstance(reader, DirectReader) else None

    def scan(
        self, hashes: Sequence[BlockHashes], see_index: Callable[[npt.NDArray[Any]], None] = lambda _: None
    ) -> Largest:
        """Decode and check all values, and return the largest.

        Parameters
        ----------
        hashes : sequence of BlockHashes
            Hashes to which all values are added.
        see_index : callable
            Called with each piece of ``index``; the piece is valid only during the call.

        Raises
        ------
        DamagedError
            The values differ from the stored hashes, or the format or the manifest forbids them.
        """
        manifest = self._manifest
        first_block = manifest.rows(self._fragment).start // BLOCK
        seed = check_seed(*self._address)
        checks = BlockChecks(self.samples, self.offsets, manifest.layout, seed, first_block)
        index = self._scan_index([checks, *hashes], see_index)
        value = self._scan_value([checks, *hashes])
        if not np.array_equal(checks.finish(), self._table.check):
            raise self._damaged()
        return Largest(index, value)

    def _scan_index(
        self, hashes: Sequence[BlockHashes], see_index: Callable[[npt.NDArray[Any]], None]
    ) -> int:
        layout, filled = self._manifest.layout, self.samples["nnz"] > 0
        starts, ends = self.offsets[:-1][filled], self.offsets[1:][filled] - 1
        last = np.zeros(len(ends), layout.dtype("index"))  # of each row with non-zeros: its largest
        before: Any = 0
        for begins, piece in self._pieces("index"):
            if piece.dtype != last.dtype:
                raise self._damaged()
            for each in hashes:
                each.update(begins, piece)
            see_index(piece)
            falls = np.flatnonzero(piece[1:] <= piece[:-1]) + (begins + 1)
            if begins and piece[0] <= before:
                falls = np.concatenate([[begins], falls])
            # An index falls only where a row begins.
            if not np.array_equal(starts[np.searchsorted(starts, falls, "right") - 1], falls):
                raise self._damaged()
            own = slice(*np.searchsorted(ends, [begins, begins + len(piece)]))
            last[own] = piece[ends[own] - begins]
            before = piece[-1]
        bins = last.astype(np.uint64) // np.uint64(layout.site_count)
        largest = int(last.max(initial=0))
        if (
            largest > self._manifest.max_index
            or range_problem("index", last, last.dtype) is not None
            or (bins >= self.samples["n_bins"][filled].astype(np.uint64)).any()
        ):
            raise self._damaged()
        return largest

    def _scan_value(self, hashes: Sequence[BlockHashes]) -> float:
        dtype, largest = self._manifest.layout.dtype("value"), 0.0
        for begins, piece in self._pieces("value"):
            for each in hashes:
                each.update(begins, piece)
            if (
                piece.dtype != dtype
                or range_problem("value", piece, dtype) is not None
                or not (piece.min() > 0 if dtype.kind == "u" else piece.all())
            ):
                raise self._damaged()
            largest = max(largest, largest_value(piece))
        if largest > self._manifest.max_value:
            raise self._damaged()
        return largest

    def _pieces(self, name: str) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        return self._reader.pieces(self._fragment, name, 0, len(self.offsets) - 1)

    def _damaged(self) -> DamagedError:
        return DamagedError(f"fragment {self._fragment} has rows that the format or the manifest forbids")
