"""Sequences of a variable-length HDF5 dataset, read in blocks as one column."""

from __future__ import annotations

from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt


class Sequences(NamedTuple):
    """Consecutive sequences of one HDF5 dataset.

    Attributes
    ----------
    lengths : int64 array, shape (sequences,)
        Number of values of each sequence.
    values : array, shape (sum of lengths,)
        The values of all sequences, one sequence after the other.
    """

    lengths: npt.NDArray[np.int64]
    values: npt.NDArray[Any]

    def offsets(self) -> npt.NDArray[np.int64]:
        """Return the start of each sequence in `values`, and the end of the last sequence: int64, shape (sequences + 1,)."""
        return offsets_of(self.lengths)


def offsets_of(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return 0 and the cumulative sums of lengths: int64, shape (len(lengths) + 1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def element_type(dataset: Any) -> np.dtype[Any]:
    """Return the type of the values in a variable-length dataset's sequences."""
    element: np.dtype[Any] = np.dtype(h5py.check_vlen_dtype(dataset.dtype))
    return element


def read_sequences(dataset: Any, start: int, stop: int) -> Sequences:
    """Return the sequences ``start`` to ``stop - 1``, read by h5py.

    Parameters
    ----------
    dataset : h5py.Dataset, shape (n,)
        A dataset of a variable-length type.
    start, stop : int
        Rows, ``0 <= start <= stop <= n``.

    Raises
    ------
    OSError, RuntimeError, ValueError, TypeError
        The file is damaged.
    """
    sequences = dataset[start:stop].tolist()
    lengths = np.fromiter(map(len, sequences), np.int64, stop - start)
    # The empty array determines the type if there is no sequence.
    return Sequences(lengths, np.concatenate([np.empty(0, element_type(dataset)), *sequences]))
