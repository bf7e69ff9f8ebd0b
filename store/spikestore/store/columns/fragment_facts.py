"""Facts about the rows of a fragment: the numbers and hashes in its record and in its array ``check``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import SkippedRow
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.layout import SKIPPED_LABEL, Layout
from spikestore.store_schemas.wording import plural


class FragmentFacts(NamedTuple):
    """Counts, maxima and hashes of the rows of a fragment."""

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


_FIRST_LOOK = 4096
"""Number of indices to check first: these nearly always have more than one site."""


class SiteRange:
    """Tells whether indices, which are added piece by piece, have one site or several.

    `range` has two numbers. If all indices have the same site, both numbers are this site; otherwise they differ.

    Parameters
    ----------
    count : int
        Number of sites of a frame.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.range: tuple[int, int] | None = None
        """Smallest and largest site; None if there are no indices. If the two are not equal, there are several sites, and the two may be inexact."""

    def add(self, index: npt.NDArray[Any]) -> None:
        """Extend `range` to the sites of these indices. Once `range` contains two different sites, indices are ignored."""
        for part in (index[:_FIRST_LOOK], index):
            if len(part) and (self.range is None or self.range[0] == self.range[1]):
                site = part % self._count
                known = self.range or (int(site[0]), int(site[0]))
                self.range = min(known[0], int(site.min())), max(known[1], int(site.max()))


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


def refuse_many_values(plan: Plan, fragment: int, nnz: int) -> None:
    """Raise `UsageError` if a fragment has more non-zeros than the plan of its build allows."""
    if nnz > plan.shard_values:
        raise UsageError(
            f"fragment {fragment} has {plural(nnz, 'non-zero')}, more than the {plan.shard_values:,} that the "
            "plan allows: look for a recording that changed after the build was planned, and build again with --restart"
        )
