"""Texts that messages of all packages share: suggestions of similar words, counts with their nouns, and sizes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, words: Iterable[str], *, cutoff: float = 0.5) -> str:
    """Return ``", did you mean 'WORD'?"`` with the most similar known word; an empty text if no word is similar.

    Parameters
    ----------
    word : str
        The unknown word; case is ignored.
    words : iterable of str
        The known words.
    cutoff : float
        Required similarity, from 0 (any) to 1 (equal).
    """
    by_lower = {known.lower(): known for known in words}
    for match in difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=cutoff):
        if by_lower[match] != word:  # an equal word is no misspelling: "1" is not the number 1
            return f", did you mean {by_lower[match]!r}?"
    return ""


def plural(count: int, noun: str) -> str:
    """Return a count and its noun: ``1 recording``, ``2,000 recordings``, ``3 classes``."""
    ending = "" if count == 1 else "es" if noun.endswith(("ch", "s")) else "s"
    return f"{count:,} {noun}{ending}"


def size_text(count: float) -> str:
    """Return a number of bytes as messages write it: ``500 bytes``, ``1.2 GB``."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if count >= 1000**power:
            return f"{count / 1000**power:,.1f} {unit}"
    return f"{count:,.0f} bytes"
