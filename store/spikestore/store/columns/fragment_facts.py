"""Facts about the rows of a fragment: the numbers and hashes that its record and its ``check`` contain."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.digest import block_checks, block_digests, check_seed
from spikestore.store.columns.samples import SampleColumns, largest_index, largest_value
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.record import SkippedRow
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.layout import BLOCK, SKIPPED_LABEL, Layout


class FragmentFacts(NamedTuple):
    """Numbers and hashes of the rows of a fragment."""

    check: npt.NDArray[np.uint64]
    """Hashes of the blocks for ``check``, shape (blocks,)."""
    blocks: tuple[str, ...]
    """SHA-256 (hex) of each block."""
    nnz: int
    """Non-zeros of all rows."""
    max_index: int
    """Largest index; 0 without non-zeros."""
    max_value: float
    """Largest value, or largest absolute value of real numbers; 0 without non-zeros."""

    @classmethod
    def of(cls, columns: SampleColumns, layout: Layout, address: Address, rows: range) -> Self:
        """Return the facts about rows of a set; `columns` must have the stored dtypes (`SampleColumns.as_stored`)."""
        return cls(
            check=block_checks(columns, layout, check_seed(*address), rows.start // BLOCK),
            blocks=tuple(block_digests(columns, layout)),
            nnz=len(columns.index),
            max_index=largest_index(columns),
            max_value=largest_value(columns.value),
        )


def without_values(samples: dict[str, npt.NDArray[Any]], layout: Layout) -> SampleColumns:
    """Return the columns in `samples` (one value per sample) as `SampleColumns` with empty ``index`` and ``value``."""
    extras = {name: samples[name] for name in layout.extras}
    return SampleColumns(
        index=np.empty(0, layout.dtype("index")),
        value=np.empty(0, layout.dtype("value")),
        **{name: samples[name] for name in ("nnz", "n_bins", "label")},
        extras=extras,
    )


def refuse_filled_skips(rows: range, columns: SampleColumns, skipped: tuple[SkippedRow, ...]) -> None:
    """Raise `UsageError` unless the rows in `skipped` ascend, belong to the fragment, and have label -1, no non-zeros and no bins."""
    numbers = [each.row for each in skipped]
    if numbers != sorted(set(numbers)) or not all(number in rows for number in numbers):
        raise UsageError("skipped rows must ascend and belong to their fragment")
    positions = np.array(numbers, np.int64) - rows.start
    filled = columns.nnz[positions].any() or columns.n_bins[positions].any()
    if filled or (columns.label[positions] != SKIPPED_LABEL).any():
        raise UsageError("a skipped row must have label -1, no non-zeros and no bins")
