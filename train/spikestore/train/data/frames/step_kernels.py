"""Compiled loops of augmentation steps: each loop changes the non-zeros of one sample.

Two short arrays contain the places and the amounts of these non-zeros. A dropped non-zero stays in the arrays with the amount 0;
later steps may give it any place. The loops have no branches that depend on the data:
the processor cannot predict random masks, so loops with such branches take several times as long.
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
from spikestore.train.data.frames.draw_kernels import (
    EVENTS_OF_BITS,
    NEAR,
    STEP,
    compiled,
    density_at,
    events_below,
    mixed,
)

_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]

_11 = np.uint64(11)


@compiled
def _is_in(mask: int, coordinate: int) -> bool:
    inside: Any = np.uint64(coordinate - (mask >> 31)) < np.uint64(mask & 0x7FFFFFFF)
    return inside  # type: ignore[no-any-return]


@compiled
def changes_nothing(kind: int, own: int, second: int) -> bool:
    """Return True if a step certainly leaves a sample unchanged, False if it may change the sample.

    `own` and `second` are the sample's numbers in the first and second row of `AugmentationStep.drawn`.
    """
    if kind in (JITTER, DROP, THIN):
        return second == 0
    if kind in (STRETCH, ROTATE):
        return own == ONE and second == 0
    if kind in (MASK, BOX):
        return own & 0x7FFFFFFF == 0
    return own == 0 and kind in (SHIFT, MIRROR, MOVE, ROLL, SHEAR)


@compiled
def quotient(place: int, inverse: float) -> int:
    """Return `place` divided by a whole number n, rounded down; `inverse` is 1 / n. Exact for places below 2**50, and faster than a division."""
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
    """Move or drop the first `count` non-zeros of a sample; see `AugmentationStep`. `a`, `b` and `c` are the step's stride, size and height; `own` and `second` are the sample's numbers in the two rows of ``drawn``."""
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
    """Apply the step ``JITTER`` or ``DROP`` (see `AugmentationStep`) to the first `count` non-zeros; `own` are the random bits of the sample."""
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
    """Drop or keep random events of the first `count` non-zeros.

    Each event draws 21 random bits. If `keeps` is false, the events with bits below `number` are dropped; if `keeps` is true, only these
    events are kept. 64 random bits decide about three events. The loop decides about three events of each non-zero, then about three further
    events of each non-zero that has more than three, and so on. A loop that decides about all events of one non-zero before the
    next non-zero takes twice as long, because the processor cannot predict how many events a non-zero has.

    Parameters
    ----------
    own : int
        Random bits of the sample.
    at, amount : int64 and float64 array, shape (non-zeros,)
        Index and number of events of each non-zero; the call changes `amount`.
    memory : int64 array, shape (3, non-zeros)
        Working memory.
    """
    key, most = np.uint64(own), np.uint64(number)
    bits, below, several = memory[0], memory[1], memory[2]
    seen: Any = 0
    for k in range(count):
        mine = mixed((key ^ np.uint64(at[k])) + STEP)
        events = np.int64(amount[k])
        bits[k] = np.int64(mine)
        below[k] = events_below(mine, most, events)
        seen |= events
    former: Any = 0
    if seen > EVENTS_OF_BITS:
        for k in range(count):
            several[former] = k
            former += np.int64(amount[k] > EVENTS_OF_BITS)
    turn = 1
    while former > 0:
        rest: Any = 0
        for place in range(former):
            k = several[place]
            mine = mixed((np.uint64(bits[k]) ^ np.uint64(turn)) + STEP)
            events = np.int64(amount[k]) - EVENTS_OF_BITS * turn
            below[k] += events_below(mine, most, events)
            several[rest] = k
            rest += np.int64(events > EVENTS_OF_BITS)
        former = rest
        turn += 1
    for k in range(count):
        amount[k] = float(below[k]) if keeps else amount[k] - float(below[k])


@compiled
def add_noise(events: int, key: int, end: int, at: _Int64s, amount: _Float64s, count: int) -> int:
    """Append `events` non-zeros with the amount 1, and return the new `count`. The random bits `key` determine their places from 0 to `end` - 1; several non-zeros may have the same place."""
    for event in range(events):
        bits = mixed((np.uint64(key) ^ np.uint64(event)) + STEP)
        at[count], amount[count] = np.int64(bits >> _11) % end, 1.0
        count += 1
    return count


@compiled
def position(index: npt.NDArray[Any], place: int) -> int:
    """Return the number of values in `index` that are below `place`; `index` must ascend."""
    low, high = 0, len(index)
    while low < high:
        middle = (low + high) >> 1
        if np.int64(index[middle]) < place:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def span_of(mask: int, stride: int, index: npt.NDArray[Any]) -> tuple[int, int]:
    """Return the range of `index` (start, stop) whose time bins are in `mask` (`random_bits.mask_of`). A time bin has `stride` places; `index` must ascend."""
    start = (mask >> 31) * stride
    return position(index, start), position(index, start + (mask & 0x7FFFFFFF) * stride)


@compiled
def keep_span(mask: int, stride: int, inside: bool, at: _Int64s, amount: _Float64s, count: int) -> int:
    """If `inside` is true, keep only the non-zeros whose time bin is in `mask` (see `mask_of`); otherwise set the amounts of these non-zeros to 0. Return the new `count`. `at` must ascend."""
    first, end = span_of(mask, stride, at[:count])
    if not inside:
        amount[first:end] = 0.0
        return count
    if first > 0:
        for k in range(first, end):
            at[k - first], amount[k - first] = at[k], amount[k]
    return end - first


@compiled
def align(
    shift: _Float64s, sign: int, b: int, c: int, end: int, at: _Int64s, amount: _Float64s, count: int
) -> None:
    """Move the first `count` non-zeros by ``sign * shift`` (``MIX_ALIGNED``), and drop those that leave the sample. `b` and `c` are the sizes of x and y; `sign` is -1 for events of a partner."""
    per_size, per_height = 1.0 / b, 1.0 / c
    time, y, x = sign * int(shift[0]), sign * int(shift[1]), sign * int(shift[2])
    for k in range(count):
        rows = quotient(at[k], per_size)
        new_x, new_y = at[k] - rows * b + x, rows - quotient(rows, per_height) * c + y
        at[k] += time + y * b + x
        inside = 0 <= new_x < b and 0 <= new_y < c and 0 <= at[k] < end
        amount[k] = amount[k] if inside else 0.0


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
    """Set the `amount` of dropped non-zeros to 0. If `is_partner`, non-zeros outside the mask or box are dropped; otherwise non-zeros inside are dropped."""
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
def _locate(
    a: int,
    plane: int,
    bins: int,
    at: _Int64s,
    count: int,
    time: npt.NDArray[np.uint64],
    site: npt.NDArray[np.uint64],
) -> None:
    """Write each non-zero's time bin (clipped to 0 … `bins` - 1) to `time`, and its position in the plane (clipped to 0 … `plane` - 1) to `site`."""
    per_stride, per_plane = 1.0 / a, 1.0 / plane
    for k in range(count):
        time[k] = min(max(quotient(at[k], per_stride), 0), bins - 1)
        site[k] = min(max(at[k] - quotient(at[k], per_plane) * plane, 0), plane - 1)


@compiled
def _look_up(
    tables: _Float64s,
    gaussians: int,
    bins: int,
    time: npt.NDArray[np.uint64],
    site: npt.NDArray[np.uint64],
    density: _Float64s,
    count: int,
) -> None:
    """For each k below `count`, set ``density[k]`` to the mixture's density at time bin ``time[k]`` and site ``site[k]``; `tabulate` fills `tables`."""
    times, sites = tables[:, :bins], tables[:, bins:]
    # Numbers of places are unsigned: for signed ones, numba tests whether they count from the end.
    for k in range(count):
        bin, place = time[k], site[k]
        total = times[0, bin] * sites[0, place] + times[1, bin] * sites[1, place]
        if gaussians > 2:
            total = total + times[2, bin] * sites[2, place]
        if gaussians > 3:
            total = total + times[3, bin] * sites[3, place]
        density[k] = total


@compiled
def _has_near(density: _Float64s, border: float, count: int) -> bool:
    """Return whether one of the first `count` densities is so near to `border` that the density's error could exceed the distance (see `NEAR`)."""
    below: Any = 0
    for k in range(count):
        below |= np.int64(abs(density[k] - border) <= NEAR * border)
    return below > 0  # type: ignore[no-any-return]


@compiled
def _select(
    density: _Float64s, border: float, is_partner: bool, amount: _Float64s, count: int
) -> tuple[int, int]:
    """Keep only the events in the region (density above `border`) if `is_partner` is true, else only those outside. Return the former numbers of events outside and inside the region."""
    outside: Any = 0
    within: Any = 0
    for k in range(count):
        events = np.int64(amount[k])
        taken = events if density[k] > border else 0
        within += taken
        outside += events - taken
        amount[k] = float(taken if is_partner else events - taken)
    return outside, within


@compiled
def mix_region(
    a: int,
    b: int,
    c: int,
    is_partner: bool,
    region: _Float64s,
    tables: _Float64s,
    gaussians: int,
    bins: int,
    at: _Int64s,
    amount: _Float64s,
    count: int,
    memory: _Int64s,
    density: _Float64s,
) -> tuple[int, int]:
    """Drop events of a sample, or of its partner if `is_partner`, as ``MIX_REGION`` says; return how many events were outside and inside the region before.

    Parameters
    ----------
    a, b, c : int
        Number of elements of a time bin (a); number of pixels along x (b) and along y (c).
    region : float64 array, shape (29,)
        See `Mixture`.
    tables, gaussians : float64 array, int
        The array that `tabulate` has filled, and the number that it has returned.
    bins : int
        Time bins in `tables`.
    memory, density : int64 array of shape (3, non-zeros); float64 array of shape (non-zeros,)
        Working memory.
    """
    border = region[0]
    time, site = memory[0].view(np.uint64), memory[1].view(np.uint64)
    _locate(a, b * c, bins, at, count, time, site)
    _look_up(tables, gaussians, bins, time, site, density, count)
    if _has_near(density, border, count):
        for k in range(count):
            if abs(density[k] - border) <= NEAR * border:
                place: Any = np.int64(site[k])
                density[k] = density_at(region, np.int64(time[k]), place // b, place % b)  # type: ignore[arg-type]
    return _select(density, border, is_partner, amount, count)
