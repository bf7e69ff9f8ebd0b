"""Compiled loops that augment samples and write their dense frames, one sample after the other.

Each augmentation is a row of numbers (`AugmentationStep`). The non-zeros of one sample are copied to two short arrays, each step
changes these arrays in one loop, and the amounts that are left are added to the frames. So no changed copy of the batch is made. A dropped
non-zero has the amount 0; later steps may give it any place. The result is that of `applied`, which works on tensors of any device, to
the last bit.

A sample that is mixed with its partner is made of two reads, one of its own columns and one of its partner's. With m mixing
steps there are 2^m reads: bit k of a read says whether step k takes the partner. An earlier step changes the columns of a
partner with what the partner itself drew, as if the steps were applied to the whole batch one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray  # type: ignore[attr-defined]

from spikestore.train.data.frames.augmentation_steps import (
    DROP,
    JITTER,
    MASK,
    MIRROR,
    MIX_BOX,
    MIX_EVENTS,
    MIX_MASK,
    MOVE,
    NOISE,
    ROTATE,
    SHIFT,
    STRETCH,
    THIN,
)
from spikestore.train.data.frames.draw_kernels import STEP, compiled, density_at, mixed
from spikestore.train.data.frames.frame_kernels import pointer_to

_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]

_11 = np.uint64(11)


@compiled
def _is_in(mask: int, coordinate: int) -> bool:
    start = mask >> 31
    return start <= coordinate < start + (mask & 0x7FFFFFFF)


@compiled
def _events_below(bits: np.uint64, amount: float, number: int) -> int:
    """Return how many events of a count have 53 random bits below `number`."""
    below = 0
    for event in range(np.int64(amount)):
        one = mixed((bits ^ np.uint64(event)) + STEP)
        below += 1 if np.int64(one >> _11) < number else 0
    return below


@compiled
def _quotient(place: int, inverse: float) -> int:
    """Return a place divided by a whole number, rounded down; `inverse` is 1 / this number. Exact below 2**50, and faster than a division."""
    return int((float(place) + 0.5) * inverse)


@compiled
def _move(
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
                rows = _quotient(at[k], per_stride)
                coordinate = rows - _quotient(rows, per_size) * b
                at[k] += (own - 1 - 2 * coordinate) * a
    elif kind == MASK:
        for k in range(count):
            rows = _quotient(at[k], per_stride)
            if _is_in(own, rows - _quotient(rows, per_size) * b):
                amount[k] = 0.0
    elif kind == MOVE:
        for k in range(count):
            rows = _quotient(at[k], per_stride)
            coordinate = rows - _quotient(rows, per_size) * b + own
            at[k] += own * a
            amount[k] = amount[k] if 0 <= coordinate < b else 0.0
    elif kind == STRETCH:
        for k in range(count):
            bin = _quotient(at[k], per_stride)
            at[k] += ((bin * own >> 16) - bin) * a
            amount[k] = amount[k] if at[k] < end else 0.0
    elif kind == ROTATE:
        for k in range(count):
            rows = _quotient(at[k], per_size)
            x, y = at[k] - rows * b, rows - _quotient(rows, per_height) * c
            far_x, far_y = 2 * x - (b - 1), 2 * y - (c - 1)
            new_x = own * far_x - second * far_y + (b << 16) >> 17
            new_y = second * far_x + own * far_y + (c << 16) >> 17
            at[k] += new_x - x + (new_y - y) * b
            amount[k] = amount[k] if 0 <= new_x < b and 0 <= new_y < c else 0.0


@compiled
def _draw(kind: int, number: int, width: int, own: int, at: _Int64s, amount: _Float64s, count: int) -> None:
    """Apply a step that draws for each of the first `count` non-zeros, or for each of their events."""
    key, per_width, span = np.uint64(own), 1.0 / width, np.uint64(2 * number + 1)
    if kind == JITTER:
        for k in range(count):
            bits = mixed((key ^ np.uint64(at[k])) + STEP)
            x = at[k] - _quotient(at[k], per_width) * width
            moved = x + np.int64((bits >> _11) % span) - number
            at[k] += min(max(moved, 0), width - 1) - x
    elif kind == DROP:
        for k in range(count):
            bits = mixed((key ^ np.uint64(at[k])) + STEP)
            amount[k] = 0.0 if np.int64(bits >> _11) < number else amount[k]
    else:
        for k in range(count):
            bits = mixed((key ^ np.uint64(at[k])) + STEP)
            amount[k] -= _events_below(bits, amount[k], number)


@compiled
def _add_noise(events: int, key: int, end: int, at: _Int64s, amount: _Float64s, count: int) -> int:
    """Append single events at places before `end` that are drawn uniformly; return the new number of non-zeros."""
    for event in range(events):
        bits = mixed((np.uint64(key) ^ np.uint64(event)) + STEP)
        at[count], amount[count] = np.int64(bits >> _11) % end, 1.0
        count += 1
    return count


@compiled
def _mix(
    kind: int,
    a: int,
    b: int,
    c: int,
    own: int,
    second: int,
    is_partner: bool,
    region: _Float64s,
    at: _Int64s,
    amount: _Float64s,
    count: int,
) -> tuple[float, float]:
    """Apply a step that mixes: keep the part of a sample or of its partner; return the events outside and inside of the region."""
    per_stride, per_size, per_height = 1.0 / a, 1.0 / b, 1.0 / c
    totals = (0.0, 0.0)
    for k in range(count):
        if kind == MIX_EVENTS:
            bits = mixed((np.uint64(second if is_partner else own) ^ np.uint64(at[k])) + STEP)
            below = _events_below(bits, amount[k], a)
            amount[k] = below if is_partner else amount[k] - below
            continue
        if kind == MIX_MASK:
            rows = _quotient(at[k], per_stride)
            inside = _is_in(own, rows - _quotient(rows, per_size) * b)
        else:
            rows = _quotient(at[k], per_size)
            x, y = at[k] - rows * b, rows - _quotient(rows, per_height) * c
            if kind == MIX_BOX:
                inside = _is_in(own, x) and _is_in(second, y)
            elif amount[k] == 0.0:
                continue
            else:
                inside = density_at(region, _quotient(at[k], per_stride), y, x) > region[0]
                totals = (totals[0], totals[1] + amount[k]) if inside else (totals[0] + amount[k], totals[1])
        if inside != is_partner:
            amount[k] = 0.0
    return totals


@compiled
def _capacity(counts: _Int64s, room: _Int64s, numbers: _Int64s, drawn: _Int64s) -> int:
    """Return how many non-zeros the largest sample of a batch can have, with added ones."""
    most = 0
    for sample in range(len(counts)):
        if counts[sample] <= room[sample]:
            most = max(most, counts[sample])
    for step in range(len(numbers)):
        if numbers[step, 0] == NOISE:
            most += max(drawn[0, step].max(), 0)
    return most


@compiled
def fill_augmented_frames(
    index_at: _Int64s,
    value_at: _Int64s,
    counts: _Int64s,
    room: _Int64s,
    places: _Int64s,
    index_like: npt.NDArray[Any],
    value_like: npt.NDArray[Any],
    numbers: _Int64s,
    drawn: _Int64s,
    partners: _Int64s,
    regions: _Float64s,
    totals: _Float64s,
    frames: npt.NDArray[np.float32],
    first: int,
    last: int,
) -> int:
    """Write the augmented dense frames of samples `first` to `last` - 1 of a batch, including zeros.

    Parameters are those of `fill_frames` in `frame_kernels`, and `numbers` to `totals` of `StepColumns`.

    Returns
    -------
    int
        A sample whose stored columns have an index outside its frames or its row of `frames`, or more non-zeros than
        `room`; these non-zeros are skipped. -1 if no sample has any.
    """
    wrong = -1
    steps = len(numbers)
    # The sample that each step changes.
    owners = np.empty(steps, np.int64)
    most = _capacity(counts, room, numbers, drawn)
    at, amount = np.empty(most, np.int64), np.empty(most, np.float64)
    for sample in range(first, last):
        row = frames[sample]
        for place in range(len(row)):
            row[place] = 0.0
        end = max(min(places[sample], len(row)), 0)
        for read in range(1 << len(partners)):
            source, mix = sample, len(partners)
            for step in range(steps - 1, -1, -1):
                owners[step] = source
                if numbers[step, 0] >= MIX_MASK:
                    mix -= 1
                    if read >> mix & 1:
                        source = partners[mix, source]
                        if source < 0:
                            break
            if source < 0:
                continue  # this sample has no partner
            if counts[source] < 0 or counts[source] > room[source]:
                wrong = source
                continue
            index = carray(pointer_to(index_at[source], index_like), counts[source])
            value = carray(pointer_to(value_at[source], value_like), counts[source])
            stored_end = np.uint64(max(min(places[source], len(row)), 0))
            count = 0
            for k in range(len(index)):
                if np.uint64(index[k]) >= stored_end:
                    wrong = source
                    continue
                at[count] = np.int64(index[k])
                amount[count] = float(value[k])  # exact: no count reaches 2**53
                count += 1
            mix = 0
            for step in range(steps):
                kind, a, b, c = numbers[step, 0], numbers[step, 1], numbers[step, 2], numbers[step, 3]
                owner = owners[step]
                own, second = drawn[0, step, owner], drawn[1, step, owner]
                owner_end = max(min(places[owner], len(row)), 0)
                if kind == NOISE:
                    # Reads that differ in earlier steps only have the same noise: one of them adds it.
                    if owner_end > 0 and read & ((1 << mix) - 1) == 0:
                        count = _add_noise(own, second, owner_end, at, amount, count)
                elif kind >= MIX_MASK:
                    is_partner, is_last = read >> mix & 1 == 1, read >> (mix + 1) == 0
                    if is_partner:
                        for k in range(count):
                            amount[k] = amount[k] if at[k] < owner_end else 0.0
                    if partners[mix, owner] >= 0:
                        # `regions` has one entry if no step has regions.
                        region = regions[min(mix, len(regions) - 1), min(owner, regions.shape[1] - 1)]
                        outside, inside = _mix(
                            kind, a, b, c, own, second, is_partner, region, at, amount, count
                        )
                        if is_last:
                            totals[mix, owner, np.int64(is_partner), 0] += outside
                            totals[mix, owner, np.int64(is_partner), 1] += inside
                    mix += 1
                elif kind in (JITTER, DROP, THIN):
                    _draw(kind, a, b, own, at, amount, count)
                else:
                    _move(kind, a, b, c, own, second, owner_end, at, amount, count)
            for k in range(count):
                # No step leaves the sample; a wrong one must not write elsewhere.
                if amount[k] != 0.0 and 0 <= at[k] < end:
                    row[at[k]] += np.float32(amount[k])
    return wrong
