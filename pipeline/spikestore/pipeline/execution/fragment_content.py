"""Summary of the samples of a fragment, for the report of degenerate sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spikestore.store.columns.fragment_encoder import EncodedFragment
from spikestore.store_schemas.layout import SKIPPED_LABEL


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


def content_of(fragment: EncodedFragment) -> FragmentContent:
    """Return the summary of the samples of a fragment."""
    samples = fragment.samples
    label = np.asarray(samples.label)
    labels = label[label != SKIPPED_LABEL]
    silent = (label != SKIPPED_LABEL) & (samples.nnz == 0) & (samples.extras["n_events"] > 0)
    return FragmentContent(
        recordings=len(labels),
        without_events=int(np.count_nonzero(silent)),
        labels=(int(labels.min()), int(labels.max())) if len(labels) else None,
        sites=fragment.sites,
        bins=int(samples.n_bins.sum(dtype=np.int64)),
        nnz=fragment.facts.nnz,
    )
