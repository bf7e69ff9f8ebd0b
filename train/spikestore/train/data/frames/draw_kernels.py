"""Compiled loops that draw random numbers for augmentations on the CPU, for `random_bits` and `mixtures`.

The numbers are hashes. A batch needs few of them, and torch would need eleven operations for a hash: starting an operation takes
much longer than computing so few numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from spikestore.store.numba_cache import cached_njit
from spikestore.train.data import splitmix

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]

_FIRST, _SECOND = map(np.uint64, splitmix.MULTIPLIERS)
STEP = np.uint64(splitmix.STEP)
FACTORS = (-1.0, 1 / 2, -1 / 6, 1 / 24, -1 / 120, 1 / 720)
"""Coefficients of the Taylor series of exp(-v) after the first term, for `density_at`."""
HALVINGS = 10
"""exp(-u) is computed as the 2^10-th power of exp(-u / 2^10)."""
_SMALL = 2.0**-HALVINGS
EVENT_BITS, EVENTS_OF_BITS = 21, 3
"""Random bits that decide about one event, and number of events that 64 random bits decide about."""
_EVENT_MASK = np.uint64(2**EVENT_BITS - 1)
NEAR = 2.0**-15
"""If the density at a place differs from the threshold of a region by at most this share of the threshold, `density_at` decides
whether the place is in the region, because the densities of tables have errors.

A factor in a table has at most the error of `exp_of_negative`, which is 2.7e-6 at an exponent of 200; a density has three factors.
"""
_FEW, _SPAN = 32, 512
"""Number of places of an axis below which exponentials are as fast as products; number of places after which a new series of
products begins, because errors add up in a series."""
_F1, _F2, _F3, _F4, _F5, _F6 = FACTORS
_1, _2, _3, _11, _22, _27, _30, _31, _43 = map(np.uint64, (1, 2, 3, 11, 22, 27, 30, 31, 43))


def compiled(function: _Function) -> _Function:
    """Return a function that is compiled at its first call, and runs without the GIL.

    The machine code is cached for other processes if the cache folder is writable.
    """
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


@compiled
def mixed(key: np.uint64) -> np.uint64:
    """Return a hash of a key: the last step of SplitMix64, in which each bit depends on all bits of the key."""
    key = (key ^ (key >> _30)) * _FIRST
    key = (key ^ (key >> _27)) * _SECOND
    return key ^ (key >> _31)


@compiled
def events_below(bits: np.uint64, number: np.uint64, events: Any) -> Any:
    """Return how many of at most three events have random bits below `number`. Each event has 21 of the 64 `bits`: the first event has the highest 21, the second event the next 21."""
    below = np.int64((bits >> _43) < number) & np.int64(events > 0)
    below += np.int64(((bits >> _22) & _EVENT_MASK) < number) & np.int64(events > 1)
    below += np.int64(((bits >> _1) & _EVENT_MASK) < number) & np.int64(events > 2)
    return below


@compiled
def redraw(bits: _Int64s, first: int, out: _Int64s) -> None:
    """Fill `out`, shape (count, samples), with new random bits: row i is made from `bits` and the number `first` + i."""
    for number in range(len(out)):
        for sample in range(len(bits)):
            key = np.uint64(bits[sample]) ^ np.uint64(first + number)
            out[number, sample] = np.int64(mixed(key + STEP))


@compiled
def whole_number(bits: int, count: int) -> int:
    """Return a whole number below `count`, made from random bits."""
    return np.int64((np.uint64(bits) >> _11) % np.uint64(count))  # type: ignore[return-value]


@compiled
def uniform_number(bits: int) -> float:
    """Return a number of at least 0 and below 1, made from random bits."""
    return float(np.int64(np.uint64(bits) >> _11)) * 2.0**-53


@compiled
def whole_numbers(bits: _Int64s, counts: _Int64s, out: _Int64s) -> None:
    """Make whole numbers of at least 0 and below `counts` from random `bits`, and write them to `out`; `counts` is repeated if it is shorter than `bits`."""
    for place in range(len(bits)):
        out[place] = whole_number(bits[place], counts[place % len(counts)])


@compiled
def are_below(bits: _Int64s, numbers: _Int64s, out: npt.NDArray[np.bool_]) -> None:
    """Fill `out`: True where the highest 53 of the 64 random `bits`, as a whole number, are below `numbers`. If `numbers` is shorter than `bits`, it is repeated."""
    for place in range(len(bits)):
        out[place] = np.int64(np.uint64(bits[place]) >> _11) < numbers[place % len(numbers)]


@compiled
def uniform_numbers(bits: _Int64s, out: _Float64s) -> None:
    """Fill `out` with one number for each of `bits`, at least 0 and below 1; see `uniform_number`."""
    for place in range(len(bits)):
        out[place] = uniform_number(bits[place])


@compiled
def draw_masks(bits: _Int64s, widths: _Int64s, sizes: _Int64s, number: int, out: _Int64s) -> None:
    """Fill `out` with a random mask for each sample: ``widths[i]`` adjacent time bins or sites out of ``sizes[i]``, for sample i.

    Each mask is one number, which encodes the first time bin or site and the width; see `mask_of`. A mask is empty with the probability
    1 - `number` / 2^53.
    """
    for sample in range(len(bits)):
        start = mixed(np.uint64(bits[sample]) + STEP)
        width = widths[sample] if np.int64(mixed(start + STEP) >> _11) < number else 0
        first = np.int64((start >> _11) % np.uint64(sizes[sample] - widths[sample] + 1))
        out[sample] = (first << 31) | width


@compiled
def draw_cut_times(bits: _Int64s, lengths: _Int64s, masks: _Int64s, shares: _Float64s) -> None:
    """Fill `masks` with the time bins to cut, as `mask_of` encodes them, and `shares` with the share of each sample's time that stays; both have the shape (samples,).

    The number of bins to cut is rounded down; the share is not rounded. `bits`, shape (2, samples), are the random bits for the size of the cut part and for its place.
    """
    for sample in range(len(lengths)):
        part = uniform_number(bits[0, sample])
        bins = int(part * lengths[sample])
        first = whole_number(bits[1, sample], max(lengths[sample] - bins, 1))
        masks[sample] = (first << 31) | bins
        shares[sample] = 1.0 - part


@compiled
def draw_cut_boxes(bits: _Int64s, sizes: _Int64s, masks: _Int64s, shares: _Float64s) -> None:
    """Fill `masks`, shape (2, samples), with rectangles, and `shares` with the share of the sensor's area that stays.

    A rectangle is a mask along x and a mask along y, each as `mask_of` returns it. `sizes` are the sizes of the sensor along x
    and y.

    `bits`, shape (3, samples), are the random bits of the area and of the centre along x and y. If a part of a
    rectangle is outside the sensor, this part is left out.
    """
    for sample in range(len(shares)):
        part, area = uniform_number(bits[0, sample]), 1.0
        for axis in range(2):
            half = int(sizes[axis] * np.sqrt(part)) // 2
            centre = whole_number(bits[1 + axis, sample], sizes[axis])
            first = max(centre - half, 0)
            width = min(centre + half, sizes[axis]) - first
            masks[axis, sample] = (first << 31) | width
            area = area * width
        shares[sample] = 1.0 - area / (sizes[0] * sizes[1])


@compiled
def draw_partners(
    chance: _Int64s, other: _Int64s, labels: _Int64s, others: bool, number: int, out: _Int64s
) -> None:
    """Fill `out` with the position of each sample's partner; -1 for a sample without a partner.

    The partner has the same label, or another label if `others` is true. A sample has a partner if 53 bits of `chance`
    are below `number` and the batch has a sample that can be the partner. If several samples can be the partner, the
    bits of `other` choose one of these samples.
    """
    counts = np.zeros(labels.max() + 1 if len(labels) else 0, np.int64)
    for label in labels:
        counts[label] += 1
    ends = np.cumsum(counts)
    # Samples of one label, side by side.
    order, places, free = np.empty(len(labels), np.int64), np.empty(len(labels), np.int64), ends - counts
    for sample in range(len(labels)):
        places[sample] = free[labels[sample]]
        order[places[sample]] = sample
        free[labels[sample]] += 1
    for sample in range(len(labels)):
        count = counts[labels[sample]]
        first = ends[labels[sample]] - count
        choices = len(labels) - count if others else count - 1
        out[sample] = -1
        if choices > 0 and np.int64(np.uint64(chance[sample]) >> _11) < number:
            choice = whole_number(other[sample], choices)
            if others:
                out[sample] = order[choice if choice < first else choice + count]
            else:
                out[sample] = order[first + (places[sample] - first + 1 + choice) % count]


@compiled
def draw_regions(bits: _Int64s, lengths: _Int64s, height: int, width: int, out: _Float64s) -> None:
    """Fill `out`, shape (samples, 1 + 7 × Gaussians), with one region per sample.

    A region is the set of places at which the density of a mixture of Gaussians is above a threshold. The first column is this
    threshold: the density at a drawn place. Then each Gaussian has seven columns: weight, centre (time bin, y, x) and
    1 / (2 · variance) (time bin, y, x). A region uses at least two Gaussians; the weight of unused Gaussians is 0.

    Parameters
    ----------
    bits : int64 array, shape (4 + 7 × Gaussians, samples)
        Random bits. The first row is for the number of Gaussians, and the next three rows are for time bin, y and x of
        the drawn place. Then each Gaussian has seven rows: weight, centre (time bin, y, x) and deviations (time bin, y, x).
    lengths : int64 array, shape (samples,)
        Time bins.
    height, width : int
        Places along y and x.
    """
    most = len(bits) // 7
    for sample in range(len(lengths)):
        sizes = (max(lengths[sample], 1), height, width)
        drawn, region = bits[:, sample], out[sample]
        gaussians = 2 + whole_number(drawn[0], most - 1)
        for gaussian in range(most):
            first, at = 1 + 7 * gaussian, 4 + 7 * gaussian
            region[first] = uniform_number(drawn[at]) if gaussian < gaussians else 0.0
            for axis in range(3):
                region[first + 1 + axis] = float(whole_number(drawn[at + 1 + axis], sizes[axis]))
                # At least a twentieth and at most half of the axis.
                deviation = max(uniform_number(drawn[at + 4 + axis]), 0.1) * sizes[axis] * 0.5
                region[first + 4 + axis] = 0.5 / (deviation * deviation)
        bin, row = whole_number(drawn[1], sizes[0]), whole_number(drawn[2], height)
        region[0] = density_at(region, bin, row, whole_number(drawn[3], width))


@compiled
def find_shifts(centres: _Int64s, partners: _Int64s, stride: int, out: _Int64s) -> None:
    """Fill `out`, shape (samples, 3), with half of the way (time, y, x) from each sample's centre to its partner's centre.

    If a sample has no partner, or one of the two samples has no centre, the sample's row is 0. `centres` are those of
    `StepInput`. The results are whole bins and pixels, rounded towards 0. Then bins are multiplied by `stride`, the number of
    places in a time bin.
    """
    for sample in range(len(centres)):
        partner = partners[sample]
        out[sample] = 0
        if partner >= 0 and centres[sample, 0] >= 0 and centres[partner, 0] >= 0:
            for axis in range(3):
                way = centres[partner, axis] - centres[sample, axis]
                half = abs(way) >> 17
                out[sample, axis] = (half if way > 0 else -half) * (stride if axis == 0 else 1)


@compiled
def shares_of_events(totals: npt.NDArray[np.float64], out: _Float64s) -> None:
    """Fill `out` with what `share_of_events` returns."""
    for sample in range(len(totals)):
        own, other = totals[sample, 0], totals[sample, 1]
        kept, taken = own[0] / max(own[0] + own[1], 1.0), other[1] / max(other[0] + other[1], 1.0)
        out[sample] = kept / (kept + taken) if kept + taken > 0.0 else 1.0


@compiled
def mix_labels(
    labels: npt.NDArray[np.float32], partners: _Int64s, shares: _Float64s, out: npt.NDArray[np.float32]
) -> None:
    """Fill `out` with what `mixed_labels` returns."""
    for sample in range(len(labels)):
        partner = max(partners[sample], 0)
        weight = np.float32(1.0 if partners[sample] < 0 else shares[sample])
        for label in range(labels.shape[1]):
            other = (np.float32(1.0) - weight) * labels[partner, label]
            out[sample, label] = weight * labels[sample, label] + other


@compiled
def exp_of_negative(value: float) -> float:
    """Return exp(-value): a series with the coefficients `FACTORS` gives exp(-value / 2^`HALVINGS`), which is squared `HALVINGS` times."""
    small = value * _SMALL
    power = ((((_F6 * small + _F5) * small + _F4) * small + _F3) * small + _F2) * small + _F1
    power = power * small + 1.0
    for _ in range(HALVINGS):
        power = power * power
    return power


@compiled
def factor_at(place: int, centre: float, inverse: float) -> float:
    """Return the value at `place` of a Gaussian along one axis, relative to its value at `centre`; `inverse` is 1 / (2 · variance)."""
    far = float(np.int32(place)) - centre
    return exp_of_negative(far * far * inverse)


@compiled
def density_at(region: _Float64s, bin: int, row: int, column: int) -> float:
    """Return the density of a mixture of Gaussians at a time bin, row and column; `mixtures.density` describes `region`."""
    total = 0.0
    for first in range(1, len(region), 7):
        if region[first] == 0.0:
            continue
        time = region[first] * factor_at(bin, region[first + 1], region[first + 4])
        y = factor_at(row, region[first + 2], region[first + 5])
        total = total + time * (y * factor_at(column, region[first + 3], region[first + 6]))
    return total


@compiled
def densities(regions: _Float64s, bins: _Int64s, rows: _Int64s, columns: _Int64s, out: _Float64s) -> None:
    """Fill `out`: element i is the density of the region ``regions[i]`` at time ``bins[i]``, y ``rows[i]`` and x ``columns[i]``.

    `mixtures.density` says what a density is.
    """
    for place in range(len(out)):
        out[place] = density_at(regions[place], bins[place], rows[place], columns[place])


@compiled
def _factors(weight: float, centre: float, inverse: float, out: _Float64s) -> None:
    """Fill `out` with ``weight * factor_at(place, centre, inverse)`` for the places 0, 1, … of an axis, with errors below `NEAR`."""
    for first in range(0, len(out), _SPAN):
        _factors_of_span(weight, centre - float(first), inverse, out[first : first + _SPAN])


@compiled
def _factors_of_span(weight: float, centre: float, inverse: float, out: _Float64s) -> None:
    if len(out) < _FEW:
        for place in range(len(out)):
            out[place] = weight * factor_at(place, centre, inverse)
        return
    # The quotient of the factors of two places, four places apart, changes by the same quotient from place to place: two
    # products for each factor, instead of an exponential. Four factors at a time, because a product must wait for the one before.
    for place in range(4):
        out[place] = weight * factor_at(place, centre, inverse)
    r0, change = exp_of_negative((16.0 - 8.0 * centre) * inverse), exp_of_negative(8.0 * inverse)
    f0, f1, f2, f3 = out[0], out[1], out[2], out[3]
    r1, r2, r3 = r0 * change, r0 * change * change, r0 * change * change * change
    change = change * change * (change * change)
    fours = len(out) >> 2
    for four in range(1, fours):
        f0, f1, f2, f3 = f0 * r0, f1 * r1, f2 * r2, f3 * r3
        r0, r1, r2, r3 = r0 * change, r1 * change, r2 * change, r3 * change
        at = np.uint64(4 * four)
        out[at], out[at + _1], out[at + _2], out[at + _3] = f0, f1, f2, f3
    for place in range(4 * fours, len(out)):
        out[place] = weight * factor_at(place, centre, inverse)


@compiled
def tabulate(region: _Float64s, sizes: tuple[int, int, int], tables: _Float64s) -> int:
    """Tabulate the Gaussians of a region, and return the number of tabulated Gaussians, at least 2.

    The density at a place is the sum of (value of its time bin × value of its y and x) over the Gaussians. The tabulated values
    have small errors (`NEAR`).

    Parameters
    ----------
    region : float64 array, shape (29,)
        See `Mixture`.
    sizes : tuple of int
        Time bins, and places along y and x.
    tables : float64 array, shape (Gaussians, time bins + places of the sensor + places along y)
        Filled by the call. Each row of the array has a Gaussian's values of the time bins, multiplied by the weight, and then its
        values of the places of the sensor, ordered by y and then x. The last part, of the length of y, is working memory.
    """
    bins, height, width = sizes
    gaussians = 2
    for gaussian in range(2, len(tables)):
        gaussians = gaussian + 1 if region[1 + 7 * gaussian] > 0.0 else gaussians
    for gaussian in range(gaussians):
        first, table = 1 + 7 * gaussian, tables[gaussian]
        plane, rows = table[bins : bins + height * width], table[bins + height * width :][:height]
        _factors(region[first], region[first + 1], region[first + 4], table[:bins])
        _factors(1.0, region[first + 2], region[first + 5], rows)
        # The first row has the factors of x until the end.
        _factors(1.0, region[first + 3], region[first + 6], plane[:width])
        for y in range(height - 1, -1, -1):
            row = plane[y * width : (y + 1) * width]
            for x in range(width):
                row[x] = rows[y] * plane[x]
    return gaussians
