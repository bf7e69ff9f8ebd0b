"""The order of an epoch: a pure function of (seed, epoch, feature set).

Sample i gets the key ``mix(k + i·γ)``, with ``mix`` and γ of SplitMix64 (Steele, Lea, Flood: Fast Splittable
Pseudorandom Number Generators, OOPSLA 2014) and k from a SHA-256 of seed, epoch and digest; samples are sorted by
key. That is an exact uniform shuffle up to collisions of 64-bit keys, and it depends on no library's random
stream, which may change between versions.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def epoch_order(samples: int, *, seed: int, epoch: int, digest: str) -> npt.NDArray[np.int64]:
    """Return the shuffled order of an epoch.

    Parameters
    ----------
    samples : int
        Number of samples.
    seed, epoch : int
        Any integers; every pair gives another order.
    digest : str
        Digest of the feature set.

    Returns
    -------
    int64 array, shape (samples,)
        A permutation of 0 … samples - 1.
    """
    text = f"{digest}:{seed}:{epoch}".encode("ascii")
    start = np.uint64(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"))
    with np.errstate(over="ignore"):  # arithmetic is modulo 2^64
        key = start + np.arange(samples, dtype=np.uint64) * _GAMMA
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return np.argsort(key, kind="stable").astype(np.int64)
