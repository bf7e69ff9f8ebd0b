"""Differences between the samples of two feature sets, for the recordings that both sets have."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet

_Int64s = npt.NDArray[np.int64]

ROWS = 1024
"""Maximum number of rows that are read at a time."""


class Totals(NamedTuple):
    """Sums over the samples of one of two sets, for the recordings that both sets have."""

    non_zeros: int
    counts: float
    """Sum of all values: the number of events in frames of counts."""
    bins: int
    skipped: int


@dataclass(frozen=True)
class SampleDifferences:
    """Differences between the samples of two sets, for the recordings that both sets have.

    Attributes
    ----------
    recordings : int
        Recordings that both sets have.
    only_first, only_second : int
        Recordings that only the first set has, and recordings that only the second set has.
    equal : int, optional
        Recordings with equal frames in both sets; None if the frames of the two sets have other axes, or other sizes of
        the axes after time.
    other_labels : int
        Recordings whose class name differs between the sets.
    first, second : Totals
        Sums over the recordings that both sets have.
    """

    recordings: int
    only_first: int
    only_second: int
    equal: int | None
    other_labels: int
    first: Totals
    second: Totals


def common_rows(first: FeatureSet, second: FeatureSet) -> tuple[_Int64s, _Int64s] | None:
    """Return the row numbers, in each set, of the recordings that both sets have, shape (recordings,) each; None if the recordings cannot be matched.

    Recordings can be matched in two cases. If the same reader read both sets from the same files or items, rows with equal numbers
    are the same recording. If, in both sets, each recording is a file of its own, files with equal contents are the same recording.
    Several files with equal contents are matched one to one.
    """
    ours, theirs = first.manifest.source, second.manifest.source
    if (ours.reader, ours.dataset, ours.split, ours.files, ours.items) == (
        theirs.reader,
        theirs.dataset,
        theirs.split,
        theirs.files,
        theirs.items,
    ):
        rows = np.arange(min(len(first), len(second)))
        return rows, rows
    if not (len(ours.files) == len(first) and len(theirs.files) == len(second)):
        return None
    rows_of: dict[str, deque[int]] = {}
    for row, file in enumerate(theirs.files):
        rows_of.setdefault(file.sha256, deque()).append(row)
    pairs = [
        (row, left.popleft()) for row, file in enumerate(ours.files) if (left := rows_of.get(file.sha256))
    ]
    matched = np.array(pairs, np.int64).reshape(-1, 2)
    return matched[:, 0], matched[:, 1]


def sample_differences(first: FeatureSet, second: FeatureSet) -> SampleDifferences | None:
    """Return how two sets differ in the samples of the recordings that both have; None if it is not known which recordings both have.

    Only the rows of these recordings are read; see `common_rows`.

    Raises
    ------
    DamagedError, MissingObjectError, StoreError
        See `FeatureSet.read`.
    """
    matched = common_rows(first, second)
    if matched is None:
        return None
    rows, others = matched
    same_frames = (first.layout.axes, first.layout.sites) == (second.layout.axes, second.layout.sites)
    sums = np.zeros((2, 4))
    equal = other_labels = 0
    for start, stop in _groups(rows, others):
        ours, theirs = _read(first, rows[start:stop]), _read(second, others[start:stop])
        sums += [ours.sums(), theirs.sums()]
        other_labels += sum(one != other for one, other in zip(ours.labels, theirs.labels, strict=True))
        if same_frames:
            equal += sum(ours.same_frames(theirs, number) for number in range(stop - start))
    totals = [Totals(int(one[0]), float(one[1]), int(one[2]), int(one[3])) for one in sums]
    return SampleDifferences(
        recordings=len(rows),
        only_first=len(first) - len(rows),
        only_second=len(second) - len(rows),
        equal=equal if same_frames else None,
        other_labels=other_labels,
        first=totals[0],
        second=totals[1],
    )


@dataclass(frozen=True, eq=False)
class _Samples:
    """Some samples of a set: the columns that contain them; and for each sample, the start and end of its non-zeros, its number of bins and its class name."""

    columns: SampleColumns
    begins: _Int64s
    ends: _Int64s
    bins: _Int64s
    labels: list[str | None]
    """None for a skipped recording."""

    def sums(self) -> list[float]:
        """Return the sums over these samples, in the order of the fields of `Totals`."""
        added = np.concatenate([[0.0], np.cumsum(self.columns.value, dtype=np.float64)])
        counts = float((added[self.ends] - added[self.begins]).sum())
        return [int((self.ends - self.begins).sum()), counts, int(self.bins.sum()), self.labels.count(None)]

    def same_frames(self, other: _Samples, number: int) -> bool:
        """Return whether a sample has the same number of bins and the same non-zeros in both sets."""
        ours, theirs = (slice(one.begins[number], one.ends[number]) for one in (self, other))
        return (
            bool(self.bins[number] == other.bins[number])
            and np.array_equal(self.columns.index[ours], other.columns.index[theirs])
            and np.array_equal(self.columns.value[ours], other.columns.value[theirs])
        )


def _read(features: FeatureSet, rows: _Int64s) -> _Samples:
    low = int(rows.min())
    columns = features.read(low, int(rows.max()) + 1)
    within, offsets = rows - low, columns.offsets()
    return _Samples(
        columns=columns,
        begins=offsets[within],
        ends=offsets[within + 1],
        bins=columns.n_bins[within].astype(np.int64),
        labels=[None if label < 0 else features.classes[label] for label in columns.label[within].tolist()],
    )


def _groups(rows: _Int64s, others: _Int64s) -> Iterator[tuple[int, int]]:
    """Divide the pairs of rows into groups of consecutive pairs, and yield start and stop of each group.

    To compare a group, at most `ROWS` rows of each set are read.
    """
    start = 0
    while start < len(rows):
        stop = min(start + ROWS, len(rows))
        for side in (rows, others):
            wide = np.maximum.accumulate(side[start:stop]) - np.minimum.accumulate(side[start:stop]) >= ROWS
            if wide.any():
                stop = start + int(wide.argmax())
        yield start, stop
        start = stop
