"""Compiled loops that check a decoded chunk and convert it to narrower dtypes in one pass, while it is in the processor's cache.

The loops release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


@_compiled
def take_index(
    piece: npt.NDArray[Any],
    begins: int,
    before: np.uint64,
    offsets: npt.NDArray[np.int64],
    n_bins: npt.NDArray[np.uint64],
    sites: np.uint64,
    most: np.uint64,
    out: npt.NDArray[Any],
) -> bool:
    """Copy a piece of ``index`` to its place; return whether the piece is valid.

    The values must ascend within each row. The last value of each row that ends in the piece must be inside the row's frames, and at
    most `most`.

    Parameters
    ----------
    piece : unsigned integer array
        Consecutive values of the column, beginning with value number `begins`.
    begins : int
        Number of the piece's first value.
    before : uint64
        The value before the piece. It is not used if the piece begins at the start of a row.
    offsets : int64 array, shape (rows + 1,)
        Start of each row's values, ascending, and the end of the last row.
    n_bins : uint64 array, shape (rows,)
        Time bins of each row.
    sites : uint64
        Number of sites.
    most : uint64
        Largest index that is allowed.
    out : integer array
        Output: the values from place `begins` on, in the dtype of this array.
    """
    ends = begins + len(piece)
    if begins < 0 or ends > len(out) or len(n_bins) != len(offsets) - 1:
        return False
    # The last row that begins at `begins` or before. numba needs longer to compile np.searchsorted than all of this function.
    row, after = -1, len(offsets)
    while after - row > 1:
        middle = (row + after) // 2
        if offsets[middle] <= begins:
            row = middle
        else:
            after = middle
    if row < 0:
        return False
    falls = 0
    first = begins
    while first < ends and row < len(n_bins):
        last = min(offsets[row + 1], ends)
        if first < last:
            if first > offsets[row] and np.uint64(piece[first - begins]) <= before:
                return False
            # Slices from 0 on: only such loops are compiled to vector instructions.
            values, target = piece[first - begins : last - begins], out[first:last]
            for place in range(len(values)):
                target[place] = values[place]
            following = values[1:]
            for place in range(len(following)):
                falls += following[place] <= values[place]
            largest = np.uint64(values[-1])
            if last == offsets[row + 1] and (largest > most or largest // sites >= n_bins[row]):
                return False
            first = last
        row += 1
    return falls == 0 and first == ends


@_compiled
def take_value(piece: npt.NDArray[Any], begins: int, most: np.uint64, out: npt.NDArray[Any]) -> bool:
    """Copy a piece of ``value`` into `out`; return True if the piece fits into `out` and all values are from 1 to `most`.

    Parameters
    ----------
    piece : unsigned integer array
        Consecutive values of the column; at least one.
    begins : int
        Position of the piece's first value in `out`.
    most : uint64
        Largest value that is allowed.
    out : unsigned integer array
        Receives the values, in its own dtype.
    """
    if begins < 0 or begins + len(piece) > len(out) or not len(piece):
        return False
    lowest, highest = piece[0], piece[0]
    target = out[begins : begins + len(piece)]
    for place in range(len(piece)):
        target[place] = piece[place]
        lowest = min(lowest, piece[place])
        highest = max(highest, piece[place])
    return bool(lowest > 0 and np.uint64(highest) <= most)


@_compiled
def take_real(piece: npt.NDArray[np.float32], begins: int, most: float, out: npt.NDArray[np.float32]) -> bool:
    """Copy a piece of ``value`` to its place; return whether all its values are valid: not 0, from -`most` to `most`, and not NaN.

    If the piece does not fit into `out`, nothing is copied, and the result is False.

    Parameters
    ----------
    piece : float32 array
        Consecutive values of the column.
    begins : int
        Number of the first value of `piece` in the column, and its place in `out`.
    most : float
        Largest absolute value that is allowed.
    out : float32 array
        Memory for all requested values.
    """
    if begins < 0 or begins + len(piece) > len(out):
        return False
    valid = 0
    target = out[begins : begins + len(piece)]
    for place in range(len(piece)):
        target[place] = piece[place]
        size = abs(piece[place])
        valid += (size > 0) & (size <= most)  # both are false for NaN
    return bool(valid == len(piece))
