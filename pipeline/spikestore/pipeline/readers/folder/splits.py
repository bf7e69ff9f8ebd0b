"""Deterministic division of recordings, or of groups of recordings, into splits with given shares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def split_of(group: str, shares: Mapping[str, float]) -> str:
    """Return the split of a group.

    The SHA-256 of the group's name, as a number from 0 to 1, is compared with the cumulative sums of the shares. So a group
    always has the same split, on every machine and after other groups are added. The sizes of the splits equal the shares only
    on average.

    Parameters
    ----------
    group : str
        Name of the group, such as the number of a user, or the path of a recording.
    shares : mapping of str to float
        Share of each split, above 0; they add up to 1.

    Examples
    --------
    >>> [split_of(f"user {number}", {"train": 0.5, "test": 0.5}) for number in range(4)]
    ['train', 'train', 'train', 'test']
    """
    # Names of files that are not UTF-8 are refused later, with one line.
    place = int.from_bytes(hashlib.sha256(group.encode(errors="surrogateescape")).digest()[:8], "big") / 2**64
    added = 0.0
    for name, share in shares.items():
        added += share
        if place < added:
            return name
    return name
