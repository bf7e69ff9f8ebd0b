"""Compiled loop that turns fine rows into coarse rows: it sums cells. A cell is a pair of time bin and site.

The sums of one coarse time bin stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spikestore.store.bit_operations import trailing_zeros
from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_U64, _ONE, _SIX = np.uint64, np.uint64(1), np.uint64(6)


def _compiled(function: _Function) -> _Function:
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


@_compiled
def sum_cells(
    index: npt.NDArray[Any],
    value: npt.NDArray[np.uint32],
    offsets: npt.NDArray[np.int64],
    n_bins: npt.NDArray[np.int64],
    bins: np.uint64,
    site_of: npt.NDArray[np.uint32],
    sites: np.uint64,
    out_index: npt.NDArray[Any],
    out_value: npt.NDArray[np.uint32],
    nnz: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
) -> int:
    """Sum the cells of each row into coarse cells; return the number of coarse non-zeros. A cell is a pair of time bin and site.

    Parameters
    ----------
    index, value : arrays, shape (non-zeros,)
        Non-zeros of the fine rows; the index increases within a row.
    offsets : int64 array, shape (rows + 1,)
        Start of each row's non-zeros, and the end of the last row's.
    n_bins : int64 array, shape (rows,)
        Number of coarse time bins of each row.
    bins : uint64
        Number of fine time bins in a coarse time bin.
    site_of : uint32 array, shape (fine sites,)
        Coarse site of each fine site.
    sites : uint64
        Number of coarse sites.
    out_index, out_value : arrays, shape (non-zeros,)
        Output: the coarse non-zeros, row after row.
    nnz, after : int64 arrays, shape (rows,)
        Output: number of coarse non-zeros of each row, and sum of the values after the row's last coarse time bin;
        `after` must be 0 before the call.
    """
    fine_sites = _U64(len(site_of))
    counts = np.zeros(sites, np.uint32)
    marks = np.zeros((sites + _U64(63)) >> _SIX, np.uint64)  # one bit per site
    filled = 0
    for row in range(len(n_bins)):
        begins, place, last = filled, offsets[row], offsets[row + 1]
        limit = _U64(n_bins[row]) * bins * fine_sites
        while place < last and _U64(index[place]) < limit:
            fine_bin = _U64(index[place]) // fine_sites
            coarse_bin = fine_bin // bins
            # The cells of this coarse bin; `base` is the first cell of the current fine bin.
            base, end = fine_bin * fine_sites, (coarse_bin + _ONE) * bins * fine_sites
            low: Any = len(marks)
            high: Any = 0
            while place < last and _U64(index[place]) < end:
                site = _U64(index[place]) - base
                if site >= fine_sites:
                    skipped = site // fine_sites * fine_sites
                    base, site = base + skipped, site - skipped
                coarse = site_of[site]
                word: Any = np.int64(coarse >> 6)
                counts[coarse] += value[place]
                marks[word] |= _ONE << _U64(coarse & 63)
                low, high = min(low, word), max(high, word)
                place += 1
            for word in range(low, high + 1):
                marked = marks[word]
                marks[word] = 0
                while marked != 0:
                    site = (_U64(word) << _SIX) + trailing_zeros(marked)
                    out_index[filled] = coarse_bin * sites + site
                    out_value[filled] = counts[site]
                    counts[site] = 0
                    filled += 1
                    marked &= marked - _ONE
        nnz[row] = filled - begins
        for rest in range(place, last):
            after[row] += value[rest]
    return filled
