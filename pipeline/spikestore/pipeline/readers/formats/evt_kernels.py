"""Compiled loops over the words of Prophesee's EVT2 and EVT3. The meaning of a word depends on the words before it.

A word of EVT2 has 32 bits. The high 4 bits are its type:

- 0 and 1: an event whose polarity is the type: low 6 bits of the time in µs, x (11 bits), y (11 bits);
- 8: high 28 bits of the time.

A word of EVT3 has 16 bits. The high 4 bits are its type:

- 0: y (11 bits);
- 2: an event: polarity (1 bit), x (11 bits);
- 3: polarity (1 bit) and first x (11 bits) of the next vector;
- 4 and 5: a vector of 12 or 8 bits; each bit that is 1 is an event. After the vector, x grows by 12 or 8;
- 6: low 12 bits of the time in µs;
- 8: high 12 bits of the time.

Other words, such as triggers, are not events. The high bits of the time start again from 0 when they overflow; from then on,
2^34 µs (EVT2) or 2^24 µs (EVT3) are added to all times, so that times ascend. Events before the first word with high bits have
no time and are left out, as in Prophesee's own decoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.compiled import compiled

Words = npt.NDArray[Any]
Integers = npt.NDArray[Any]

_HALF_2 = 1 << 27
_HALF_3 = 1 << 11


@compiled
def count_evt2(words: Words) -> int:
    """Return the number of events in `words` (EVT2, uint32); events before the first time word are not counted."""
    count, timed = 0, False
    for word in words:
        kind = word >> 28
        if kind == 8:
            timed = True
        elif kind <= 1 and timed:
            count += 1
    return count


@compiled
def decode_evt2(words: Words, t: Integers, x: Integers, y: Integers, p: Integers) -> None:
    """Write the events of EVT2 words, uint32, into arrays of shape (events,): int64, uint16, uint16, uint8."""
    at, timed = 0, False
    high, period = np.int64(0), np.int64(0)
    for word in words:
        kind = word >> 28
        if kind == 8:
            new = np.int64(word & 0x0FFFFFFF)
            if timed and new + _HALF_2 < high:
                period += np.int64(1) << 34
            high, timed = new, True
        elif kind <= 1 and timed:
            t[at] = period + (high << 6 | np.int64(word >> 22 & 0x3F))
            x[at] = word >> 11 & 0x7FF
            y[at] = word & 0x7FF
            p[at] = kind
            at += 1


@compiled
def count_evt3(words: Words) -> int:
    """Return the number of events in EVT3 words, uint16."""
    count, timed = 0, False
    for word in words:
        kind = word >> 12
        if kind == 8:
            timed = True
        elif timed and kind == 2:
            count += 1
        elif timed and (kind == 4 or kind == 5):
            bits = word & (0xFFF if kind == 4 else 0xFF)
            while bits:
                count += 1
                bits &= bits - 1
    return count


@compiled
def decode_evt3(words: Words, t: Integers, x: Integers, y: Integers, p: Integers) -> None:
    """Write the events of EVT3 words, uint16, into arrays of shape (events,): int64, uint16, uint16, uint8."""
    at, timed = 0, False
    high, low, period = np.int64(0), np.int64(0), np.int64(0)
    row, base, polarity = np.int64(0), np.int64(0), np.int64(0)
    for word in words:
        kind, value = word >> 12, np.int64(word & 0xFFF)
        if kind == 0:
            row = value & 0x7FF
        elif kind == 2:
            if timed:
                t[at], x[at], y[at], p[at] = period + (high << 12 | low), value & 0x7FF, row, value >> 11
                at += 1
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind == 4 or kind == 5:
            width = 12 if kind == 4 else 8
            if timed:
                for bit in range(width):
                    if value >> bit & 1:
                        t[at], x[at], y[at], p[at] = period + (high << 12 | low), base + bit, row, polarity
                        at += 1
            base += width
        elif kind == 6:
            low = value
        elif kind == 8:
            if timed and value + _HALF_3 < high:
                period += np.int64(1) << 24
            if value != high:
                low = np.int64(0)
            high, timed = value, True
