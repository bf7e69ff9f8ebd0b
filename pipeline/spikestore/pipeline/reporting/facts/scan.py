"""One pass over the samples of a feature set, during which observers collect statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet, SampleColumns
from spikestore.store.progress import UnlabelledProgress

PIECE_ROWS = 1024
PIECE_VALUES = 2**20
"""Approximate maximum number of rows and of non-zeros that are processed together; arrays of this size stay in the processor's cache."""


class Piece:
    """Consecutive rows of a set.

    Parameters
    ----------
    first_row : int
        Row of the first sample of the piece, counted in the set.
    columns : SampleColumns
        Columns of these rows.
    site_count : int
        Number of sites of a frame.
    """

    def __init__(self, first_row: int, columns: SampleColumns, site_count: int) -> None:
        self.first_row = first_row
        self.columns = columns
        self._site_count = site_count

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Start of each sample's non-zeros, and the end: shape (rows + 1,)."""
        return self.columns.offsets()

    @cached_property
    def time_bin(self) -> npt.NDArray[Any]:
        """Time bin of each non-zero, shape (non-zeros,)."""
        index = self.columns.index
        bins: npt.NDArray[Any] = index // index.dtype.type(self._site_count)
        return bins

    @cached_property
    def site(self) -> npt.NDArray[np.int64]:
        """Site of each non-zero, shape (non-zeros,)."""
        index = self.columns.index
        sites: npt.NDArray[Any] = index - self.time_bin * index.dtype.type(self._site_count)
        return sites.astype(np.int64)

    @cached_property
    def absolute(self) -> npt.NDArray[Any]:
        """Absolute value of each non-zero, shape (non-zeros,)."""
        value = self.columns.value
        return np.abs(value) if value.dtype.kind == "f" else value

    @cached_property
    def row(self) -> npt.NDArray[np.int64]:
        """For each non-zero, the number of its row in this piece: shape (non-zeros,)."""
        return np.repeat(np.arange(len(self)), self.columns.nnz)


def summed(place: npt.NDArray[np.int64], value: npt.NDArray[Any], places: int) -> npt.NDArray[np.float64]:
    """Return the sum of the values at each place, shape (places,)."""
    return np.bincount(place, value, places).astype(np.float64, copy=False)


class Observer(Protocol):
    """Collects statistics from the pieces of a set, which come in the order of rows."""

    def add(self, piece: Piece) -> None:
        """Process the next piece of the set."""


def scan(features: FeatureSet, observers: Sequence[Observer], progress: UnlabelledProgress) -> None:
    """Read and check a set once, and pass all rows to the observers.

    Raises
    ------
    DamagedError
        A stored object differs from the committed one; the message names the object.
    """
    done = 0
    for columns in features.fragments():
        for start, stop in _pieces(columns.nnz):
            piece = Piece(done + start, columns.rows(start, stop), features.layout.site_count)
            for observer in observers:
                observer.add(piece)
        done += len(columns)
        del columns, piece  # before the next fragment is decoded
        progress(done, len(features))


def _pieces(nnz: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield first row and end of pieces with at most `PIECE_ROWS` rows and `PIECE_VALUES` non-zeros; a larger sample is a piece of its own."""
    ends = np.cumsum(nnz, dtype=np.int64)
    start = before = 0
    while start < len(nnz):
        stop = int(np.searchsorted(ends, before + PIECE_VALUES, "right"))
        stop = min(max(stop, start + 1), start + PIECE_ROWS, len(nnz))
        yield start, stop
        start, before = stop, int(ends[stop - 1])
