"""Compiled loops that augment samples and write their dense frames, one sample after the other.

Each augmentation is a row of numbers (`AugmentationStep`). The non-zeros of one sample are copied to two short arrays: their places, and
their amounts. Each step changes these arrays in one loop, and the amounts that are left are added to the frames. So no changed copy
of the batch is made. A dropped non-zero has the amount 0. So its place does not matter, and later steps may change the place to any
number. The result has the same bits as that of `applied_steps.applied`, which works on tensors of any device.

If one step mixes a sample with its partner, columns are read twice: the sample's own columns, and its partner's
columns. With m mixing steps, there are 2^m reads, because each step is a choice between these two. The number of a read encodes the choices: bit k
is 1 if mixing step k (counted from 0) takes the partner's columns, and 0 if it takes the sample's own columns. Steps before a mixing step change the columns of the partner too, by
the numbers that were drawn for the partner. So the result is the same as if each step were applied to the whole batch, one step
after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray  # type: ignore[attr-defined]

from spikestore.train.data.frames.augmentation_steps import (
    ANY_LENGTH,
    BOX,
    DROP,
    GAUSSIANS,
    JITTER,
    MASK,
    MIX_ALIGNED,
    MIX_BOX,
    MIX_EVENTS,
    MIX_MASK,
    MIX_REGION,
    MOVE,
    NOISE,
    SHIFT,
    THIN,
)
from spikestore.train.data.frames.draw_kernels import compiled, tabulate
from spikestore.train.data.frames.frame_kernels import pointer_to
from spikestore.train.data.frames.step_kernels import (
    add_noise,
    align,
    changes_nothing,
    draw,
    draw_events,
    keep_span,
    mix_by_mask,
    mix_region,
    move,
    span_of,
)

_Int64s = npt.NDArray[np.int64]
_Float64s = npt.NDArray[np.float64]


@compiled
def _capacity(counts: _Int64s, room: _Int64s, numbers: _Int64s, drawn: _Int64s) -> int:
    """Return the largest number of non-zeros that one read of a valid sample can have, including added noise. For the arguments, see `fill_augmented_frames`."""
    most = 0
    for sample in range(len(counts)):
        if counts[sample] <= room[sample]:
            most = max(most, counts[sample])
    for step in range(len(numbers)):
        if numbers[step, 0] == NOISE:
            most += max(drawn[0, step].max(), 0)
    return most


@compiled
def _places_of_tables(numbers: _Int64s, places: int) -> int:
    """Return the length of a row of `tables` (see `tabulate`) that suffices for all steps ``MIX_REGION``; 0 without such a step."""
    most = 0
    for step in range(len(numbers)):
        if numbers[step, 0] == MIX_REGION:
            most = max(most, places // numbers[step, 1] + (numbers[step, 2] + 1) * numbers[step, 3])
    return most


@compiled
def _part_to_read(
    index: npt.NDArray[Any], read: int, numbers: _Int64s, drawn: _Int64s, partners: _Int64s, owners: _Int64s
) -> tuple[int, int, int, int]:
    """Return the two spans of a sample's non-zeros that must be read: the start and the stop of each span, in time order.

    `index` must ascend. `numbers`, `drawn` and `partners` are those of `fill_augmented_frames`; `owners` has the sample that each
    step changes. Bit m of `read` is 1 if the sample is read as the partner in mixture m.

    The non-zeros before, between and after the two spans are not read, because masks of time bins drop them. Only
    masks before the first step that moves or adds non-zeros are considered.
    """
    first, hole, past, last = 0, 0, 0, len(index)
    mix: Any = 0
    for step in range(len(numbers)):
        kind, owner = numbers[step, 0], owners[step]
        if kind not in (DROP, THIN, MASK, BOX, MIX_MASK, MIX_BOX, MIX_EVENTS):
            break
        is_mixed = kind < MIX_MASK or partners[mix, owner] >= 0
        if kind in (MASK, MIX_MASK) and numbers[step, 2] == ANY_LENGTH and is_mixed:
            start, end = span_of(drawn[0, step, owner], numbers[step, 1], index)
            if kind == MIX_MASK and read >> mix & 1:
                first, last = max(first, start), min(last, end)
            elif hole == past:
                hole, past = start, end
        mix += np.int64(kind >= MIX_MASK)
    return first, min(max(hole, first), last), max(min(past, last), first), last


@compiled
def _copy(
    index: npt.NDArray[Any],
    value: npt.NDArray[Any],
    first: int,
    last: int,
    at: _Int64s,
    amount: _Float64s,
    count: int,
) -> int:
    """Write non-zeros `first` to `last` - 1 into `at` and `amount`, from position `count` on; return the position after them."""
    index, value, at, amount = index[first:last], value[first:last], at[count:], amount[count:]
    for k in range(len(index)):
        at[k] = np.int64(index[k])
    for k in range(len(value)):
        amount[k] = float(value[k])  # exact: no count reaches 2**53
    return count + len(index)


@compiled
def _ascends(index: npt.NDArray[Any]) -> bool:
    """Return whether places ascend."""
    falls: Any = 0
    for k in range(1, len(index)):
        falls |= np.int64(index[k] < index[k - 1])
    return falls == 0  # type: ignore[no-any-return]


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

    The parameters are those of `fill_frames` in `frame_kernels`, and the attributes `numbers` to `totals` of `StepColumns`.

    Returns
    -------
    int
        -1, or the number of a sample whose stored columns are invalid. If an index is outside the sample's own frames or its
        row of `frames`, the non-zero with this index is skipped. If a sample has more non-zeros than `room`, all its
        non-zeros are skipped.
    """
    wrong = -1
    steps = len(numbers)
    # The sample that each step changes.
    owners = np.empty(steps, np.int64)
    most = _capacity(counts, room, numbers, drawn)
    at, amount, memory = np.empty(most, np.int64), np.empty(most, np.float64), np.empty((3, most), np.int64)
    density = np.empty(most)
    tables = np.empty((GAUSSIANS, _places_of_tables(numbers, frames.shape[1])))
    tabulated, gaussians = -1, 0
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
            count, filled = 0, len(index)
            is_ascending: Any = _ascends(index)
            if filled == 0 or (
                is_ascending
                and np.uint64(index[0]) < stored_end
                and np.uint64(index[filled - 1]) < stored_end
            ):
                start, hole, past, stop = _part_to_read(index, read, numbers, drawn, partners, owners)
                count = _copy(index, value, start, hole, at, amount, 0)
                count = _copy(index, value, past, stop, at, amount, count)
            else:
                for k in range(filled):
                    if np.uint64(index[k]) < stored_end:
                        at[count], amount[count] = np.int64(index[k]), float(value[k])
                        count += 1
                    else:
                        wrong = source
            mix = 0
            for step in range(steps):
                kind, a, b, c = numbers[step, 0], numbers[step, 1], numbers[step, 2], numbers[step, 3]
                owner = owners[step]
                own, second = drawn[0, step, owner], drawn[1, step, owner]
                owner_end = max(min(places[owner], len(row)), 0)
                if changes_nothing(kind, own, second):
                    continue
                in_time = is_ascending and b == ANY_LENGTH
                is_ascending &= kind in (SHIFT, MOVE, DROP, THIN, MASK, BOX) or kind >= MIX_MASK
                if kind == NOISE:
                    # Reads that differ in earlier steps only have the same noise: one of them adds it.
                    if owner_end > 0 and read & ((1 << mix) - 1) == 0:
                        count = add_noise(own, second, owner_end, at, amount, count)
                elif kind == MASK and in_time:
                    keep_span(own, a, False, at, amount, count)
                elif kind >= MIX_MASK:
                    is_partner, is_last = read >> mix & 1 == 1, read >> (mix + 1) == 0
                    partner = partners[mix, owner]
                    if is_partner and places[partner] > owner_end and kind != MIX_ALIGNED:
                        for k in range(count):
                            amount[k] = amount[k] if at[k] < owner_end else 0.0
                    if partner >= 0:
                        if kind == MIX_MASK and in_time:
                            count = keep_span(own, a, is_partner, at, amount, count)
                        elif kind in (MIX_EVENTS, MIX_ALIGNED):
                            bits = second if is_partner else own
                            draw_events(a, bits, is_partner, at, amount, count, memory)
                            if kind == MIX_ALIGNED:
                                sign = -1 if is_partner else 1
                                align(regions[mix, owner], sign, b, c, owner_end, at, amount, count)
                        elif kind == MIX_REGION:
                            bins, region = max(owner_end // a, 1), regions[mix, owner]
                            if tabulated != owner * len(partners) + mix:
                                tabulated = owner * len(partners) + mix
                                gaussians = tabulate(region, (bins, c, b), tables)
                            outside, inside = mix_region(
                                *(a, b, c, is_partner, region, tables, gaussians, bins),
                                *(at, amount, count, memory, density),
                            )
                            if is_last:
                                totals[mix, owner, np.int64(is_partner), 0] += outside
                                totals[mix, owner, np.int64(is_partner), 1] += inside
                        else:
                            mix_by_mask(kind, a, b, c, own, second, is_partner, at, amount, count)
                    mix += 1
                elif kind == THIN:
                    draw_events(second, own, False, at, amount, count, memory)
                elif kind in (JITTER, DROP):
                    draw(kind, second, b, own, at, amount, count)
                else:
                    move(kind, a, b, c, own, second, owner_end, at, amount, count)
            for k in range(count):
                # No step leaves the sample; a wrong one must not write elsewhere.
                target = np.uint64(at[k])
                if target < np.uint64(end):
                    row[target] += np.float32(amount[k])
    return wrong
