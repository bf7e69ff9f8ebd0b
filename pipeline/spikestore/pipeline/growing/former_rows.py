"""Rows that a new set takes from committed sets: a task reads these rows from the committed sets instead of reading the recordings.

Every row passes the checks of `FeatureSet.read`. If rows cannot be read, `FormerRows.read` returns the reason instead of these
rows, and the task reads their recordings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.layout import BLOCK

SPAN_VALUES = 4_000_000
"""Approximate maximum number of non-zeros that are decoded at once."""


class FormerSet(NamedTuple):
    """A committed set from which a new set can take rows if the two sets have some of the same recordings."""

    label: str
    """Name of the set in messages: ``NAME:SPLIT``, or the beginnings of its keys if it was not found by name."""
    split: str
    """Split under the name; empty for a set that was not found by name."""
    features: FeatureSet


class RowRun(NamedTuple):
    """Consecutive rows of a new set."""

    first: int
    """Number of the first row in the new set."""
    columns: SampleColumns
    """The rows. In results of `FormerRows.read`, labels and the reader's columns are those of the former set."""

    @property
    def rows(self) -> range:
        """The rows in the new set."""
        return range(self.first, self.first + len(self.columns))


@dataclass(frozen=True, slots=True, eq=False)
class FormerRows:
    """Positions of the rows of a new set in committed sets.

    Attributes
    ----------
    sets : tuple of FormerSet
        Committed sets of the same transform. To keep tasks small, the source in their manifests may list only
        its first file (`without_files`).
    set_of : int16 array, shape (rows,)
        For each row of the new set, the position in `sets` of the set that has the row; -1 if no set has the row.
    row_of : int64 array, shape (rows,)
        For each row of the new set, the number of the row in that committed set.
    first_row : int
        Row of the new set to which the first entries of `set_of` and `row_of` belong. It is 0, except in a result of `part`.
    """

    kind: ClassVar[str] = "a committed set"
    """Kind of the sets in messages."""
    derives: ClassVar[bool] = False
    """Whether the rows are computed from the rows of a finer set, without the recordings."""
    share_of_time: ClassVar[float] = 0.2
    """Approximate time to take a row, as a share of the time to read and transform its recording."""
    sets: tuple[FormerSet, ...]
    set_of: npt.NDArray[np.int16]
    row_of: npt.NDArray[np.int64]
    first_row: int = 0

    @property
    def available(self) -> npt.NDArray[np.bool_]:
        """For each row of the new set, whether one of `sets` has it: bool array, shape (rows,)."""
        return self.set_of >= 0

    @property
    def provenance(self) -> dict[str, Any] | None:
        """None: the manifest records a set from which rows are computed (`FinerRows`), but not the sets from which rows are copied."""
        return None

    def describe(self) -> str:
        """Return a text with the names of the sets from which rows are taken, and the beginnings of their digests."""
        used = [self.sets[number] for number in np.unique(self.set_of[self.available])]
        return " and ".join(f"{label}@{features.digest[:12]}" for label, _, features in used)

    def part(self, rows: range) -> FormerRows:
        """Return a smaller copy for a task: `set_of` and `row_of` have entries only for `rows` of the new set."""
        own = slice(rows.start - self.first_row, rows.stop - self.first_row)
        return replace(self, set_of=self.set_of[own], row_of=self.row_of[own], first_row=rows.start)

    def read(self, rows: range) -> tuple[list[RowRun], list[str]]:
        """Return the rows with the numbers `rows` in the new set; rows that no committed set has are left out.

        Returns
        -------
        runs : list of RowRun
            The rows, ascending.
        problems : list of str
            Reasons why rows could not be read; these rows are not in `runs`.
        """
        part = self.part(rows)
        runs: list[RowRun] = []
        problems = []
        for number, (_, _, features) in enumerate(self.sets):
            wanted = np.flatnonzero(part.set_of == number)
            wanted = wanted[np.argsort(part.row_of[wanted], kind="stable")]
            for span in _spans(part.row_of[wanted], features.manifest):
                new, old = wanted[span], part.row_of[wanted[span]]
                start, stop = int(old[0]), int(old[-1]) + 1
                try:
                    columns = self._rows_of(features, start, stop)
                except StoreError as error:
                    problems.append(str(error))
                    continue
                runs += _runs(columns, rows.start + new, old - start)
        return sorted(runs, key=lambda run: run.first), problems

    def _rows_of(self, features: FeatureSet, start: int, stop: int) -> SampleColumns:
        """Return rows of one fragment of a set; errors are those of `FeatureSet.read`."""
        return features.read(start, stop)


def _spans(rows: npt.NDArray[np.int64], manifest: Manifest) -> Iterator[slice]:
    """Yield slices of ascending rows of a set, so that each slice can be read at once.

    The rows of a slice are in one fragment, and together have at most about `SPAN_VALUES` non-zeros. From each row of a slice to the next,
    the row number rises by less than `BLOCK`.
    """
    most = max(1, SPAN_VALUES * manifest.samples // max(manifest.nnz, 1) // BLOCK) * BLOCK
    begin = 0
    while begin < len(rows):
        fragment, inside = divmod(int(rows[begin]), manifest.fragment_samples)
        limit = min(inside // BLOCK * BLOCK + most, manifest.fragment_samples)
        end = int(np.searchsorted(rows, fragment * manifest.fragment_samples + limit))
        gaps = np.flatnonzero(np.diff(rows[begin:end]) >= BLOCK)
        end = begin + int(gaps[0]) + 1 if len(gaps) else end
        yield slice(begin, end)
        begin = end


def _runs(columns: SampleColumns, new: npt.NDArray[np.int64], old: npt.NDArray[np.int64]) -> Iterator[RowRun]:
    """Yield runs of rows of `columns`. For each row, `old` has its position in `columns`, and `new` has its number in the new set. In a run, the numbers in `old` are consecutive, and so are those in `new`."""
    breaks = np.flatnonzero((np.diff(new) != 1) | (np.diff(old) != 1)) + 1
    for begin, end in itertools.pairwise([0, *breaks.tolist(), len(new)]):
        run = columns.rows(int(old[begin]), int(old[end - 1]) + 1)
        # A view would keep all decoded rows in memory.
        yield RowRun(int(new[begin]), run if 2 * len(new) >= len(columns) else _copy(run))


def _copy(columns: SampleColumns) -> SampleColumns:
    return SampleColumns(
        index=columns.index.copy(),
        value=columns.value.copy(),
        nnz=columns.nnz,
        n_bins=columns.n_bins,
        label=columns.label,
        extras=columns.extras,
    )
