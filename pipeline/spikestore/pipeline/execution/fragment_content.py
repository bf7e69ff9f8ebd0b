"""Summary of the samples of a fragment, for the report of degenerate sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.layout import SKIPPED_LABEL, Layout


class FragmentContent(NamedTuple):
    """Summary of the samples of one fragment, for the report of degenerate sets; it is not stored."""

    recordings: int
    """Number of recordings that were not skipped."""
    without_events: int
    """Number of recordings that have events, but no event in a time bin."""
    labels: tuple[int, int] | None
    """Smallest and largest label; None if all recordings were skipped."""
    sites: tuple[int, int] | None
    """Smallest and largest site with a count; None if there are no counts. They are exact only if they are equal."""
    bins: int
    """Number of time bins of all samples together."""
    nnz: int
    """Number of non-zeros of all samples together."""


_FIRST_LOOK = 4096
"""Number of non-zeros to check first: these nearly always have more than one site."""


def content_of(columns: SampleColumns, layout: Layout) -> FragmentContent:
    """Return the summary of the samples of a fragment."""
    label = np.asarray(columns.label)
    labels = label[label != SKIPPED_LABEL]
    silent = (label != SKIPPED_LABEL) & (columns.nnz == 0) & (columns.extras["n_events"] > 0)
    sites: tuple[int, int] | None = None
    for part in (columns.index[:_FIRST_LOOK], columns.index):
        if len(part) and (sites is None or sites[0] == sites[1]):
            site = part % layout.site_count
            sites = int(site.min()), int(site.max())
    return FragmentContent(
        recordings=len(labels),
        without_events=int(np.count_nonzero(silent)),
        labels=(int(labels.min()), int(labels.max())) if len(labels) else None,
        sites=sites,
        bins=int(columns.n_bins.sum(dtype=np.int64)),
        nnz=len(columns.index),
    )
