"""Random numbers of augmentations in Python's whole numbers, and a batch of frames, for the plain forms of augmentations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.int64]
SEED, EPOCH, FIRST_ROW, CLASSES = 5, 3, 17, 3


@dataclass
class PlainBatch:
    """For each sample: frames of shape (bins, 2, 3, 4), weights of the classes, and its class before mixing."""

    frames: list[Frames]
    labels: npt.NDArray[np.float64]
    classes: list[int]


def mixed(key: int) -> int:
    """Mix bits as SplitMix64 does, with Python's whole numbers."""
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
    return key ^ key >> 31


def redrawn(key: int) -> int:
    """Return the random bits that follow others."""
    return mixed((key + 0x9E3779B97F4A7C15) % 2**64)


def several(key: int, count: int) -> list[int]:
    """Return as many different random bits as `count` says, drawn from others."""
    return [redrawn(key ^ number) for number in range(count)]


def bits_of(kind: int, row: int) -> int:
    """Return the random bits of a sample for a kind of augmentation."""
    key = 0
    for part in (SEED, EPOCH, kind, row):
        key = redrawn(key ^ part)
    return key


def lost(key: int, probability: float) -> bool:
    """Return whether the upper 53 bits, as a fraction of 2**53, are below the probability."""
    return key >> 11 < int(probability * 2**53)


def event_lost(key: int, event: int, probability: float) -> bool:
    """Return whether an event's 21 bits, drawn from its non-zero's bits, are below the probability (times 2**21)."""
    three = redrawn(key ^ event // 3) if event > 2 else key
    return (three >> 43 - 21 * (event % 3)) % 2**21 < int(probability * 2**21)


def uniform(key: int) -> float:
    """Return a number from 0 to less than 1."""
    return (key >> 11) * 2.0**-53
