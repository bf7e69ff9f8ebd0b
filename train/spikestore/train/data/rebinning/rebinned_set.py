"""A coarser feature set: sums of neighbouring time bins and channels of a stored set, computed when samples are read. Nothing is stored."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet, SampleColumns
from spikestore.store.columns.event_counts import EVENT_COLUMNS
from spikestore.store.rebinning.rebinning import Rebinning, has_whole_times, sums_problem, uniform_sites
from spikestore.store.trust.narrow_rows import Empty, NarrowRows
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.layout import FILL
from spikestore.store_schemas.wording import plural
from spikestore.train.data.arguments import whole_number

logger = logging.getLogger(__name__)


class RebinnedSet(FeatureSet):
    """The coarser set that `preprocess` would build with longer time bins and fewer channels, computed from a finer set.

    Samples, labels and columns equal those of the coarser set, with one exception: if the last events of a sample are
    in no bin of the finer set, the computed sample lacks these events. A warning says how many samples this may affect. The
    number of non-zeros and the largest count in the manifest of a rebinned set are upper limits.

    Parameters
    ----------
    fine : FeatureSet
        The finer set.
    factors : tuple of int and int
        How many neighbouring time bins are summed, and how many neighbouring channels; with ``y``, the second number holds for both
        x and y. Both are at least 1 (`rebinned` checks this).

    Raises
    ------
    UsageError
        The sums might differ from the counts of the coarser set, or the second factor is above the number of channels.
    DamagedError
        Stored columns differ from the committed columns.
    """

    def __init__(self, fine: FeatureSet, factors: tuple[int, int]) -> None:
        self._fine, self._factors = fine, factors
        bins, channels = factors
        manifest, layout = fine.manifest, fine.layout
        self._rebinning = _rebinning_of(fine, bins, channels)
        sites = tuple(
            size if axis == "polarity" else -(-size // channels)
            for axis, size in zip(layout.axes[1:], layout.sites, strict=True)
        )
        summed = int(np.bincount(self._rebinning.site_of).max()) * bins
        most = int(FILL["uint32"]) - 1
        coarse = layout.model_copy(update={"sites": sites})
        (longest,) = self._rebinning.n_bins(np.array([manifest.n_bins])).tolist()
        limits = {
            "layout": coarse,
            "n_bins": longest,
            "max_index": max(longest * coarse.site_count - 1, 0),
            "max_value": float(min(int(manifest.max_value) * summed, most)),
        }
        super().__init__(fine.storage, fine.address, manifest.model_copy(update=limits))
        self._report_lost_events()

    def __reduce__(self) -> tuple[Any, ...]:
        return RebinnedSet, (self._fine, self._factors)

    def __repr__(self) -> str:
        return f"{self._fine!r} with rebin={self._factors}"

    @property
    def digest(self) -> str:
        """Hash of the finer set's digest and of the factors. No stored set has this digest."""
        return hashlib.sha256(f"{self._fine.digest} {self._factors}".encode()).hexdigest()

    def read(self, start: int = 0, stop: int | None = None) -> SampleColumns:
        """Return rows in which neighbouring time bins and channels are summed, in the form of `FeatureSet.read`."""
        return self._rebinning.rows(self._fine.read(start, stop), self.layout)

    def read_narrow(
        self,
        start: int,
        stop: int,
        dtypes: tuple[np.dtype[Any], np.dtype[Any]],
        empty: Empty | None = None,
    ) -> NarrowRows:
        """Return the result of `read` in smaller dtypes; see `FeatureSet.read_narrow`. `empty` is not used."""
        del empty
        return NarrowRows.of(self.read(start, stop), dtypes)

    def fragments(self) -> Iterator[SampleColumns]:
        """Yield all summed rows, one checked fragment at a time."""
        for columns in self._fine.fragments():
            yield self._rebinning.rows(columns, self.layout)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a per-sample column of the whole set. For ``nnz`` and ``n_dropped``, all rows of the finer set are read and rebinned."""
        if name in {"nnz", "n_dropped"}:
            return np.concatenate([dict(part.in_order(self.layout))[name] for part in self.fragments()])
        column = self._fine.column(name)
        return self._rebinning.n_bins(column).astype(column.dtype) if name == "n_bins" else column

    def _report_lost_events(self) -> None:
        n_bins, n_dropped = self._fine.column("n_bins"), self._fine.column("n_dropped")
        lost = ~self._rebinning.has_all_events(n_bins, n_dropped)
        if lost.any():
            logger.warning(
                "%r: %s of %s may lack events. The time bins of the stored set leave out %s, which longer bins may contain. "
                "To include such events, build a set with the longer bins: use spikestore preprocess",
                self,
                f"{np.count_nonzero(lost):,}",
                plural(len(self), "sample"),
                plural(int(n_dropped[lost].sum()), "event"),
            )


def rebinned(features: FeatureSet, rebin: object) -> FeatureSet:
    """Return the set with sums of neighbouring time bins and channels; the set itself if `rebin` is None or (1, 1).

    Raises
    ------
    UsageError
        `rebin` is not a pair of positive whole numbers; the second number is above the number of channels; or the sums might differ
        from the counts that `preprocess` would compute with such bins and channels.
    """
    if rebin is None:
        return features
    pair: Any = rebin
    try:
        if isinstance(pair, Set | Mapping):  # a set has no order
            raise TypeError
        bins, channels = pair
    except (TypeError, ValueError):
        raise UsageError(
            f"rebin must be two numbers, the time bins and the channels to sum, such as (4, 7), got {rebin!r}",
            field="rebin",
        ) from None
    factors = whole_number("rebin", bins, 1), whole_number("rebin", channels, 1)
    return features if factors == (1, 1) else RebinnedSet(features, factors)


def _rebinning_of(fine: FeatureSet, bins: int, channels: int) -> Rebinning:
    """Return how the cells of `fine` (a cell is a pair of time bin and site) are summed; errors are those of `RebinnedSet`."""
    transform, layout = fine.manifest.transform, fine.layout
    problem = sums_problem(transform, bins)
    if problem is None and not set(EVENT_COLUMNS) <= set(layout.extras):
        problem = f"it has no event counts (columns {', '.join(EVENT_COLUMNS)})"
    elif problem is None and not has_whole_times(fine.manifest.source):
        problem = "it is not certain that the times of its recordings are whole microseconds"
    elif problem is None and channels > layout.sites[-1]:
        problem = f"it has only {plural(layout.sites[-1], 'channel')}"
    if problem is not None:
        raise UsageError(
            f"{fine!r} cannot be loaded with rebin=({bins}, {channels}): {problem}", field="rebin"
        )
    along = [1 if axis == "polarity" else channels for axis in layout.axes[1:]]
    keeps = transform.to_frame.include_incomplete
    # No row has more than max_bins bins, so more bins than this in a sum have the same effect.
    return Rebinning(min(bins, transform.max_bins + 1), uniform_sites(layout.sites, along), keeps, keeps)
