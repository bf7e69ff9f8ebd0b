"""Words of EVT2 and EVT3 that encoders rarely write: vectors, triggers, clocks that start again."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from tests.pipeline.format_writers import read


def test_vectors_and_other_words_of_evt3() -> None:
    """Vectors of 12 and 8 pixels, triggers between them, and a clock of 24 bits that starts again."""
    words: list[int] = []
    expected: list[list[int]] = []
    rng = np.random.default_rng(5)
    for t in [2**24 - 9000, 2**24 - 5000, 2**24 - 1, 2**24 + 3, 2**24 + 2**23, 2**25 - 2, 2**25 + 1]:
        y, x, p = (int(rng.integers(0, end)) for end in (480, 500, 2))
        words += [8 << 12 | t >> 12 & 0xFFF, 6 << 12 | t & 0xFFF, y, 3 << 12 | p << 11 | x]
        for kind, width in ((4, 12), (4, 12), (5, 8)):
            bits = int(rng.integers(0, 2**width))
            words += [kind << 12 | bits, 0xA << 12 | 0x101, 0xE << 12 | 7]
            expected += [[t, x + bit, y, p] for bit in range(width) if bits >> bit & 1]
            x += width
    content = b"% evt 3.0\n" + struct.pack(f"<{len(words)}H", *words)
    assert read("a.raw", content).tolist() == expected


def test_the_clock_of_evt2_starts_again() -> None:
    high = [2**28 - 1, 0, 1]
    words = [word for value in high for word in (8 << 28 | value, 1 << 28 | 5 << 22 | 3 << 11 | 2)]
    content = b"% evt 2.0\n" + struct.pack(f"<{len(words)}I", *words)
    assert read("a.raw", content)[:, 0].tolist() == [(2**28 - 1) * 64 + 5, 2**34 + 5, 2**34 + 64 + 5]


def test_events_without_a_time_are_left_out() -> None:
    words = [7, 2 << 12 | 3, 8 << 12 | 1, 2 << 12 | 4]
    assert read("a.raw", b"% evt 3.0\n" + struct.pack("<4H", *words)).tolist() == [[4096, 4, 7, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"% evt 2.1\n% end\n", r"the file has events in EVT2\.1, should have EVT2 or EVT3: convert it"),
        (b"% date today\n% end\n", "its header names no version of EVT"),
        (
            b"% evt 3.0\n% end\n\x00",
            "the file is truncated: 1 bytes after the header are not a whole number of words",
        ),
        (b"% evt 3.0", "a line that starts with % does not end"),
    ],
)
def test_other_raw_files_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read("a.raw", content)
