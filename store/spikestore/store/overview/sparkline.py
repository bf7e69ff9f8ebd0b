"""Sparklines: numbers as a line of block characters, or of ASCII characters if the terminal cannot show block characters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCKS = "▁▂▃▄▅▆▇█"
"""Marks of rising heights; a space is 0."""

ASCII = ".:-=+*#@"
"""Marks of rising heights for encodings that lack the characters of `BLOCKS`."""

WIDTH = 40
"""Maximum number of characters of a sparkline."""


def marks_for(encoding: str | None) -> str:
    """Return `BLOCKS` if an encoding has these characters, else `ASCII`."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def sparkline(numbers: npt.NDArray[np.float64] | npt.NDArray[np.int64], marks: str = BLOCKS) -> str:
    """Return a line of at most `WIDTH` characters; each character shows the mean of some neighbouring numbers.

    No number may be negative.

    Examples
    --------
    >>> sparkline(np.array([0, 1, 2, 4, 8]), ASCII)
    ' .:=@'
    """
    if not len(numbers):
        return ""
    groups = np.array_split(numbers, min(WIDTH, len(numbers)))
    means = np.array([group.mean() for group in groups])
    if not means.max():
        return " " * len(means)
    heights = np.ceil(means / means.max() * len(marks)).astype(int)
    return "".join(f" {marks}"[height] for height in heights)
