"""The facts that one scan of a split collects, for the sections of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.reporting.facts.observers import ColumnHistograms, KeptSample, RealHistogram
from spikestore.store import FeatureSet
from spikestore.store.plots.time_axis import time_axis
from spikestore.store_schemas.specs.transform import Transform


@dataclass(frozen=True, eq=False)
class SetFacts:
    """Facts about one split.

    Attributes
    ----------
    features : FeatureSet
        The set.
    columns : mapping of str to array, shape (rows,) each
        The columns with one value for each sample: ``nnz``, ``n_bins``, ``label`` and the optional columns.
    events : float64 array, shape (rows,)
        Sum of the values of each sample. For real numbers, the sum of the absolute values.
    site_events : float64 array, shape (sites,)
        Sum of the values at each site (position on all axes after time). For real numbers, the sum of the absolute values.
    histograms : ColumnHistograms
        Histograms of the values, and of the gaps between indices.
    real_values : RealHistogram
        Histogram of the values of a set of real numbers; all its numbers are 0 for a set of counts.
    hashes : uint64 array, shape (rows,)
        Hash of the frames of each sample.
    samples : mapping of int to KeptSample
        By row: the frames of the rows that the scan was asked to keep.
    """

    features: FeatureSet
    columns: Mapping[str, npt.NDArray[Any]]
    events: npt.NDArray[np.float64]
    site_events: npt.NDArray[np.float64]
    histograms: ColumnHistograms
    real_values: RealHistogram
    hashes: npt.NDArray[np.uint64]
    samples: Mapping[int, KeptSample]

    @property
    def is_real(self) -> bool:
        """Whether the values are real numbers instead of counts."""
        return self.features.manifest.transform.float_operation is not None

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Whether a row is a sample, and not a skipped recording: shape (rows,)."""
        return kept_rows(self.features)


def kept_rows(features: FeatureSet) -> npt.NDArray[np.bool_]:
    """Return, for each row, whether it is a sample and not a skipped recording: shape (rows,)."""
    kept = np.ones(len(features), bool)
    kept[features.manifest.skipped_rows(range(len(features)))] = False
    return kept


def bin_ms(transform: Transform) -> float | None:
    """Return the time from the start of a bin to the start of the next bin, in ms; None if this time differs between samples.

    It is measured in the times of the recordings, before ``downsample`` and ``time_skew`` change them.
    """
    axis = time_axis(transform)
    return axis.step if axis.unit == "ms" else None
