"""Summary of the samples of a fragment, for warnings about sets that are valid but probably a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store.columns.fragment_encoder import EncodedFragment
from spikestore.store.columns.fragment_facts import SiteRange
from spikestore.store_schemas.layout import SKIPPED_LABEL


class FragmentContent(NamedTuple):
    """Summary of the samples of one fragment, for warnings about sets that are probably a mistake; it is not stored."""

    fragment: int
    """Number of the fragment in its set."""
    recordings: int
    """Number of recordings that were not skipped."""
    without_events: int
    """Number of recordings that have events, but no event in a time bin."""
    labels: tuple[int, int] | None
    """Smallest and largest label; None if all recordings were skipped."""
    sites: tuple[int, int] | None
    """Smallest and largest site with a count; None if there are no counts. If the two are not equal, there are several sites, and the two may be inexact."""
    bins: int
    """Number of time bins of all samples together."""
    nnz: int
    """Number of non-zeros of all samples together."""


def content_of(fragment: int, content: EncodedFragment) -> FragmentContent:
    """Return the summary of the samples of a fragment; `fragment` is its number."""
    samples = content.samples
    columns = (np.asarray(samples.label), samples.nnz, samples.n_bins, samples.extras["n_events"])
    return _summary(fragment, *columns, sites=content.sites)


def stored_contents(features: FeatureSet, fragments: Sequence[int]) -> list[FragmentContent]:
    """Return summaries of fragments of a set. Only columns with one value per sample are read, so `sites` is None in each summary; use `stored_sites` for the sites.

    Raises
    ------
    StoreError
        Stored data cannot be read, are missing, or differ from the committed data.
    """
    if not fragments:
        return []
    columns = [features.column(name) for name in ("label", "nnz", "n_bins", "n_events")]
    rows = {fragment: features.manifest.rows(fragment) for fragment in fragments}
    return [
        _summary(fragment, *(column[own.start : own.stop] for column in columns), sites=None)
        for fragment, own in rows.items()
    ]


def stored_sites(features: FeatureSet, fragment: int) -> tuple[int, int] | None:
    """Return `FragmentContent.sites` of a fragment of a set. All non-zeros of the fragment are read.

    Raises
    ------
    StoreError
        Stored data cannot be read, are missing, or differ from the committed data.
    """
    rows, sites = features.manifest.rows(fragment), SiteRange(features.layout.site_count)
    sites.add(features.read(rows.start, rows.stop).index)
    return sites.range


def _summary(
    fragment: int,
    label: npt.NDArray[np.integer],
    nnz: npt.NDArray[np.integer],
    n_bins: npt.NDArray[np.integer],
    n_events: npt.NDArray[np.integer],
    *,
    sites: tuple[int, int] | None,
) -> FragmentContent:
    used = label != SKIPPED_LABEL
    labels = label[used]
    return FragmentContent(
        fragment=fragment,
        recordings=len(labels),
        without_events=int(np.count_nonzero(used & (nnz == 0) & (n_events > 0))),
        labels=(int(labels.min()), int(labels.max())) if len(labels) else None,
        sites=sites,
        bins=int(n_bins.sum(dtype=np.int64)),
        nnz=int(nnz.sum(dtype=np.int64)),
    )
