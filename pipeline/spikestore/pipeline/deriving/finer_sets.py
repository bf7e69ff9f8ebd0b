"""Search the store and upstreams for a finer set. Summing its cells gives the frames of a new set of the same source."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from spikestore.pipeline.deriving.finer_rows import FinerRows
from spikestore.pipeline.deriving.nesting import rebinning_of
from spikestore.pipeline.growing.former_rows import FormerSet
from spikestore.pipeline.growing.former_sets import without_files
from spikestore.pipeline.readers.event_block import are_few
from spikestore.store.columns.event_counts import EVENT_COLUMNS
from spikestore.store.feature_set import FeatureSet
from spikestore.store.rebinning.rebinning import Rebinning, has_whole_times
from spikestore.store.selection import sets_of_source
from spikestore.store.sharing.acceptance import refuse_other_totals
from spikestore.store.store import Store
from spikestore.store.trust.documents import RecordTotals
from spikestore.store.upstreams import Upstreams
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.layout import layout_of
from spikestore.store_schemas.specs.transform import Transform

logger = logging.getLogger(__name__)


class _Candidate(NamedTuple):
    features: FeatureSet
    rebinning: Rebinning


def find_finer_rows(
    store: Store, upstreams: Upstreams, address: Address, transform: Transform, *, label: str
) -> FinerRows | None:
    """Return the rows of a new set that can be computed from a finer set; None if no finer set gives more than half of the rows.

    Sets of the store are tried first, then sets of all upstreams. Within each of these two groups, sets with fewer non-zeros
    are tried first.

    Parameters
    ----------
    store : Store
        The store, which is searched first.
    upstreams : Upstreams
        Stores to search next.
    address : Address
        Keys of the new set.
    transform : Transform
        Transform of the new set.
    label : str
        Name of the new set in messages.
    """
    own = sets_of_source(store.storage, address.source_key)
    others = upstreams.sets_of_source(store, address.source_key, label=label)
    for sets, trusted in ((own, True), (others, False)):
        for candidate in sorted(_nested(sets, transform), key=lambda each: each.features.manifest.nnz):
            try:
                rows = _rows(candidate, transform, trusted=trusted)
            except StoreError as error:
                logger.warning(
                    "%s is not derived from %s: %s", label, candidate.features.address.short, error
                )
                continue
            if 2 * np.count_nonzero(rows.available) > len(rows.available):
                return rows
    return None


def _nested(sets: Iterable[FeatureSet], transform: Transform) -> Iterator[_Candidate]:
    """Yield each set whose counts can be summed to the counts of the set of `transform`."""
    for features in sets:
        layout = features.layout
        if (
            set(EVENT_COLUMNS) <= set(layout.extras)
            and has_whole_times(features.manifest.source)
            and features.manifest.transform.key != transform.key
        ):
            rebinning = rebinning_of(features.manifest.transform, transform, has_y="y" in layout.axes)
            if isinstance(rebinning, Rebinning):
                yield _Candidate(features, rebinning)


def _rows(candidate: _Candidate, transform: Transform, *, trusted: bool) -> FinerRows:
    """Return the rows of the new set that can be computed from a finer set: a set of the same source with shorter time bins or more sites.

    Raises
    ------
    StoreError
        The finer set is damaged, or cannot be read.
    """
    features, rebinning = candidate
    if not trusted:
        totals = RecordTotals()
        for fragment in range(len(features.manifest.fragments)):
            totals.add(features.record(fragment))
        refuse_other_totals(features, totals)
    n_bins, n_dropped = features.column("n_bins"), features.column("n_dropped")
    determined = rebinning.has_all_events(n_bins, n_dropped)
    determined &= rebinning.n_bins(n_bins) <= transform.max_bins
    determined[[skipped.row for skipped in features.manifest.skipped]] = False
    layout = layout_of(
        transform,
        has_y="y" in features.layout.axes,
        classes=features.classes,
        extras=features.layout.extras,
    )
    return FinerRows(
        sets=(FormerSet(features.address.short, "", without_files(features)),),
        set_of=np.where(determined, 0, -1).astype(np.int16),
        row_of=np.arange(len(features)),
        rebinning=rebinning,
        layout=layout,
        compiled=not are_few(features.manifest.nnz),
        compares_digests=not trusted,
    )
