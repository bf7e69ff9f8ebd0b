"""Compiled loops for what augmentations draw on the CPU: what `random_bits` and `mixtures` compute in torch, to the last bit.

A batch draws a few numbers for each of its samples. In torch, a hash of 128 numbers is eleven small operations, and starting them
takes much longer than computing them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spikestore.store.numba_cache import cached_njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
STEP = np.uint64(0x9E3779B97F4A7C15)
FACTORS = (-1.0, 1 / 2, -1 / 6, 1 / 24, -1 / 120, 1 / 720)
"""Taylor's series of exp(-v), after the first term, for `density_at`."""
FAR, HALVINGS = 700.0, 10
"""exp(-u) is computed for u up to 700, near the smallest number of float64, as the 2^10-th power of exp(-u / 2^10)."""
_SMALL = 2.0**-HALVINGS
_F1, _F2, _F3, _F4, _F5, _F6 = FACTORS
_11, _27, _30, _31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call, without the GIL; its machine code is cached on disk."""
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


@compiled
def mixed(key: np.uint64) -> np.uint64:
    """Return a key with mixed bits, by the last step of SplitMix64."""
    key = (key ^ (key >> _30)) * _FIRST
    key = (key ^ (key >> _27)) * _SECOND
    return key ^ (key >> _31)


@compiled
def redraw(bits: _Int64s, first: int, out: _Int64s) -> None:
    """Fill `out`, shape (count, samples), with other bits for each sample: those of the numbers from `first` on."""
    for number in range(len(out)):
        for sample in range(len(bits)):
            key = np.uint64(bits[sample]) ^ np.uint64(first + number)
            out[number, sample] = np.int64(mixed(key + STEP))


@compiled
def whole_numbers(bits: _Int64s, counts: _Int64s, out: _Int64s) -> None:
    """Fill `out` with whole numbers below `counts`, which are repeated."""
    for place in range(len(bits)):
        out[place] = np.int64((np.uint64(bits[place]) >> _11) % np.uint64(counts[place % len(counts)]))


@compiled
def are_below(bits: _Int64s, numbers: _Int64s, out: npt.NDArray[np.bool_]) -> None:
    """Fill `out` with whether 53 random bits are below `numbers`, which are repeated."""
    for place in range(len(bits)):
        out[place] = np.int64(np.uint64(bits[place]) >> _11) < numbers[place % len(numbers)]


@compiled
def uniform_numbers(bits: _Int64s, out: _Float64s) -> None:
    """Fill `out` with numbers from 0 to 1, without 1."""
    for place in range(len(bits)):
        out[place] = float(np.int64(np.uint64(bits[place]) >> _11)) * 2.0**-53


@compiled
def exp_of_negative(value: float) -> float:
    """Return exp(-value) as `FACTORS` and `FAR` say."""
    small = min(value, FAR) * _SMALL
    power = ((((_F6 * small + _F5) * small + _F4) * small + _F3) * small + _F2) * small + _F1
    power = power * small + 1.0
    for _ in range(HALVINGS):
        power = power * power
    return power


@compiled
def density_at(region: _Float64s, bin: int, row: int, column: int) -> float:
    """Return the density of a region at a place; see `density`."""
    total = 0.0
    for first in range(1, len(region), 7):
        if region[first] == 0.0:
            continue
        far_t, far_y, far_x = bin - region[first + 1], row - region[first + 2], column - region[first + 3]
        exponent = far_t * far_t * region[first + 4]
        exponent = exponent + far_y * far_y * region[first + 5]
        exponent = exponent + far_x * far_x * region[first + 6]
        total = total + region[first] * exp_of_negative(exponent)
    return total


@compiled
def densities(regions: _Float64s, bins: _Int64s, rows: _Int64s, columns: _Int64s, out: _Float64s) -> None:
    """Fill `out` with the densities of regions, one for each place."""
    for place in range(len(out)):
        out[place] = density_at(regions[place], bins[place], rows[place], columns[place])
