"""Observers of a scan: values of each sample and site, histograms, hashes of samples, and chosen samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from spikestore.pipeline.reporting.facts.scan import Piece, summed

SMALL = 2**16
"""Numbers below this are counted in an array, larger ones in a dictionary."""


REAL_BINS = 80
"""Number of parts into which the range of real numbers is divided; half of the parts are negative."""


class SampleEvents:
    """Sum of the values of each sample: the number of events in its frames. For real numbers, the sum of the absolute values."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[np.float64]] = []

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        events, filled = np.zeros(len(piece)), piece.columns.nnz > 0
        # Starts of samples without non-zeros are left out: reduceat would give them the value at their start.
        events[filled] = np.add.reduceat(piece.absolute, piece.offsets[:-1][filled], dtype=np.float64)
        self._parts.append(events)

    @property
    def events(self) -> npt.NDArray[np.float64]:
        """Number of events of each sample; for real numbers, sum of the absolute values. Shape (rows,)."""
        return np.concatenate(self._parts)


class SiteEvents:
    """Sums the values of all samples and time bins for each site (polarity, [y,] x). For real numbers, it sums the absolute values.

    Parameters
    ----------
    site_count : int
        Number of sites.
    """

    def __init__(self, site_count: int) -> None:
        self.events = np.zeros(site_count)
        """Number of events at each site; for real numbers, sum of the absolute values. Shape (sites,)."""

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        self.events += summed(piece.site, piece.absolute, len(self.events))


class Histogram:
    """Counts how often each whole number occurs; the numbers are at least 0."""

    def __init__(self) -> None:
        self._small = np.zeros(SMALL, np.int64)
        self._large: dict[int, int] = {}

    def count(self, numbers: npt.NDArray[Any]) -> None:
        """Add the numbers of an array to the counts."""
        if len(numbers) and int(numbers.max()) >= SMALL:
            large, times = np.unique(numbers[numbers >= SMALL], return_counts=True)
            for number, count in zip(large.tolist(), times.tolist(), strict=True):
                self._large[number] = self._large.get(number, 0) + count
            numbers = numbers[numbers < SMALL]
        counts = np.bincount(numbers.astype(np.int64))
        self._small[: len(counts)] += counts

    def counts(self) -> dict[int, int]:
        """Return each counted number with how often it occurs, in ascending order of the numbers."""
        small = {int(number): int(self._small[number]) for number in np.flatnonzero(self._small)}
        return small | dict(sorted(self._large.items()))

    def entropy(self) -> float:
        """Return the order-0 entropy in bits: the mean length of an ideal code that knows only how often each number occurs."""
        times = np.array([*self._small[self._small > 0].tolist(), *self._large.values()], np.float64)
        share = times / max(times.sum(), 1.0)
        return float(-(share * np.log2(share)).sum()) + 0.0


class ColumnHistograms:
    """Histograms of the counts, and of the differences between successive indices of a sample, which the store encodes instead of the indices."""

    def __init__(self) -> None:
        self.values = Histogram()
        self.gaps = Histogram()

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        columns = piece.columns
        if columns.value.dtype.kind == "u":
            self.values.count(columns.value)
        gaps = np.diff(columns.index.astype(np.int64), prepend=0)
        first = piece.offsets[:-1][columns.nnz > 0]
        gaps[first] = columns.index[first]
        self.gaps.count(gaps)


class RealHistogram:
    """Histogram of the values of a set of real numbers: `REAL_BINS` equal bins over a range. Sets of counts are ignored.

    Parameters
    ----------
    largest : float
        Largest absolute value. The range is from -`largest` to `largest`.
    """

    def __init__(self, largest: float) -> None:
        self.edges = np.linspace(-largest, largest, REAL_BINS + 1)
        """Edges of the parts, shape (parts + 1,)."""
        self.counts = np.zeros(REAL_BINS, np.int64)
        """Number of values in each part, shape (parts,). The last part includes its upper edge."""

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        if piece.columns.value.dtype.kind == "f":
            self.counts += np.histogram(piece.columns.value.astype(np.float64), self.edges)[0]


class Contents:
    """Hash of the frames of each sample; equal frames have equal hashes, whatever their labels are."""

    def __init__(self) -> None:
        self._hashes: list[int] = []

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        index, value = (np.ascontiguousarray(column) for column in (piece.columns.index, piece.columns.value))
        hashed = xxhash.xxh3_64_intdigest
        for first, last, bins in zip(
            piece.offsets[:-1].tolist(),
            piece.offsets[1:].tolist(),
            piece.columns.n_bins.tolist(),
            strict=True,
        ):
            seed = hashed(index[first:last].tobytes(), seed=bins)
            self._hashes.append(hashed(value[first:last].tobytes(), seed=seed))

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """Hash of each sample, shape (rows,)."""
        return np.array(self._hashes, np.uint64)


@dataclass(frozen=True, eq=False)
class KeptSample:
    """The frames of one sample: places and values of its non-zeros, number of bins, class."""

    row: int
    index: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    n_bins: int
    label: int


class KeptRows:
    """The frames of some chosen rows.

    Parameters
    ----------
    rows : iterable of int
        The rows, in any order.
    """

    def __init__(self, rows: Iterable[int]) -> None:
        self._rows = np.array(sorted(set(rows)), np.int64)
        self.samples: dict[int, KeptSample] = {}

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""
        first, last = np.searchsorted(self._rows, [piece.first_row, piece.first_row + len(piece)])
        columns = piece.columns
        for row in self._rows[first:last].tolist():
            place = row - piece.first_row
            non_zeros = slice(int(piece.offsets[place]), int(piece.offsets[place + 1]))
            self.samples[row] = KeptSample(
                row,
                columns.index[non_zeros].astype(np.int64),
                columns.value[non_zeros].astype(np.float64),
                int(columns.n_bins[place]),
                int(columns.label[place]),
            )
