"""Whole blocks of rows of a fragment, for code that decodes and checks ``index`` and ``value`` chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import BlockChecks
from spikestore.store.columns.reader import FragmentTable
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.layout import BLOCK


@dataclass(frozen=True)
class RowRange:
    """Whole blocks of rows of one fragment: rows `start` to `stop` (exclusive), counted from the fragment's first row."""

    fragment: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class BlockRows:
    """Per-sample columns and stored hashes of whole blocks of rows; the arrays are shared and must not be changed.

    Attributes
    ----------
    samples : dict of str to array
        All columns with one value per row, shape (rows,).
    offsets : int64 array, shape (rows + 1,)
        Start of each row's non-zeros, and the end of the last row's non-zeros; the first row starts at 0.
    check : uint64 array, shape (blocks,)
        Stored hashes.
    first : int
        Number of the first row, counted from the first row of the set.
    """

    samples: dict[str, npt.NDArray[Any]]
    offsets: npt.NDArray[np.int64]
    check: npt.NDArray[np.uint64]
    first: int

    @classmethod
    def of(cls, manifest: Manifest, rows: RowRange, table: FragmentTable) -> BlockRows:
        """Return rows of the fragment whose table is `table`."""
        return cls(
            samples={name: column[rows.start : rows.stop] for name, column in table.columns.items()},
            offsets=table.offsets[rows.start : rows.stop + 1] - table.offsets[rows.start],
            check=table.check[rows.start // BLOCK : -(-rows.stop // BLOCK)],
            first=manifest.rows(rows.fragment).start + rows.start,
        )

    def checks(self, manifest: Manifest, seed: int) -> BlockChecks:
        """Return the unfinished hashes of the blocks; they cover only the per-sample columns.

        The caller adds ``index`` and ``value``, then calls `BlockChecks.finish`. `seed` is the result of `check_seed`.
        """
        return BlockChecks(self.samples, self.offsets, manifest.layout, seed, self.first // BLOCK)
