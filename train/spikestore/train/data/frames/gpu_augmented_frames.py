"""Augmented dense frames on a GPU. A single kernel writes them; Triton compiles this kernel for each list of augmentations.

The kernel does the same as the loop of `augmented_frames`. If a sample is mixed with other samples (its partners), the kernel makes
several reads for it: one read of its own columns, and one or more reads of its partners' columns. Each instance
of the kernel handles some of the non-zeros that one read returns. Values are added to the frames atomically; sums of whole numbers are exact in any order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from torch import Tensor

from spikestore.train.data.batch import StoredSamples
from spikestore.train.data.device_samples import sent_to
from spikestore.train.data.frames.augmentation_steps import (
    BOX,
    DROP,
    GAUSSIANS,
    JITTER,
    MASK,
    MIRROR,
    MIX_ALIGNED,
    MIX_BOX,
    MIX_EVENTS,
    MIX_MASK,
    MIX_REGION,
    MOVE,
    NOISE,
    REGION,
    ROLL,
    ROTATE,
    SHEAR,
    SHIFT,
    STRETCH,
    THIN,
    AugmentationStep,
    columns_of_steps,
)
from spikestore.train.data.frames.draw_kernels import EVENT_BITS, EVENTS_OF_BITS, FACTORS, HALVINGS
from spikestore.train.data.gpu_frames import mask_of_view
from spikestore.train.data.splitmix import MULTIPLIERS, STEP

_BLOCK, _PARTS = 256, 4
"""Non-zeros that an instance of the kernel handles at a time, and instances for each read of a sample."""

# A kernel reads global numbers only as constexpr.
_SHIFT, _JITTER, _DROP, _MIRROR = map(tl.constexpr, (SHIFT, JITTER, DROP, MIRROR))
_THIN, _MASK, _MOVE, _STRETCH = map(tl.constexpr, (THIN, MASK, MOVE, STRETCH))
_ROTATE, _NOISE, _MIX_MASK, _MIX_BOX = map(tl.constexpr, (ROTATE, NOISE, MIX_MASK, MIX_BOX))
_ROLL, _SHEAR, _BOX = map(tl.constexpr, (ROLL, SHEAR, BOX))
_MIX_EVENTS, _MIX_REGION, _REGION, _GAUSSIANS = map(tl.constexpr, (MIX_EVENTS, MIX_REGION, REGION, GAUSSIANS))
_MIX_ALIGNED = tl.constexpr(MIX_ALIGNED)
_F1, _F2, _F3, _F4, _F5, _F6 = map(tl.constexpr, FACTORS)
_SMALL, _HALVINGS = map(tl.constexpr, (2.0**-HALVINGS, HALVINGS))
_EVENT_BITS, _EVENTS_OF_BITS = map(tl.constexpr, (EVENT_BITS, EVENTS_OF_BITS))
_EVENT_MASK = tl.constexpr(2**EVENT_BITS - 1)
_FIRST, _SECOND, _STEP = map(tl.constexpr, (*MULTIPLIERS, STEP))


@triton.jit
def _mixed(key):
    key = (key ^ (key >> 30)) * _FIRST
    key = (key ^ (key >> 27)) * _SECOND
    return key ^ (key >> 31)


@triton.jit
def _high_bits(key):
    return (key >> 11).to(tl.int64)


@triton.jit
def _bits(own, at):
    return _mixed((own ^ at).to(tl.uint64, bitcast=True) + _STEP)


@triton.jit
def _is_in(mask, coordinate):
    start = mask >> 31
    return (coordinate >= start) & (coordinate < start + (mask & 0x7FFFFFFF))


@triton.jit
def _events_below(bits, amount, number):
    below = tl.zeros_like(amount)
    mine, most = bits, tl.cast(number, tl.uint64)
    for turn in range(tl.cdiv(tl.max(amount), _EVENTS_OF_BITS)):
        for event in tl.static_range(_EVENTS_OF_BITS):
            one = (mine >> (64 - _EVENT_BITS * (1 + event))) & _EVENT_MASK
            below += ((one < most) & (_EVENTS_OF_BITS * turn + event < amount)).to(tl.int64)
        mine = _mixed((bits ^ tl.cast(turn + 1, tl.uint64)) + _STEP)
    return below


@triton.jit
def _factor(place, centre, inverse):
    far = place.to(tl.float64) - centre
    small = far * far * inverse * _SMALL
    power = small * _F6 + _F5
    power = power * small + _F4
    power = power * small + _F3
    power = power * small + _F2
    power = power * small + _F1
    power = power * small + 1.0
    for _ in tl.static_range(_HALVINGS):
        power = power * power
    return power


@triton.jit
def _density(region_at, bins, rows, columns):
    total = tl.zeros(bins.shape, tl.float64)
    for gaussian in range(_GAUSSIANS):
        first = region_at + 1 + 7 * gaussian
        time = tl.load(first) * _factor(bins, tl.load(first + 1), tl.load(first + 4))
        y = _factor(rows, tl.load(first + 2), tl.load(first + 5))
        total = total + time * (y * _factor(columns, tl.load(first + 3), tl.load(first + 6)))
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _changed(
    at, amount, kind: tl.constexpr, step, read, sample,
    numbers_at, drawn_at, owners_at, partners_at, regions_at, totals_at, places_at, batch, steps,
):  # fmt: skip
    a, b = tl.load(numbers_at + 4 * step), tl.load(numbers_at + 4 * step + 1)
    c, mix = tl.load(numbers_at + 4 * step + 2), tl.load(numbers_at + 4 * step + 3)
    owner = tl.load(owners_at + (read * (steps + 1) + step) * batch + sample)
    own = tl.load(drawn_at + step * batch + owner)
    second = tl.load(drawn_at + (steps + step) * batch + owner)
    end = tl.load(places_at + owner)
    if kind == _SHIFT:
        at += own
        amount = tl.where((at >= 0) & (at < end), amount, 0)
    elif kind == _MIRROR:
        at = tl.where(own > 0, at + (own - 1 - 2 * (at // a % b)) * a, at)
    elif kind == _MASK:
        amount = tl.where(_is_in(own, at // a % b), 0, amount)
    elif kind == _MOVE:
        coordinate = at // a % b + own
        amount = tl.where((coordinate >= 0) & (coordinate < b), amount, 0)
        at += own * a
    elif kind == _ROLL:
        at += tl.where(at // a % b + own < b, own, own - b) * a
    elif kind == _BOX:
        amount = tl.where(_is_in(own, at % b) & _is_in(second, at // b % c), 0, amount)
    elif kind == _SHEAR:
        new_x = at % b + ((own * (2 * (at // b % c) - (c - 1)) + (1 << 16)) >> 17)
        amount = tl.where((new_x >= 0) & (new_x < b), amount, 0)
        at += new_x - at % b
    elif kind == _STRETCH:
        bins = at // a
        at += ((bins * own >> 16) - bins) * a
        amount = tl.where(at < end, amount, 0)
    elif kind == _ROTATE:
        x, y = at % b, at // b % c
        far_x, far_y = 2 * x - (b - 1), 2 * y - (c - 1)
        new_x = (own * far_x - second * far_y + (b << 16)) >> 17
        new_y = (second * far_x + own * far_y + (c << 16)) >> 17
        inside = (new_x >= 0) & (new_x < b) & (new_y >= 0) & (new_y < c)
        amount = tl.where(inside, amount, 0)
        at += new_x - x + (new_y - y) * b
    elif kind == _JITTER:
        x = at % b
        moved = x + _high_bits(_bits(own, at)) % (2 * second + 1) - second
        at += tl.minimum(tl.maximum(moved, 0), b - 1) - x
    elif kind == _DROP:
        amount = tl.where(_high_bits(_bits(own, at)) < second, 0, amount)
    elif kind == _THIN:
        amount -= _events_below(_bits(own, at), amount, second)
    elif kind >= _MIX_MASK:
        side = read >> mix & 1
        is_mixed = tl.load(partners_at + mix * batch + owner) >= 0
        if kind != _MIX_ALIGNED:
            amount = tl.where((side == 1) & (at >= end), 0, amount)
        if kind >= _MIX_EVENTS:
            below = _events_below(_bits(tl.where(side == 1, second, own), at), amount, a)
            kept = tl.where(side == 1, below, amount - below)
            if kind == _MIX_ALIGNED:
                shift_at, sign = regions_at + (mix * batch + owner) * _REGION, 1 - 2 * side
                time = tl.load(shift_at).to(tl.int64) * sign
                y, x = tl.load(shift_at + 1).to(tl.int64) * sign, tl.load(shift_at + 2).to(tl.int64) * sign
                new_x, new_y = at % b + x, at // b % c + y
                moved = at + time + y * b + x
                inside = (
                    (new_x >= 0) & (new_x < b) & (new_y >= 0) & (new_y < c) & (moved >= 0) & (moved < end)
                )
                kept = tl.where(inside, kept, 0)
                at = tl.where(is_mixed, moved, at)
        else:
            if kind == _MIX_MASK:
                inside = _is_in(own, at // a % b)
            elif kind == _MIX_BOX:
                inside = _is_in(own, at % b) & _is_in(second, at // b % c)
            else:
                region_at = regions_at + (mix * batch + owner) * _REGION
                inside = _density(region_at, at // a, at // b % c, at % b) > tl.load(region_at)
                counted = is_mixed & (read >> (mix + 1) == 0)
                for part in tl.static_range(2):
                    events = tl.sum(tl.where(inside == (part == 1), amount, 0))
                    total_at = totals_at + ((mix * batch + owner) * 2 + side) * 2 + part
                    tl.atomic_add(total_at, events.to(tl.float64), mask=counted)
            kept = tl.where(inside == (side == 1), amount, 0)
        amount = tl.where(is_mixed, kept, amount)
    return at, amount


@triton.jit  # type: ignore[untyped-decorator]
def _after(
    at, amount, first: tl.constexpr, read, sample,
    numbers_at, drawn_at, owners_at, partners_at, regions_at, totals_at, places_at,
    batch, kinds: tl.constexpr, steps: tl.constexpr,
):  # fmt: skip
    for step in tl.static_range(first, steps):
        at, amount = _changed(
            at, amount, (kinds >> (5 * step)) & 31, step, read, sample,
            numbers_at, drawn_at, owners_at, partners_at, regions_at, totals_at, places_at, batch, steps,
        )  # fmt: skip
    return at, amount


# Numbers of other batches, such as the last one of an epoch, must not compile the kernel anew.
@triton.jit(do_not_specialize=["starts_at", "ends_at", "batch", "row_places"])  # type: ignore[untyped-decorator]
def _fill_augmented(
    index_at, value_at, starts_at, ends_at, numbers_at, drawn_at, owners_at, partners_at, regions_at, totals_at, places_at, frames_at,
    batch, row_places, kinds: tl.constexpr, steps: tl.constexpr,
    index_mask: tl.constexpr, value_mask: tl.constexpr, parts: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    sample, read, part = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    source = tl.load(owners_at + (read * (steps + 1) + steps) * batch + sample)
    if source >= 0:
        row_at, own_places = frames_at + sample * row_places, tl.load(places_at + sample)
        source_places = tl.load(places_at + source)
        begin, end = tl.load(starts_at + source), tl.load(ends_at + source)
        place = begin + part * block + tl.arange(0, block)
        for _ in range(tl.cdiv(end - begin, parts * block)):
            inside = place < end
            at = tl.load(index_at + place, mask=inside, other=0).to(tl.int64)
            amount = tl.load(value_at + place, mask=inside, other=0).to(tl.int64)
            # Columns of unsigned integers are signed views of the same bytes.
            if index_mask != 0:
                at = at & index_mask
            if value_mask != 0:
                amount = amount & value_mask
            amount = tl.where((at >= 0) & (at < source_places), amount, 0)
            at, amount = _after(
                at, amount, 0, read, sample,
                numbers_at, drawn_at, owners_at, partners_at, regions_at, totals_at, places_at, batch, kinds, steps,
            )  # fmt: skip
            kept = (amount > 0) & (at >= 0) & (at < own_places)
            tl.atomic_add(row_at + at, amount.to(tl.float32), mask=kept)
            place += parts * block
        for step in tl.static_range(steps):
            if (kinds >> (5 * step)) & 31 == _NOISE:
                mix = tl.load(numbers_at + 4 * step + 3)
                owner = tl.load(owners_at + (read * (steps + 1) + step) * batch + sample)
                places = tl.load(places_at + owner)
                # Reads that differ in earlier steps only have the same noise: one of them adds it.
                if (read & ((1 << mix) - 1) == 0) & (places > 0):
                    events = tl.load(drawn_at + step * batch + owner)
                    bits = tl.load(drawn_at + (steps + step) * batch + owner)
                    event = (part * block + tl.arange(0, block)).to(tl.int64)
                    for _ in range(tl.cdiv(events, parts * block)):
                        at = _high_bits(_bits(bits, event)) % places
                        at, amount = _after(
                            at, (event < events).to(tl.int64), step + 1, read, sample,
                            numbers_at, drawn_at, owners_at, partners_at, regions_at, totals_at, places_at, batch, kinds, steps,
                        )  # fmt: skip
                        kept = (amount > 0) & (at >= 0) & (at < own_places)
                        tl.atomic_add(row_at + at, amount.to(tl.float32), mask=kept)
                        event += parts * block


def fill_augmented(
    stored: StoredSamples, steps: Sequence[AugmentationStep], places: npt.NDArray[np.int64], frames: Tensor
) -> Tensor:
    """Apply steps to the events of a batch, and add the events to its frames; return `StepColumns.totals`.

    Parameters
    ----------
    stored : StoredSamples
        The samples, with whole numbers as values.
    steps : sequence of AugmentationStep
        The steps, on the host.
    places : int64 array, shape (batch,)
        Number of elements of each sample's own frames, without padding.
    frames : float32 Tensor, shape (batch, time, polarity, [y,] x)
        Zeros before the call.

    Returns
    -------
    float64 Tensor, shape (mixing steps, batch, 2, 2)
        See `StepColumns`, attribute `totals`.
    """
    size, device = len(places), frames.device
    columns = columns_of_steps(steps)
    totals = torch.zeros((len(columns.partners), size, 2, 2), dtype=torch.float64, device=device)
    if frames.numel() == 0:
        return totals
    kinds = columns.numbers[:, 0]
    are_mixing = kinds >= MIX_MASK
    numbers = np.column_stack([columns.numbers[:, 1:], np.cumsum(are_mixing) - are_mixing])
    owners = _owners(are_mixing, columns.partners, size)
    arrays = numbers, columns.drawn, owners, columns.partners, columns.regions.view(np.int64), places
    numbers_at, drawn_at, owners_at, partners_at, regions_at, places_at = _sent_together(arrays, device)
    _fill_augmented[(size, len(owners), _PARTS)](
        stored.index, stored.value, stored.starts, stored.ends, numbers_at, drawn_at, owners_at, partners_at,
        regions_at.view(torch.float64), totals, places_at, frames,
        size, frames[0].numel(), sum(int(kind) << 5 * number for number, kind in enumerate(kinds)), len(kinds),
        mask_of_view(stored.index), mask_of_view(stored.value), _PARTS, _BLOCK,
        enable_fp_fusion=False,  # products stay apart from sums, as on the CPU
    )  # fmt: skip
    return totals


def _owners(
    are_mixing: npt.NDArray[np.bool_], partners: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    """Return positions of samples in the batch: int64, shape (reads, steps + 1, batch).

    With k mixing steps, up to 2^k samples are mixed into one. So there are 2^k reads for each sample of the batch. Each read
    reads the columns of one sample, and applies all steps to them, with the random numbers of this sample or of a sample into which
    it is mixed.

    ``[read, step]`` has the samples whose random numbers the step uses; ``[read, -1]`` has the samples whose columns are read. A
    position is -1 if there is no such sample, because a sample has no partner to mix with.
    """
    owners = np.empty((2 ** len(partners), len(are_mixing) + 1, size), np.int64)
    for read, owners_of_read in enumerate(owners):
        owner, mix = np.arange(size), len(partners)
        for step in reversed(range(len(are_mixing))):
            owners_of_read[step] = owner
            if are_mixing[step]:
                mix -= 1
                if read >> mix & 1:
                    owner = np.where(owner < 0, -1, partners[mix, np.maximum(owner, 0)])
        owners_of_read[-1] = owner
    return owners


def _sent_together(arrays: Sequence[npt.NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """Copy arrays to a device in one transfer, and return them as flat tensors; an array of an odd size gets one 0 more at its end.

    Each tensor begins at an even position, so that its address is a multiple of 16 bytes in every call. If this were true in one
    call and false in another, Triton would compile the kernel again.
    """
    starts = np.cumsum([0, *(array.size + array.size % 2 for array in arrays)])
    table = np.zeros(starts[-1], np.int64)
    for start, array in zip(starts, arrays, strict=False):
        table[start : start + array.size] = array.ravel()
    return list(sent_to(device, torch.from_numpy(table)).split(np.diff(starts).tolist()))
