"""Augmentations that mix samples, in plain NumPy and Python's whole numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
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

from spikestore.train import Blend, CutMix, EventMix


def partner_of(
    batch: PlainBatch, sample: int, bits: int, probability: float, same: bool, other_class: bool = False
) -> int | None:
    """Return a sample's partner, of the same class, of another class or any other, or None if the sample is not mixed."""
    chance, other = several(bits, 2)
    members = [
        one
        for one in range(len(batch.frames))
        if not (same or other_class) or batch.classes[one] == batch.classes[sample]
    ]
    if other_class:
        choices = sorted(set(range(len(batch.frames))) - set(members), key=lambda one: batch.classes[one])
        return choices[(other >> 11) % len(choices)] if choices and lost(chance, probability) else None
    if len(members) == 1 or not lost(chance, probability):
        return None
    step = 1 + (other >> 11) % (len(members) - 1)
    return members[(members.index(sample) + step) % len(members)]


def like(frames: Frames, other: Frames) -> Frames:
    """Return frames that are cut, or filled up with zeros, to the length of others."""
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
    other_class: bool = False,
) -> PlainBatch:
    """Mix each sample with its partner; `mixture` returns the frames and the weight of the own label."""
    frames, labels = [], batch.labels.copy()
    for sample, own in enumerate(batch.frames):
        bits = bits_of(kind, FIRST_ROW + sample)
        partner = partner_of(batch, sample, bits, probability, same, other_class)
        if partner is None:
            frames.append(own)
            continue
        made, share = mixture(own, like(batch.frames[partner], own), several(bits, 34)[2:])
        frames.append(made)
        labels[sample] = share * batch.labels[sample] + (1 - share) * batch.labels[partner]
    return PlainBatch(frames, labels, batch.classes)


def cut_time(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Replace adjacent bins by those of the other sample."""
    part, out = uniform(bits[0]), own.copy()
    width = int(part * len(own))
    start = (bits[1] >> 11) % (len(own) - width)
    out[start : start + width] = other[start : start + width]
    return out, 1 - part


def cut_box(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Replace a rectangle by that of the other sample."""
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
    """Return where the density of a mixture of Gaussians is above that at a random place; `sizes` are of time, y, x."""
    gaussians, place = 2 + (bits[0] >> 11) % 3, [(bits[1 + axis] >> 11) % sizes[axis] for axis in range(3)]
    grid, density = np.meshgrid(*map(np.arange, sizes), indexing="ij"), np.zeros(sizes)
    for number in range(gaussians):
        weight, *drawn = bits[4 + 7 * number : 11 + 7 * number]
        exponent = np.zeros(sizes)
        for at, size, centre, width in zip(grid, sizes, drawn[:3], drawn[3:], strict=True):
            deviation = max(uniform(width), 0.1) * size * 0.5
            exponent += ((at - (centre >> 11) % size) / deviation) ** 2 / 2
        density += uniform(weight) * np.exp(-exponent)
    inside: npt.NDArray[np.bool_] = density > density[tuple(place)] * (1 + 1e-12)  # equal ones are outside
    return inside


def mix_events(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Replace a region by that of the other sample; labels are weighted by the shares of events that stay or come in."""
    inside = region((own.shape[0], own.shape[2], own.shape[3]), bits)[:, None]
    kept = (own * ~inside).sum() / max(own.sum(), 1)
    taken = (other * inside).sum() / max(other.sum(), 1)
    share = kept / (kept + taken) if kept + taken else 1.0
    return np.where(inside, other, own), float(share)


def blended(own: Frames, other: Frames, bits: list[int]) -> tuple[Frames, float]:
    """Keep about 70 % of the own events, and 30 % of the other sample's."""
    out = np.zeros_like(own)
    for frames, drawn, wanted in ((own, bits[0], False), (other, bits[1], True)):
        for place in zip(*np.nonzero(frames), strict=True):
            cell = redrawn(drawn ^ int(np.ravel_multi_index(place, frames.shape)))
            out[place] += sum(
                event_lost(cell, event, 1 - 0.7) == wanted for event in range(int(frames[place]))
            )
    return out, 1.0


MIXTURES: list[tuple[Any, Callable[[PlainBatch], PlainBatch]]] = [
    (Blend(0.7, 0.8, SEED), lambda batch: mix(batch, 18, 0.8, blended, same=True)),
    (CutMix("time", 0.8, SEED), lambda batch: mix(batch, 16, 0.8, cut_time)),
    (CutMix("xy", 0.8, SEED), lambda batch: mix(batch, 16, 0.8, cut_box)),
    (EventMix(0.8, SEED), lambda batch: mix(batch, 17, 0.8, mix_events)),
]


def centre_of(frames: Frames) -> list[int]:
    """Return the mean time, y and x of the events, as whole numbers of 1/65536."""
    grid = np.meshgrid(*map(np.arange, frames.shape), indexing="ij")
    return [(int((grid[axis] * frames).sum()) << 16) // int(frames.sum()) for axis in (0, 2, 3)]


def blended_at_centre(batch: PlainBatch) -> PlainBatch:
    """Move two samples to their common centre, and keep 70 % of the own events, and 30 % of the other's."""
    mixed = []
    for sample, own in enumerate(batch.frames):
        bits = bits_of(18, FIRST_ROW + sample)
        partner = partner_of(batch, sample, bits, 0.8, same=True)
        if partner is None:
            mixed.append(own)
            continue
        other, out, shift = batch.frames[partner], np.zeros_like(own), [0, 0, 0]
        if own.any() and other.any():
            pairs = zip(centre_of(own), centre_of(other), strict=True)
            shift = [math.trunc((theirs - ours) / 2**17) for ours, theirs in pairs]
        for frames, drawn, sign in ((own, several(bits, 4)[2], 1), (other, several(bits, 4)[3], -1)):
            for t, p, y, x in zip(*np.nonzero(frames), strict=True):
                cell = redrawn(drawn ^ int(np.ravel_multi_index((t, p, y, x), frames.shape)))
                count = sum(
                    event_lost(cell, event, 1 - 0.7) == (sign < 0) for event in range(int(frames[t, p, y, x]))
                )
                place = (t + sign * shift[0], p, y + sign * shift[1], x + sign * shift[2])
                if all(0 <= at < size for at, size in zip(place, out.shape, strict=True)):
                    out[place] += count
        mixed.append(out)
    return PlainBatch(mixed, batch.labels, batch.classes)


MORE_MIXTURES: list[tuple[Any, Callable[[PlainBatch], PlainBatch]]] = [
    (CutMix("time", 0.8, SEED, True), lambda batch: mix(batch, 16, 0.8, cut_time, other_class=True)),
    (EventMix(0.8, SEED, True), lambda batch: mix(batch, 17, 0.8, mix_events, other_class=True)),
    (Blend(0.7, 0.8, SEED, "centre"), blended_at_centre),
]
