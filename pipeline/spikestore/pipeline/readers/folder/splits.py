"""Deterministic shares: which split a recording, or a group of recordings, belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def split_of(group: str, shares: Mapping[str, float]) -> str:
    """Return the split of a group.

    The SHA-256 of the group's text, as a number from 0 to 1, is compared with the added shares, in their order. So a group keeps its
    split when others are added, and on every machine; the sizes of the splits follow the shares only on average.

    Parameters
    ----------
    group : str
        Such as the number of a user, or the path of a recording.
    shares : mapping of str to float
        Share of each split, above 0; they add up to 1.

    Examples
    --------
    >>> [split_of(f"user {number}", {"train": 0.5, "test": 0.5}) for number in range(4)]
    ['train', 'test', 'test', 'train']
    """
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    added = 0.0
    for name, share in shares.items():
        added += share
        if place < added:
            return name
    return name
