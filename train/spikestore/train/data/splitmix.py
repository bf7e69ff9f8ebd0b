"""SplitMix64, the hash from which all random choices of loading are made.

SplitMix64 is by Steele, Lea and Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014. Random streams of
libraries are not used, because they may change between versions.

Torch tensors, compiled loops and GPU kernels cannot share one function. So `random_bits`, `draw_kernels` and `gpu_augmented_frames` each have a function of their
own, with the constants of this module.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

STEP = 0x9E3779B97F4A7C15
"""Difference between the states for two consecutive numbers, γ in the publication."""

MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Multipliers of the function that mixes the bits of a state."""


def random_keys(numbers: npt.NDArray[np.integer[Any]], text: str) -> npt.NDArray[np.uint64]:
    """Return 64 random bits for each number: a pure function of the number and `text`.

    Parameters
    ----------
    numbers : integer array, any shape
        Not negative.
    text : str
        Name of the random stream: another text results in other bits.
    """
    start = np.uint64(int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big"))
    first, second = map(np.uint64, MULTIPLIERS)
    with np.errstate(over="ignore"):  # arithmetic is modulo 2^64
        key: npt.NDArray[np.uint64] = start + numbers.astype(np.uint64) * np.uint64(STEP)
        key = (key ^ (key >> np.uint64(30))) * first
        key = (key ^ (key >> np.uint64(27))) * second
        key ^= key >> np.uint64(31)
    return key
