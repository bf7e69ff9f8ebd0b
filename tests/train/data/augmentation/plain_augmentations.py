"""Augmentations in plain NumPy and Python's whole numbers, which judge the compiled loop and torch's operations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from tests.train.data.augmentation.plain_draws import (
    FIRST_ROW,
    SEED,
    Frames,
    PlainBatch,
    bits_of,
    event_lost,
    lost,
    redrawn,
    several,
    uniform,
)
from tests.train.data.augmentation.plain_mixtures import MIXTURES, MORE_MIXTURES

from spikestore.train import (
    AreaMask,
    ChannelJitter,
    ChannelMask,
    ChannelShift,
    EventDrop,
    EventThinning,
    OneOf,
    PolarityFlip,
    Roll,
    Rotate,
    Shear,
    SpatialFlip,
    TimeMask,
    TimeReversal,
    TimeShift,
    TimeStretch,
    Translate,
    UniformNoise,
)


def moved(frames: Frames, by: int, axis: int) -> Frames:
    """Shift along an axis; what leaves is dropped, zeros enter."""
    size = frames.shape[axis]
    out = np.zeros_like(frames)
    for at in range(size):
        if 0 <= at + by < size:
            out.swapaxes(0, axis)[at + by] = frames.swapaxes(0, axis)[at]
    return out


def masked(frames: Frames, bits: int, width: int, axis: int, probability: float = 1) -> Frames:
    """Empty adjacent places along an axis."""
    size = frames.shape[axis]
    start = (redrawn(bits) >> 11) % (size - width + 1)
    out = frames.copy()
    if lost(redrawn(redrawn(bits)), probability):
        out.swapaxes(0, axis)[start : start + width] = 0
    return out


def each(frames: Frames, change: Callable[[Frames, tuple[int, ...], int, int], None], bits: int) -> Frames:
    """Call `change` for each non-zero, with the result, its place, its count and its random bits; return the result."""
    out = np.zeros_like(frames)
    for place in zip(*np.nonzero(frames), strict=True):
        index = int(np.ravel_multi_index(place, frames.shape))
        change(out, place, int(frames[place]), redrawn(bits ^ index))
    return out


def jittered(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Move a count by up to 2 channels."""
    x = min(max(place[-1] + (bits >> 11) % 5 - 2, 0), out.shape[-1] - 1)
    out[(*place[:-1], x)] += count


def dropped(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Drop or keep a count as a whole."""
    out[place] = 0 if lost(bits, 0.4) else count


def thinned(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Drop or keep each event by itself."""
    out[place] = sum(not event_lost(bits, event, 0.4) for event in range(count))


def stretched(frames: Frames, bits: int) -> Frames:
    """Make time longer or shorter by up to a half."""
    factor = 65536 + (bits >> 11) % 65537 - 32768
    out = np.zeros_like(frames)
    for at, frame in enumerate(frames):
        if at * factor // 65536 < len(out):
            out[at * factor // 65536] += frame
    return out


def rotated(frames: Frames, bits: int) -> Frames:
    """Rotate by up to 100 degrees, each pixel to the nearest place (of two that are as near, to the one with the larger coordinate)."""
    angle = math.radians(((bits >> 11) % 3201 - 1600) / 16)
    cosine, sine = (round(65536 * of(angle)) / 65536 for of in (math.cos, math.sin))
    out = np.zeros_like(frames)
    height, width = frames.shape[2:]
    for y, x in np.ndindex(height, width):
        far_x, far_y = x - (width - 1) / 2, y - (height - 1) / 2
        new_x = math.floor(cosine * far_x - sine * far_y + (width - 1) / 2 + 0.5)
        new_y = math.floor(sine * far_x + cosine * far_y + (height - 1) / 2 + 0.5)
        if 0 <= new_x < width and 0 <= new_y < height:
            out[:, :, new_y, new_x] += frames[:, :, y, x]
    return out


def noisy(frames: Frames, bits: int) -> Frames:
    """Add 5 events."""
    out = frames.copy()
    for event in range(5):
        out.reshape(-1)[(redrawn(bits ^ event) >> 11) % out.size] += 1
    return out


def translated(frames: Frames, bits: int) -> Frames:
    """Shift by up to 2 pixels along x and y."""
    return moved(moved(frames, (bits >> 11) % 5 - 2, 3), (redrawn(bits) >> 11) % 5 - 2, 2)


def flipped(axis: int, probability: float) -> Callable[[Frames, int], Frames]:
    """Return the function that flips along an axis."""
    return lambda frames, bits: np.flip(frames, axis) if lost(bits, probability) else frames


SINGLE: list[tuple[Any, int, Callable[[Frames, int], Frames]]] = [
    (TimeShift(3, SEED), 1, lambda frames, bits: moved(frames, (bits >> 11) % 7 - 3, 0)),
    (ChannelJitter(2, SEED), 2, lambda frames, bits: each(frames, jittered, bits)),
    (EventDrop(0.4, SEED), 3, lambda frames, bits: each(frames, dropped, bits)),
    (EventThinning(0.4, SEED), 5, lambda frames, bits: each(frames, thinned, bits)),
    (SpatialFlip(0.5, "y", SEED), 4, flipped(2, 0.5)),
    (SpatialFlip(1, "x", SEED), 4, flipped(3, 1)),
    (PolarityFlip(1, SEED), 6, flipped(1, 1)),
    (TimeReversal(1, SEED), 7, flipped(0, 1)),
    (ChannelShift(2, "x", SEED), 8, lambda frames, bits: moved(frames, (bits >> 11) % 5 - 2, 3)),
    (ChannelShift(2, "y", SEED), 9, lambda frames, bits: moved(frames, (bits >> 11) % 5 - 2, 2)),
    (
        TimeMask(4, SEED, 0.7),
        10,
        lambda frames, bits: masked(frames, bits, min((bits >> 11) % 5, len(frames)), 0, 0.7),
    ),
    (
        TimeMask(share=0.3, seed=SEED),
        10,
        lambda frames, bits: masked(frames, bits, int(0.3 * len(frames)), 0),
    ),
    (ChannelMask(3, SEED), 11, lambda frames, bits: masked(frames, bits, (bits >> 11) % 4, 3)),
    (TimeStretch(0.5, SEED), 12, stretched),
    (Translate(2, SEED), 13, translated),
    (Rotate(100, SEED), 14, rotated),
    (UniformNoise(5, SEED), 15, noisy),
]


def rolled(frames: Frames, row: int) -> Frames:
    """Shift by up to 2 pixels along x and y; pixels that leave come in on the other side."""
    return np.roll(frames, [(bits >> 11) % 5 - 2 for bits in several(bits_of(20, row), 2)], (3, 2))


def sheared(frames: Frames, row: int) -> Frames:
    """Shear by up to 60 degrees."""
    tangent = round(65536 * math.tan(math.radians(((bits_of(21, row) >> 11) % 1921 - 960) / 16))) / 65536
    out = np.zeros_like(frames)
    height, width = frames.shape[2:]
    for y, x in np.ndindex(height, width):
        new_x = math.floor(x + tangent * (y - (height - 1) / 2) + 0.5)
        if 0 <= new_x < width:
            out[:, :, y, new_x] += frames[:, :, y, x]
    return out


def area_masked(frames: Frames, row: int, levels: int = 3) -> Frames:
    """Empty a rectangle whose sides are 60 % of the frame's, or 20, 40 or 60 % with three levels."""
    level, *centres = several(bits_of(22, row), 3)
    ratio, out = 0.6 * (1 + (level >> 11) % levels) / levels, frames.copy()
    kept = []
    for size, centre in zip((frames.shape[3], frames.shape[2]), centres, strict=True):
        first = int(max(0, size * uniform(centre) - size * ratio / 2))
        kept.append((np.arange(size) < first) | (np.arange(size) > min(size, first + size * ratio)))
    out[..., ~(kept[1][:, None] | kept[0])] = 0
    return out


def thinned_by_level(frames: Frames, row: int) -> Frames:
    """Drop about 20, 40, 60 or 80 % of the events."""
    number = int(0.8 * 2**21) * (1 + (bits_of(23, row) >> 11) % 4) // 4

    def keep(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
        out[place] = sum(not event_lost(bits, event, number / 2**21) for event in range(count))

    return each(frames, keep, bits_of(5, row))


def time_masked_by_level(frames: Frames, row: int) -> Frames:
    """Empty 10, 20, … or 90 % of the bins."""
    bits = bits_of(10, row)
    return masked(frames, bits, int(len(frames) * (0.9 * (1 + (bits >> 11) % 9) / 9)), 0)


def one_of(*choices: Callable[[Frames, int], Frames]) -> Callable[[Frames, int], Frames]:
    """Apply one of the choices to four of five samples."""

    def change(frames: Frames, row: int) -> Frames:
        chance, which = several(bits_of(19, row), 2)
        return choices[(which >> 11) % len(choices)](frames, row) if lost(chance, 0.8) else frames

    return change


_MOVES = (Roll(2, SEED), Shear(60, SEED), ChannelJitter(2, SEED))
_LEVELS = (AreaMask(0.6, 3, SEED), EventThinning(0.8, SEED, 4))
BY_ROW: list[tuple[Any, Callable[[Frames, int], Frames]]] = [
    (_MOVES[0], rolled),
    (_MOVES[1], sheared),
    (_LEVELS[0], area_masked),
    (_LEVELS[1], thinned_by_level),
    (TimeMask(share=0.9, levels=9, seed=SEED), time_masked_by_level),
    (AreaMask(0.6, seed=SEED), functools.partial(area_masked, levels=1)),
    (
        OneOf((*_MOVES, _LEVELS[0]), 0.8, SEED),
        one_of(rolled, sheared, lambda frames, row: each(frames, jittered, bits_of(2, row)), area_masked),
    ),
    (OneOf(_LEVELS, 0.8, SEED), one_of(area_masked, thinned_by_level)),
]


def _by_row(change: Callable[[Frames, int], Frames]) -> Callable[[PlainBatch], PlainBatch]:
    def apply(batch: PlainBatch) -> PlainBatch:
        rows = range(FIRST_ROW, FIRST_ROW + len(batch.frames))
        frames = [change(one, row) for one, row in zip(batch.frames, rows, strict=True)]
        return PlainBatch(frames, batch.labels, batch.classes)

    return apply


def _single(kind: int, change: Callable[[Frames, int], Frames]) -> Callable[[PlainBatch], PlainBatch]:
    return _by_row(lambda frames, row: change(frames, bits_of(kind, row)))


PLAIN: list[tuple[Any, Callable[[PlainBatch], PlainBatch]]] = [
    *((one, _single(kind, change)) for one, kind, change in SINGLE),
    *MIXTURES,
    *((one, _by_row(change)) for one, change in BY_ROW),
    *MORE_MIXTURES,
]
"""Augmentations, and the functions that do the same with a whole batch."""
