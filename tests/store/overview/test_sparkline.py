"""Sparklines: heights, groups, and encodings without block characters."""

from __future__ import annotations

import numpy as np

from spikestore.store.overview.sparkline import ASCII, BLOCKS, WIDTH, marks_for, sparkline


def test_heights() -> None:
    """The largest number is the highest mark, 0 is a space, and anything above 0 is a mark."""
    assert sparkline(np.array([0.0, 1e-9, 1.0, 2.0])) == " ▁▄█"
    assert sparkline(np.array([0, 8, 4]), ASCII) == " @="
    assert sparkline(np.zeros(3)) == "   "
    assert sparkline(np.zeros(0)) == ""


def test_many_numbers() -> None:
    """Many numbers are grouped in order; each character shows the mean of a group."""
    numbers = np.repeat(np.arange(WIDTH), 5)
    assert sparkline(numbers) == sparkline(np.arange(WIDTH))
    assert len(sparkline(np.arange(1001))) == WIDTH


def test_encodings() -> None:
    """For an encoding without block characters, an unknown encoding, or none, ASCII characters are used."""
    assert marks_for("utf-8") == BLOCKS
    assert {marks_for(name) for name in ("latin-1", "ascii", "no-such-encoding", None)} == {ASCII}
