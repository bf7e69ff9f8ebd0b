"""Compiled loop that augments samples and writes their dense frames in one pass over the non-zeros.

Each augmentation is a row of numbers (`AugmentationStep`). The loop applies all of them to one non-zero after the other
and adds its value to the frames, so no changed copy of the batch is made. The result is that of `applied`, which works on
tensors of any device, to the last bit.

A sample that is mixed with its partner is made of two reads, one of its own columns and one of its partner's. With m mixing
steps there are 2^m reads: bit k of a read says whether step k takes the partner. An earlier step changes the columns of a
partner with what the partner itself drew, as if the steps were applied to the whole batch one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import carray  # type: ignore[attr-defined]

from spikestore.store.numba_cache import cached_njit
from spikestore.train.data.frames.augmentation_steps import (
    DROP,
    GAUSSIANS,
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
from spikestore.train.data.frames.frame_kernels import pointer_to
from spikestore.train.data.frames.mixtures import FACTORS, FAR, HALVINGS

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_11, _27, _30, _31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
_SMALL = 2.0**-HALVINGS
_F1, _F2, _F3, _F4, _F5, _F6 = FACTORS


def _compiled(function: _Function) -> _Function:
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


@_compiled
def _mixed(key: np.uint64) -> np.uint64:
    key = (key ^ (key >> _30)) * _FIRST
    key = (key ^ (key >> _27)) * _SECOND
    return key ^ (key >> _31)


@_compiled
def _is_in(mask: int, coordinate: int) -> bool:
    start = mask >> 31
    return start <= coordinate < start + (mask & 0x7FFFFFFF)


@_compiled
def _events_below(bits: np.uint64, amount: float, number: int) -> int:
    """Return how many events of a count have 53 random bits below `number`."""
    below = 0
    for event in range(np.int64(amount)):
        one = _mixed((bits ^ np.uint64(event)) + _STEP)
        below += 1 if np.int64(one >> _11) < number else 0
    return below


@_compiled
def _is_denser(region: _Float64s, bin: int, row: int, column: int) -> bool:
    """Return whether the density of a region at a place is above that in its first column; see `density`."""
    total = 0.0
    for gaussian in range(GAUSSIANS):
        first = 1 + 7 * gaussian
        if region[first] == 0.0:
            continue
        far_t, far_y, far_x = bin - region[first + 1], row - region[first + 2], column - region[first + 3]
        exponent = far_t * far_t * region[first + 4]
        exponent = exponent + far_y * far_y * region[first + 5]
        exponent = exponent + far_x * far_x * region[first + 6]
        small = min(exponent, FAR) * _SMALL
        power = ((((_F6 * small + _F5) * small + _F4) * small + _F3) * small + _F2) * small + _F1
        power = power * small + 1.0
        for _ in range(HALVINGS):
            power = power * power
        total = total + region[first] * power
    denser: bool = total > region[0]
    return denser


@_compiled
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
    # For each step: the sample that it changes, the places of this sample's frames, and what it drew.
    owners, ends = np.empty(steps, np.int64), np.empty(steps, np.int64)
    owns, seconds = np.empty(steps, np.int64), np.empty(steps, np.int64)
    for sample in range(first, last):
        row = frames[sample]
        for place in range(len(row)):
            row[place] = 0.0
        end = max(min(places[sample], len(row)), 0)
        for read in range(1 << len(partners)):
            source, mix = sample, len(partners)
            for step in range(steps - 1, -1, -1):
                owners[step] = source
                ends[step] = max(min(places[source], len(row)), 0)
                owns[step], seconds[step] = drawn[0, step, source], drawn[1, step, source]
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
            first_mix = 0
            # Stored non-zeros go through all steps, and the events that a step adds through the steps after it.
            for added in range(-1, steps):
                if added < 0:
                    events = len(index)
                elif numbers[added, 0] >= MIX_MASK:
                    first_mix += 1
                    continue
                # Reads that differ in earlier steps only have the same noise: one of them adds it.
                elif numbers[added, 0] == NOISE and ends[added] > 0 and read & ((1 << first_mix) - 1) == 0:
                    events = owns[added]
                else:
                    continue
                for k in range(events):
                    if added < 0:
                        if np.uint64(index[k]) >= stored_end:
                            wrong = source
                            continue
                        at = np.int64(index[k])
                        amount = float(value[k])  # exact: no count reaches 2**53
                    else:
                        bits = _mixed((np.uint64(seconds[added]) ^ np.uint64(k)) + _STEP)
                        at, amount = np.int64(bits >> _11) % ends[added], 1.0
                    mix = first_mix
                    for step in range(added + 1, steps):
                        kind, a, b, c = numbers[step, 0], numbers[step, 1], numbers[step, 2], numbers[step, 3]
                        own = owns[step]
                        if kind == SHIFT:
                            at += own
                            if at < 0 or at >= ends[step]:
                                amount = 0.0
                        elif kind == MIRROR:
                            if own > 0:
                                at += (own - 1 - 2 * (at // a % b)) * a
                        elif kind == MASK:
                            if _is_in(own, at // a % b):
                                amount = 0.0
                        elif kind == MOVE:
                            coordinate = at // a % b + own
                            if coordinate < 0 or coordinate >= b:
                                amount = 0.0
                            else:
                                at += own * a
                        elif kind == STRETCH:
                            bin = at // a
                            at += ((bin * own >> 16) - bin) * a
                            if at >= ends[step]:
                                amount = 0.0
                        elif kind == ROTATE:
                            sine = seconds[step]
                            x, y = at % b, at // b % c
                            far_x, far_y = 2 * x - (b - 1), 2 * y - (c - 1)
                            new_x = own * far_x - sine * far_y + (b << 16) >> 17
                            new_y = sine * far_x + own * far_y + (c << 16) >> 17
                            if new_x < 0 or new_x >= b or new_y < 0 or new_y >= c:
                                amount = 0.0
                            else:
                                at += new_x - x + (new_y - y) * b
                        elif kind in (JITTER, DROP, THIN):
                            bits = _mixed((np.uint64(own) ^ np.uint64(at)) + _STEP)
                            if kind == JITTER:
                                x = at % b
                                moved = x + np.int64(bits >> _11) % (2 * a + 1) - a
                                at += min(max(moved, 0), b - 1) - x
                            elif kind == DROP:
                                if np.int64(bits >> _11) < a:
                                    amount = 0.0
                            else:
                                amount -= _events_below(bits, amount, a)
                        elif kind != NOISE:
                            owner, takes_partner = owners[step], read >> mix & 1
                            mix += 1
                            if takes_partner and at >= ends[step]:
                                amount = 0.0
                            elif partners[mix - 1, owner] >= 0:
                                if kind == MIX_EVENTS:
                                    bits = _mixed(
                                        (np.uint64(drawn[takes_partner, step, owner]) ^ np.uint64(at)) + _STEP
                                    )
                                    below = _events_below(bits, amount, a)
                                    amount = below if takes_partner else amount - below
                                else:
                                    if kind == MIX_MASK:
                                        inside = _is_in(own, at // a % b)
                                    elif kind == MIX_BOX:
                                        inside = _is_in(own, at % b) and _is_in(seconds[step], at // b % c)
                                    else:
                                        inside = _is_denser(
                                            regions[mix - 1, owner], at // a, at // b % c, at % b
                                        )
                                        if read >> mix == 0:
                                            totals[mix - 1, owner, takes_partner, np.int64(inside)] += amount
                                    if inside != takes_partner:
                                        amount = 0.0
                        if amount == 0.0:
                            break
                    # No step leaves the sample; a wrong one must not write elsewhere.
                    if amount != 0.0 and 0 <= at < end:
                        row[at] += np.float32(amount)
    return wrong
