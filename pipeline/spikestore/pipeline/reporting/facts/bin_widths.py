"""Results for several bin widths, from some samples: non-zeros, bytes, density, memory, accuracy of a linear read-out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spikestore.pipeline.reporting.facts.linear import dual_accuracy, site_groups
from spikestore.pipeline.reporting.facts.observers import Histogram, KeptSample
from spikestore.pipeline.reporting.facts.scan import summed
from spikestore.store.columns.packed_size import dtypes_for

FACTORS = (1, 2, 4, 8, 16)
"""Bin widths that are tried, as multiples of the bin width of the set."""

FITTED, TESTED = 600, 300
"""Maximum number of samples to which the read-out is fitted, and with which it is tested."""

MOST_INPUTS = 2**16
"""Maximum number of inputs of the read-out: with all samples, they take 236 MB."""

_SITES = 64
"""Maximum number of groups of neighbouring sites (`site_groups`) for the read-out; time has its full resolution."""


@dataclass(frozen=True)
class BinWidth:
    """Results for one bin width.

    Attributes
    ----------
    factor : float
        Bin width, as a multiple of the bin width of the set.
    samples : int
        Number of samples from which the results were computed.
    non_zeros : float
        Mean number of non-zeros of a sample.
    stored_bytes : float
        Mean bytes of a sample in the store, estimated from the entropy of the values and of the gaps between indices.
    density : float
        Share of the values in the dense frames that are not 0.
    device_bytes : float
        Mean bytes of the packed non-zeros of a sample on the training device.
    accuracy : float, optional
        Share of test samples whose class the read-out finds; None if it was not computed.
    """

    factor: float
    samples: int
    non_zeros: float
    stored_bytes: float
    density: float
    device_bytes: float
    accuracy: float | None


def spread(rows: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the rows, evenly spaced."""
    if len(rows) <= count:
        return [*rows]
    return [rows[place] for place in np.linspace(0, len(rows) - 1, count).astype(int).tolist()]


def coarser(sample: KeptSample, factor: int, site_count: int) -> KeptSample:
    """Return a sample whose bins are the sums of `factor` neighbouring bins; the last bin may be the sum of fewer bins."""
    if factor == 1:
        return sample
    time_bin, site = np.divmod(sample.index, site_count)
    index, place = np.unique(time_bin // factor * site_count + site, return_inverse=True)
    value = summed(place, sample.value, len(index))
    return replace(sample, index=index, value=value, n_bins=-(-sample.n_bins // factor))


def result_for(
    factor: float, fitted: Sequence[KeptSample], tested: Sequence[KeptSample], sites: tuple[int, ...]
) -> BinWidth:
    """Return sizes, density and read-out accuracy for samples with one bin width.

    Parameters
    ----------
    factor : float
        Bin width, as a multiple of the bin width of the set.
    fitted, tested : sequence of KeptSample
        Samples to fit the read-out with (at least one), and other samples to test it with.
    sites : tuple of int
        Sizes (polarity, [y,] x).
    """
    samples, site_count = [*fitted, *tested], int(np.prod(sites))
    non_zeros = sum(len(sample.index) for sample in samples)
    places = sum(sample.n_bins for sample in samples) * site_count
    largest_index = max(int(sample.index.max(initial=0)) for sample in samples)
    largest_value = max(int(sample.value.max(initial=0)) for sample in samples)
    a_value = sum(dtype.itemsize for dtype in dtypes_for(largest_index, largest_value))
    gaps, values = Histogram(), Histogram()
    gaps.count(np.concatenate([np.diff(sample.index, prepend=0) for sample in samples]))
    values.count(np.concatenate([sample.value for sample in samples]))
    bits = non_zeros * (gaps.entropy() + values.entropy())
    return BinWidth(
        factor=factor,
        samples=len(samples),
        non_zeros=non_zeros / len(samples),
        stored_bytes=bits / 8 / len(samples),
        density=non_zeros / max(places, 1),
        device_bytes=non_zeros * a_value / len(samples),
        accuracy=_accuracy(fitted, tested, sites),
    )


def _accuracy(
    fitted: Sequence[KeptSample], tested: Sequence[KeptSample], sites: tuple[int, ...]
) -> float | None:
    groups = site_groups(sites, _SITES)
    n_bins = max(sample.n_bins for sample in [*fitted, *tested])
    inputs = n_bins * groups.number
    if not tested or inputs > MOST_INPUTS or len({sample.label for sample in fitted}) < 2:
        return None
    site_count = int(np.prod(sites))

    def matrix(samples: Iterable[KeptSample]) -> Any:
        rows = []
        for sample in samples:
            time_bin, site = np.divmod(sample.index, site_count)
            counts = summed(time_bin * groups.number + groups.group[site], sample.value, inputs)
            rows.append(np.log1p(counts.astype(np.float32)))
        return np.stack(rows)

    def labels(samples: Iterable[KeptSample]) -> Any:
        return np.array([sample.label for sample in samples], np.int64)

    return dual_accuracy(matrix(fitted), labels(fitted), matrix(tested), labels(tested))
