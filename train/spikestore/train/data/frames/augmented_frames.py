"""Compiled loop that augments samples and writes their dense frames in one pass over the non-zeros.

Each augmentation is a row of numbers (`AugmentationStep`). The loop applies all of them to one non-zero after the other
and adds its value to the frames, so no changed copy of the batch is made. The result is that of `applied`, which works on
tensors of any device, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from numba import carray  # type: ignore[attr-defined]

from spikestore.store.numba_cache import cached_njit
from spikestore.train.data.frames.augmentation_steps import DROP, JITTER, MASK, MIRROR, MOVE, SHIFT
from spikestore.train.data.frames.frame_kernels import pointer_to

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Int64s = npt.NDArray[np.int64]

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_11, _27, _30, _31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


def _compiled(function: _Function) -> _Function:
    made: Any = cached_njit(function, nogil=True)
    return made  # type: ignore[no-any-return]


@_compiled
def _mixed(key: np.uint64) -> np.uint64:
    key = (key ^ (key >> _30)) * _FIRST
    key = (key ^ (key >> _27)) * _SECOND
    return key ^ (key >> _31)


@_compiled
def fill_augmented_frames(
    index_at: _Int64s,
    value_at: _Int64s,
    counts: _Int64s,
    room: _Int64s,
    places: _Int64s,
    index_like: npt.NDArray[Any],
    value_like: npt.NDArray[Any],
    numbers: _Int64s,
    drawn: _Int64s,
    frames: npt.NDArray[np.float32],
    first: int,
    last: int,
) -> int:
    """Write the augmented dense frames of samples `first` to `last` - 1 of a batch, including zeros.

    Parameters are those of `fill_frames` in `frame_kernels`, and `numbers` and `drawn` of `columns_of_steps`.

    Returns
    -------
    int
        A sample whose stored columns have an index outside its frames or its row of `frames`, or more non-zeros than
        `room`; these non-zeros are skipped. -1 if no sample has any.
    """
    wrong = -1
    for sample in range(first, last):
        row = frames[sample]
        for place in range(len(row)):
            row[place] = 0.0
        if counts[sample] < 0 or counts[sample] > room[sample]:
            wrong = sample
            continue
        index = carray(pointer_to(index_at[sample], index_like), counts[sample])
        value = carray(pointer_to(value_at[sample], value_like), counts[sample])
        end = max(min(places[sample], len(row)), 0)
        for k in range(len(index)):
            if np.uint64(index[k]) >= np.uint64(end):
                wrong = sample
                continue
            at = np.int64(index[k])
            amount = float(value[k])  # exact: no count reaches 2**53
            for step in range(len(numbers)):
                kind, a, b = numbers[step, 0], numbers[step, 1], numbers[step, 2]
                own = drawn[step, sample]
                if kind == SHIFT:
                    at += own
                    if at < 0 or at >= end:
                        amount = 0.0
                elif kind == MIRROR:
                    if own > 0:
                        at += (own - 1 - 2 * (at // a % b)) * a
                elif kind == MASK:
                    coordinate, start = at // a % b, own >> 31
                    if start <= coordinate < start + (own & 0x7FFFFFFF):
                        amount = 0.0
                elif kind == MOVE:
                    coordinate = at // a % b + own
                    if coordinate < 0 or coordinate >= b:
                        amount = 0.0
                    else:
                        at += own * a
                else:
                    bits = _mixed((np.uint64(own) ^ np.uint64(at)) + _STEP)
                    if kind == JITTER:
                        x = at % b
                        moved = x + np.int64(bits >> _11) % (2 * a + 1) - a
                        at += min(max(moved, 0), b - 1) - x
                    elif kind == DROP:
                        if np.int64(bits >> _11) < a:
                            amount = 0.0
                    else:  # THIN
                        lost = 0
                        for event in range(np.int64(amount)):
                            one = _mixed((bits ^ np.uint64(event)) + _STEP)
                            lost += np.int64(one >> _11) < a
                        amount -= lost
                if amount == 0.0:
                    break
            if (
                amount != 0.0 and 0 <= at < end
            ):  # no step leaves the sample; a wrong one must not write elsewhere
                row[at] += np.float32(amount)
    return wrong
