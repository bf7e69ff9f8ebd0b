"""Time bins of batches: samples are cut after `truncate_to` bins, and padded to exactly `pad_to` or at least `pad_at_least` bins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from spikestore.store.trust.narrow_rows import NarrowRows
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import plural
from spikestore.train.data.arguments import whole_number
from spikestore.train.data.packed import PackedColumns

_Columns = TypeVar("_Columns", PackedColumns, NarrowRows)


@dataclass(frozen=True, slots=True)
class Padding:
    """The arguments `pad_to`, `pad_at_least` and `truncate_to` of a loader or data set, after their check.

    Attributes
    ----------
    pad_to : int, optional
        Time bins of every batch or item.
    pad_at_least : int
        Smallest number of time bins of a batch or item; 0 for no minimum.
    truncate_to : int, optional
        Time bins after which each sample is cut.
    of : str
        Name of the set, for messages.
    """

    pad_to: int | None = None
    pad_at_least: int = 0
    truncate_to: int | None = None
    of: str = ""

    def bins(self, longest: int) -> int:
        """Return the time bins of a batch whose longest sample has `longest` bins."""
        return max(longest, self.pad_at_least) if self.pad_to is None else self.pad_to


def checked_padding(
    pad_to: int | None,
    pad_at_least: int | None,
    truncate_to: int | None,
    *,
    longest: int,
    of: str = "the set",
) -> Padding:
    """Return the arguments as `Padding`.

    Parameters
    ----------
    pad_to, pad_at_least, truncate_to : int, optional
        The arguments of the user.
    longest : int
        Time bins of the longest sample of the set.
    of : str
        Name of the set, for messages, because a training run has several sets.

    Raises
    ------
    UsageError
        An argument is not a positive whole number; both `pad_to` and `pad_at_least` are given; `truncate_to` is more than
        `longest`; or `pad_to` is less than `truncate_to`, or, without `truncate_to`, less than `longest`.
    """
    if truncate_to is not None:
        truncate_to = whole_number("truncate_to", truncate_to, 1)
        if truncate_to > longest:
            raise UsageError(
                f"truncate_to is {truncate_to}, but the longest sample of {of} has {plural(longest, 'time bin')}: lower truncate_to, "
                "or use pad_at_least to make batches longer",
                field="truncate_to",
            )
        longest = truncate_to
    if pad_at_least is not None:
        pad_at_least = whole_number("pad_at_least", pad_at_least, 1)
    if pad_to is not None:
        pad_to = whole_number("pad_to", pad_to, 1)
        if pad_at_least is not None:
            raise UsageError(
                "pad_to and pad_at_least cannot be combined: remove one of the two", field="pad_to"
            )
        if pad_to < longest:
            raise UsageError(
                f"pad_to is {pad_to}, but the longest sample of {of} has {plural(longest, 'time bin')}{' after truncate_to' if truncate_to else ''}: "
                f"raise pad_to, {'lower' if truncate_to else 'pass'} truncate_to, or crop in the transform",
                field="pad_to",
            )
    return Padding(pad_to, pad_at_least or 0, truncate_to, of)


def truncated(columns: _Columns, bins: int | None, site_count: int) -> _Columns:
    """Return the samples with only their first `bins` time bins; if `bins` is None, return the object `columns` itself.

    Parameters
    ----------
    columns : PackedColumns or NarrowRows
        The samples.
    bins : int, optional
        Time bins to keep, from the first.
    site_count : int
        Number of sites of a time bin.
    """
    if bins is None:
        return columns
    kept = columns.index < np.int64(min(bins * site_count, np.iinfo(np.int64).max))
    dropped = np.flatnonzero(~kept)
    cut: dict[str, Any] = {
        "index": columns.index[kept],
        "value": columns.value[kept],
        "offsets": columns.offsets - np.searchsorted(dropped, columns.offsets),
        "n_bins": np.minimum(columns.n_bins, bins),
    }
    return replace(columns, **cut)
