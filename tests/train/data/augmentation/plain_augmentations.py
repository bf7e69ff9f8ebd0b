"""Augmentations in plain NumPy and Python's whole numbers, which judge the compiled loop and torch's operations."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.train import (
    AreaMask,
    Blend,
    ChannelJitter,
    ChannelMask,
    ChannelShift,
    CutMix,
    EventDrop,
    EventMix,
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

Frames = npt.NDArray[np.int64]
SEED, EPOCH, FIRST_ROW, CLASSES = 5, 3, 17, 3


@dataclass
class PlainBatch:
    """Frames of each sample, shape (bins, 2, 3, 4), and labels: weights of the classes."""

    frames: list[Frames]
    labels: npt.NDArray[np.float64]
    classes: list[int]


def mixed(key: int) -> int:
    """Mix bits as SplitMix64 does, with Python's whole numbers."""
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
    return key ^ key >> 31


def redrawn(key: int) -> int:
    """Return other bits."""
    return mixed((key + 0x9E3779B97F4A7C15) % 2**64)


def several(key: int, count: int) -> list[int]:
    """Return several other bits."""
    return [redrawn(key ^ number) for number in range(count)]


def bits_of(kind: int, row: int) -> int:
    """Return the random bits of a sample."""
    key = 0
    for part in (SEED, EPOCH, kind, row):
        key = redrawn(key ^ part)
    return key


def lost(key: int, probability: float) -> bool:
    """Return whether 53 bits are below the probability."""
    return key >> 11 < int(probability * 2**53)


def uniform(key: int) -> float:
    """Return a number from 0 to 1."""
    return (key >> 11) * 2.0**-53


def moved(frames: Frames, by: int, axis: int) -> Frames:
    """Shift along an axis; what leaves is dropped, zeros enter."""
    size = frames.shape[axis]
    out = np.zeros_like(frames)
    for at in range(size):
        if 0 <= at + by < size:
            out.swapaxes(0, axis)[at + by] = frames.swapaxes(0, axis)[at]
    return out


def masked(frames: Frames, bits: int, width: int, axis: int, probability: float = 1) -> Frames:
    """Empty adjacent places."""
    size = frames.shape[axis]
    start = (redrawn(bits) >> 11) % (size - width + 1)
    out = frames.copy()
    if lost(redrawn(redrawn(bits)), probability):
        out.swapaxes(0, axis)[start : start + width] = 0
    return out


def each(frames: Frames, change: Callable[[Frames, tuple[int, ...], int, int], None], bits: int) -> Frames:
    """Change the non-zeros one by one: (result, place, count, random bits)."""
    out = np.zeros_like(frames)
    for place in zip(*np.nonzero(frames), strict=True):
        index = int(np.ravel_multi_index(place, frames.shape))
        change(out, place, int(frames[place]), redrawn(bits ^ index))
    return out


def jittered(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Jitter by up to 2."""
    x = min(max(place[-1] + (bits >> 11) % 5 - 2, 0), out.shape[-1] - 1)
    out[(*place[:-1], x)] += count


def dropped(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Drop whole counts."""
    out[place] = 0 if lost(bits, 0.4) else count


def thinned(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
    """Drop each event."""
    out[place] = sum(not lost(redrawn(bits ^ event), 0.4) for event in range(count))


def stretched(frames: Frames, bits: int) -> Frames:
    """Stretch by up to a half."""
    factor = 65536 + (bits >> 11) % 65537 - 32768
    out = np.zeros_like(frames)
    for at, frame in enumerate(frames):
        if at * factor // 65536 < len(out):
            out[at * factor // 65536] += frame
    return out


def rotated(frames: Frames, bits: int) -> Frames:
    """Rotate by up to 100 degrees, pixel by pixel, to the nearest one (up, if two are as near)."""
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


def partner_of(batch: PlainBatch, sample: int, bits: int, probability: float, same: bool) -> int | None:
    """Return a sample's partner."""
    chance, other = several(bits, 2)
    members = [
        one for one in range(len(batch.frames)) if not same or batch.classes[one] == batch.classes[sample]
    ]
    if len(members) == 1 or not lost(chance, probability):
        return None
    step = 1 + (other >> 11) % (len(members) - 1)
    return members[(members.index(sample) + step) % len(members)]


def like(frames: Frames, other: Frames) -> Frames:
    """Return frames with the length of others."""
    out = np.zeros_like(other)
    out[: len(frames)] = frames[: len(out)]
    return out


def mix(
    batch: PlainBatch,
    kind: int,
    probability: float,
    mixture: Callable[[Frames, Frames, list[int]], tuple[Frames, float]],
    *,
    same: bool = False,
) -> PlainBatch:
    """Mix each sample with its partner; `mixture` returns the frames and the weight of the own label."""
    frames, labels = [], batch.labels.copy()
    for sample, own in enumerate(batch.frames):
        bits = bits_of(kind, FIRST_ROW + sample)
        partner = partner_of(batch, sample, bits, probability, same)
        if partner is None:
            frames.append(own)
            continue
        made, share = mixture(own, like(batch.frames[partner], own), several(bits, 34)[2:])
        frames.append(made)
        labels[sample] = share * batch.labels[sample] + (1 - share) * batch.labels[partner]
    return PlainBatch(frames, labels, batch.classes)


def cut_time(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Take adjacent bins of the other."""
    part, out = uniform(bits[0]), own.copy()
    width = int(part * len(own))
    start = (bits[1] >> 11) % (len(own) - width)
    out[start : start + width] = other[start : start + width]
    return out, 1 - part


def cut_box(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Take a rectangle of the other."""
    part, out = uniform(bits[0]), own.copy()
    height, width = own.shape[2:]
    edges = []
    for size, drawn in zip((width, height), bits[1:3], strict=True):
        half, centre = int(size * math.sqrt(part)) // 2, (drawn >> 11) % size
        edges.append((max(centre - half, 0), min(centre + half, size)))
    (x0, x1), (y0, y1) = edges
    out[:, :, y0:y1, x0:x1] = other[:, :, y0:y1, x0:x1]
    return out, 1 - (x1 - x0) * (y1 - y0) / (width * height)


def region(sizes: tuple[int, int, int], bits: list[int]) -> npt.NDArray[np.bool_]:
    """Return where a mixture of Gaussians is above its density at a random place; `sizes` of time, y, x."""
    gaussians, place = 2 + (bits[0] >> 11) % 3, [(bits[1 + axis] >> 11) % sizes[axis] for axis in range(3)]
    grid, density = np.meshgrid(*map(np.arange, sizes), indexing="ij"), np.zeros(sizes)
    for number in range(gaussians):
        weight, *drawn = bits[4 + 7 * number : 11 + 7 * number]
        exponent = np.zeros(sizes)
        for at, size, centre, width in zip(grid, sizes, drawn[:3], drawn[3:], strict=True):
            deviation = max(uniform(width), 0.1) * size * 0.5
            exponent += ((at - (centre >> 11) % size) / deviation) ** 2 / 2
        density += uniform(weight) * np.exp(-exponent)
    inside: npt.NDArray[np.bool_] = density > density[tuple(place)] * (1 + 1e-12)  # equal places are outside
    return inside


def mix_events(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Take the events of the other in a region; labels by events."""
    inside = region((own.shape[0], own.shape[2], own.shape[3]), bits)[:, None]
    kept = (own * ~inside).sum() / max(own.sum(), 1)
    taken = (other * inside).sum() / max(other.sum(), 1)
    share = kept / (kept + taken) if kept + taken else 1.0
    return np.where(inside, other, own), float(share)


def blended(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Keep 70 % of the own events, and 30 % of the other's."""
    out = np.zeros_like(own)
    for frames, drawn, wanted in ((own, bits[0], False), (other, bits[1], True)):
        for place in zip(*np.nonzero(frames), strict=True):
            cell = redrawn(drawn ^ int(np.ravel_multi_index(place, frames.shape)))
            out[place] += sum(
                lost(redrawn(cell ^ event), 1 - 0.7) == wanted for event in range(int(frames[place]))
            )
    return out, 1.0


MIXTURES: list[tuple[Any, Callable[[PlainBatch], PlainBatch]]] = [
    (Blend(0.7, 0.8, SEED), lambda batch: mix(batch, 18, 0.8, blended, same=True)),
    (CutMix("time", 0.8, SEED), lambda batch: mix(batch, 16, 0.8, cut_time)),
    (CutMix("xy", 0.8, SEED), lambda batch: mix(batch, 16, 0.8, cut_box)),
    (EventMix(0.8, SEED), lambda batch: mix(batch, 17, 0.8, mix_events)),
]


def rolled(frames: Frames, row: int) -> Frames:
    """Shift by up to 2 pixels along x and y, in a circle."""
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
    """Empty a rectangle with three fifths of the sides, or with a fifth, two fifths or three fifths."""
    level, *centres = several(bits_of(22, row), 3)
    ratio, out = 0.6 * (1 + (level >> 11) % levels) / levels, frames.copy()
    kept = []
    for size, centre in zip((frames.shape[3], frames.shape[2]), centres, strict=True):
        first = int(max(0, size * uniform(centre) - size * ratio / 2))
        kept.append((np.arange(size) < first) | (np.arange(size) > min(size, first + size * ratio)))
    out[..., ~(kept[1][:, None] | kept[0])] = 0
    return out


def thinned_by_level(frames: Frames, row: int) -> Frames:
    """Drop a quarter to all of four fifths of the events."""
    number = int(0.8 * 2**53) * (1 + (bits_of(23, row) >> 11) % 4) // 4

    def keep(out: Frames, place: tuple[int, ...], count: int, bits: int) -> None:
        out[place] = sum(redrawn(bits ^ event) >> 11 >= number for event in range(count))

    return each(frames, keep, bits_of(5, row))


def time_masked_by_level(frames: Frames, row: int) -> Frames:
    """Empty a tenth to nine tenths of the bins."""
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
]
"""Augmentations, and the functions that do the same with a whole batch."""
