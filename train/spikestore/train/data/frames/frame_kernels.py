"""Compiled loops over packed samples: they write dense frames, compute the mean place of each sample's events, and copy samples into common columns.

Samples are passed as addresses, so that one call can read from different arrays: the arrays of a whole set in memory,
or of many spans of a stream. Each address is passed with the number of elements up to the end of its array. No loop
reads beyond this end or writes outside its buffer. `fill_frames` and `gather` return the number of a sample that would break
this rule; `find_centres` treats such a sample like one without events. The caller must keep the arrays alive during the call.
The loops release the GIL; threads divide a batch by samples.

`augmented_frames` has the loop that augments samples while it writes their frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from spikestore.train.data.frames.draw_kernels import compiled
from spikestore.train.data.frames.step_kernels import quotient

_Int64s = npt.NDArray[np.int64]


def _intrinsic(function: Any) -> Any:
    return intrinsic(function)


@_intrinsic
def pointer_to(_context: Any, address: Any, like: Any) -> Any:
    """Return an address as a pointer to elements with the dtype of the array `like`."""
    pointer: Any = types.CPointer
    signature = pointer(like.dtype)(address, like)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, generate


@compiled
def fill_frames(
    index_at: _Int64s,
    value_at: _Int64s,
    counts: _Int64s,
    room: _Int64s,
    places: _Int64s,
    index_like: npt.NDArray[Any],
    value_like: npt.NDArray[Any],
    frames: npt.NDArray[np.float32],
    first: int,
    last: int,
) -> int:
    """Write the dense frames of samples `first` to `last` - 1 of a batch, including zeros.

    Each row of `frames` is cleared, and then filled while the row is still in the L2 cache.

    Parameters
    ----------
    index_at, value_at : int64 arrays, shape (batch,)
        Addresses of each sample's first index and value.
    counts : int64 array, shape (batch,)
        Non-zeros of each sample.
    room : int64 array, shape (batch,)
        Number of elements from a sample's first non-zero to the end of the arrays that contain the sample.
    places : int64 array, shape (batch,)
        Number of elements of each sample's own frames, without padding.
    index_like, value_like : arrays
        Arrays with the dtypes of index and value; their content is not used.
    frames : float32 array, shape (batch, padded places)
        Filled by the call.
    first, last : int
        Range of samples to process.

    Returns
    -------
    int
        -1, or the number of an invalid sample. If an index is outside the sample's own frames, or outside the sample's row of
        `frames`, the non-zero with this index is skipped. If a sample has more non-zeros than `room`, all its non-zeros are skipped.
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
        end = np.uint64(max(min(places[sample], len(row)), 0))
        for k in range(len(index)):
            at = np.uint64(index[k])
            if at < end:
                row[at] = value[k]
            else:
                wrong = sample
    return wrong


@compiled
def find_centres(
    index_at: _Int64s,
    value_at: _Int64s,
    counts: _Int64s,
    room: _Int64s,
    index_like: npt.NDArray[Any],
    value_like: npt.NDArray[Any],
    sites: tuple[int, int, int],
    centres: _Int64s,
    first: int,
    last: int,
) -> None:
    """Compute the mean time bin, y and x of the events of samples `first` to `last` - 1 of a batch.

    Parameters are those of `fill_frames`, and:

    sites : tuple of int
        Number of sites of a time bin, size of y, and size of x.
    centres : int64 array, shape (batch, 3)
        Filled by the call with 2^16 times the means, rounded down; -1 for a sample without events and for an invalid sample
        (see `fill_frames`).
    """
    stride, height, width = sites
    per_stride, per_height, per_width = 1.0 / stride, 1.0 / height, 1.0 / width
    for sample in range(first, last):
        centres[sample] = -1
        if counts[sample] < 0 or counts[sample] > room[sample]:
            continue
        index = carray(pointer_to(index_at[sample], index_like), counts[sample])
        value = carray(pointer_to(value_at[sample], value_like), counts[sample])
        total: Any = 0
        time: Any = 0
        rows: Any = 0
        places: Any = 0
        planes: Any = 0
        for k in range(len(index)):
            place, events = np.int64(index[k]), np.int64(value[k])
            total += events
            places += events * place
            time += events * quotient(place, per_stride)  # type: ignore[arg-type]
            rows += events * quotient(place, per_width)  # type: ignore[arg-type]
        if height > 1:
            for k in range(len(index)):
                planes += np.int64(value[k]) * quotient(quotient(int(index[k]), per_width), per_height)
        # Sums of remainders: y is a row's number modulo the height, x a place modulo the width.
        y, x = rows - height * planes if height > 1 else 0, places - width * rows
        if total > 0:
            centres[sample, 0] = (time << 16) // total
            centres[sample, 1] = (y << 16) // total
            centres[sample, 2] = (x << 16) // total


@compiled
def gather(
    index_at: _Int64s,
    value_at: _Int64s,
    room: _Int64s,
    offsets: _Int64s,
    index: npt.NDArray[Any],
    value: npt.NDArray[Any],
    first: int,
    last: int,
) -> int:
    """Copy samples `first` to `last` - 1 of a batch into common columns, one after the other.

    Parameters
    ----------
    index_at, value_at : int64 arrays, shape (batch,)
        Addresses of each sample's first index and value.
    room : int64 array, shape (batch,)
        Number of elements from a sample's first non-zero to the end of the arrays that contain the sample.
    offsets : int64 array, shape (batch + 1,)
        Position at which each sample is written, and the end of the last sample.
    index, value : arrays, shape (non-zeros,)
        Filled by the call; of the dtypes of the samples.
    first, last : int
        Range of samples to process.

    Returns
    -------
    int
        -1, or the number of a sample that has more non-zeros than `room` or does not fit into `index`; this sample is skipped.
    """
    wrong = -1
    most = min(len(index), len(value))
    for sample in range(first, last):
        start, end = offsets[sample], offsets[sample + 1]
        if start < 0 or end < start or end > most or end - start > room[sample]:
            wrong = sample
            continue
        from_index = carray(pointer_to(index_at[sample], index), end - start)
        from_value = carray(pointer_to(value_at[sample], value), end - start)
        for k in range(end - start):
            index[start + k] = from_index[k]
            value[start + k] = from_value[k]
    return wrong
