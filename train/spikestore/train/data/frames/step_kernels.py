"""Compiled loops of augmentation steps: each changes the non-zeros of one sample, in two short arrays of places and amounts.

A dropped non-zero has the amount 0; later steps may give it any place. Loops without branches that depend on the data are
several times as fast as loops with them, because the processor cannot predict random masks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.train.data.frames.augmentation_steps import (
    BOX,
    DROP,
    JITTER,
    MASK,
    MIRROR,
    MIX_MASK,
    MOVE,
    ONE,
    ROLL,
    ROTATE,
    SHEAR,
    SHIFT,
    STRETCH,
    THIN,
)
from spikestore.train.data.frames.draw_kernels import STEP, compiled, density_at, exp_of_negative, mixed

_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]

_11 = np.uint64(11)


@compiled
def _is_in(mask: int, coordinate: int) -> bool:
    inside: Any = np.uint64(coordinate - (mask >> 31)) < np.uint64(mask & 0x7FFFFFFF)
    return inside  # type: ignore[no-any-return]


@compiled
def changes_nothing(kind: int, own: int, second: int) -> bool:
    """Return whether a step leaves a sample that drew these numbers as it is."""
    if kind in (JITTER, DROP, THIN):
        return second == 0
    if kind in (STRETCH, ROTATE):
        return own == ONE and second == 0
    if kind in (MASK, BOX):
        return own & 0x7FFFFFFF == 0
    return own == 0 and kind in (SHIFT, MIRROR, MOVE, ROLL, SHEAR)


@compiled
def quotient(place: int, inverse: float) -> int:
    """Return a place divided by a whole number, rounded down; `inverse` is 1 / this number. Exact below 2**50, and faster than a division."""
    return int((float(place) + 0.5) * inverse)


@compiled
def move(
    kind: int,
    a: int,
    b: int,
    c: int,
    own: int,
    second: int,
    end: int,
    at: _Int64s,
    amount: _Float64s,
    count: int,
) -> None:
    """Apply a step that moves the first `count` non-zeros, or empties places, by what their sample drew."""
    per_stride, per_size, per_height = 1.0 / a, 1.0 / b, 1.0 / c
    if kind == SHIFT:
        for k in range(count):
            at[k] += own
            amount[k] = amount[k] if 0 <= at[k] < end else 0.0
    elif kind == MIRROR:
        if own > 0:
            for k in range(count):
                rows = quotient(at[k], per_stride)
                coordinate = rows - quotient(rows, per_size) * b
                at[k] += (own - 1 - 2 * coordinate) * a
    elif kind == MASK:
        for k in range(count):
            rows = quotient(at[k], per_stride)
            amount[k] = 0.0 if _is_in(own, rows - quotient(rows, per_size) * b) else amount[k]
    elif kind == MOVE:
        for k in range(count):
            rows = quotient(at[k], per_stride)
            coordinate = rows - quotient(rows, per_size) * b + own
            at[k] += own * a
            amount[k] = amount[k] if 0 <= coordinate < b else 0.0
    elif kind == ROLL:
        for k in range(count):
            rows = quotient(at[k], per_stride)
            coordinate = rows - quotient(rows, per_size) * b
            at[k] += (own - (b if coordinate + own >= b else 0)) * a
    elif kind == BOX:
        for k in range(count):
            rows = quotient(at[k], per_size)
            inside = _is_in(own, at[k] - rows * b)
            inside &= _is_in(second, rows - quotient(rows, per_height) * c)
            amount[k] = 0.0 if inside else amount[k]
    elif kind == SHEAR:
        for k in range(count):
            rows = quotient(at[k], per_size)
            x, y = at[k] - rows * b, rows - quotient(rows, per_height) * c
            new_x = x + (own * (2 * y - (c - 1)) + (1 << 16) >> 17)
            at[k] += new_x - x
            amount[k] = amount[k] if 0 <= new_x < b else 0.0
    elif kind == STRETCH:
        for k in range(count):
            bin = quotient(at[k], per_stride)
            at[k] += ((bin * own >> 16) - bin) * a
            amount[k] = amount[k] if at[k] < end else 0.0
    elif kind == ROTATE:
        for k in range(count):
            rows = quotient(at[k], per_size)
            x, y = at[k] - rows * b, rows - quotient(rows, per_height) * c
            far_x, far_y = 2 * x - (b - 1), 2 * y - (c - 1)
            new_x = own * far_x - second * far_y + (b << 16) >> 17
            new_y = second * far_x + own * far_y + (c << 16) >> 17
            at[k] += new_x - x + (new_y - y) * b
            amount[k] = amount[k] if 0 <= new_x < b and 0 <= new_y < c else 0.0


@compiled
def draw(kind: int, number: int, width: int, own: int, at: _Int64s, amount: _Float64s, count: int) -> None:
    """Apply a step that draws for each of the first `count` non-zeros."""
    key, per_width, span = np.uint64(own), 1.0 / width, np.uint64(2 * number + 1)
    if kind == JITTER:
        for k in range(count):
            bits = mixed((key ^ np.uint64(at[k])) + STEP)
            x = at[k] - quotient(at[k], per_width) * width
            moved = x + np.int64((bits >> _11) % span) - number
            at[k] += min(max(moved, 0), width - 1) - x
    else:
        for k in range(count):
            bits = mixed((key ^ np.uint64(at[k])) + STEP)
            amount[k] = 0.0 if np.int64(bits >> _11) < number else amount[k]


@compiled
def draw_events(
    number: int, own: int, keeps: bool, at: _Int64s, amount: _Float64s, count: int, memory: _Int64s
) -> None:
    """Drop the events of the first `count` non-zeros of which 53 random bits are below `number`; if `keeps`, keep only these.

    First the first event of each non-zero is drawn, then the second event of those that have two, and so on: a loop over the
    events of one non-zero after the other takes twice as long, because the processor cannot predict where it ends.

    Parameters
    ----------
    memory : int64 array, shape (3, non-zeros)
        Working memory.
    """
    key = np.uint64(own)
    rest: Any = 0
    bits, below, several = memory[0], memory[1], memory[2]
    for k in range(count):
        mine = mixed((key ^ np.uint64(at[k])) + STEP)
        bits[k] = np.int64(mine)
        is_below = np.int64(mixed(mine + STEP) >> _11) < number
        below[k] = np.int64(is_below & (amount[k] > 0.0))
        several[rest] = k
        rest += np.int64(amount[k] > 1.0)
    event = 1
    while rest > 0:
        former, rest = rest, 0
        for place in range(former):
            k = several[place]
            is_below = np.int64(mixed((np.uint64(bits[k]) ^ np.uint64(event)) + STEP) >> _11) < number
            below[k] += np.int64(is_below)
            several[rest] = k
            rest += np.int64(amount[k] > event + 1.0)
        event += 1
    for k in range(count):
        amount[k] = float(below[k]) if keeps else amount[k] - float(below[k])


@compiled
def add_noise(events: int, key: int, end: int, at: _Int64s, amount: _Float64s, count: int) -> int:
    """Append single events at places before `end` that are drawn uniformly; return the new number of non-zeros."""
    for event in range(events):
        bits = mixed((np.uint64(key) ^ np.uint64(event)) + STEP)
        at[count], amount[count] = np.int64(bits >> _11) % end, 1.0
        count += 1
    return count


@compiled
def keep_span(mask: int, stride: int, inside: bool, at: _Int64s, amount: _Float64s, count: int) -> int:
    """Keep the non-zeros inside or outside of a mask of time bins, if places ascend; return the number of non-zeros."""
    start = (mask >> 31) * stride
    first: Any = np.searchsorted(at[:count], start)
    end: Any = np.searchsorted(at[:count], start + (mask & 0x7FFFFFFF) * stride)
    if not inside:
        amount[first:end] = 0.0
        return count
    for k in range(first, end):
        at[k - first], amount[k - first] = at[k], amount[k]
    return end - first  # type: ignore[no-any-return]


@compiled
def mix_by_mask(
    kind: int,
    a: int,
    b: int,
    c: int,
    own: int,
    second: int,
    is_partner: bool,
    at: _Int64s,
    amount: _Float64s,
    count: int,
) -> None:
    """Apply a step that mixes by masks: keep the part of a sample or of its partner."""
    per_stride, per_size, per_height = 1.0 / a, 1.0 / b, 1.0 / c
    if kind == MIX_MASK:
        for k in range(count):
            rows = quotient(at[k], per_stride)
            inside = _is_in(own, rows - quotient(rows, per_size) * b)
            amount[k] = amount[k] if inside == is_partner else 0.0
    else:
        for k in range(count):
            rows = quotient(at[k], per_size)
            inside = _is_in(own, at[k] - rows * b)
            inside &= _is_in(second, rows - quotient(rows, per_height) * c)
            amount[k] = amount[k] if inside == is_partner else 0.0


@compiled
def tabulate(region: _Float64s, sizes: tuple[int, int, int], tables: npt.NDArray[np.float64]) -> int:
    """Fill `tables`, shape (Gaussians, places of the three axes), with the factors of a region's Gaussians; return their number."""
    gaussians = 0
    for first in range(1, len(region), 7):
        if region[first] == 0.0:
            continue
        begin = 0
        for axis in range(3):
            table = tables[gaussians, begin : begin + sizes[axis]]
            centre, inverse = region[first + 1 + axis], region[first + 4 + axis]
            weight = region[first] if axis == 0 else 1.0
            for place in range(sizes[axis]):
                far = float(np.int32(place)) - centre
                table[place] = weight * exp_of_negative(far * far * inverse)
            begin += sizes[axis]
        gaussians += 1
    return gaussians


@compiled
def mix_region(
    a: int,
    b: int,
    c: int,
    is_partner: bool,
    region: _Float64s,
    tables: npt.NDArray[np.float64],
    gaussians: int,
    bins: int,
    at: _Int64s,
    amount: _Float64s,
    count: int,
) -> tuple[float, float]:
    """Apply ``MIX_REGION``; return the events outside and inside of the region.

    A product of the three factors of a Gaussian is not exactly its density: the relative difference is below 1e-7 where the density is
    above 1e-38, and below 0.02 where it is above 1e-260 (`FACTORS`). If this difference could decide whether a place is in the region,
    its density is computed again, as `density_at` does.
    """
    per_stride, per_size, per_height = 1.0 / a, 1.0 / b, 1.0 / c
    outside, within = 0.0, 0.0
    border = region[0]
    near = border * 1e-6 if border > 1e-30 else border * 0.2
    near = near if border > 1e-250 else np.inf
    for k in range(count):
        if amount[k] == 0.0:
            continue
        bin, rows = quotient(at[k], per_stride), quotient(at[k], per_size)
        x, y = at[k] - rows * b, rows - quotient(rows, per_height) * c
        density = 0.0
        for gaussian in range(gaussians):
            table = tables[gaussian]
            density += table[bin] * table[bins + y] * table[bins + c + x]
        if abs(density - border) <= near:
            density = density_at(region, bin, y, x)
        taken = amount[k] * np.float64(density > border)
        within += taken
        outside += amount[k] - taken
        amount[k] = taken if is_partner else amount[k] - taken
    return outside, within
