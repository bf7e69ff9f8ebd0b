"""Samples of a block of recordings, in common columns; and functions that transform single recordings of a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import NO_TIME, EventBlock
from spikestore.pipeline.readers.recording import Events, Sample
from spikestore.store_schemas.errors import RecordingError


@dataclass(frozen=True, slots=True, eq=False)
class FusedSamples:
    """The samples of one block in packed columns.

    Attributes
    ----------
    index : uint32, uint64 or int64 array, shape (non-zeros,)
        Linear indices of the non-zeros, row-major over (time bin, polarity, y, x), sample after sample, strictly
        increasing within a sample.
    value : uint32, int64 or float32 array, shape (non-zeros,)
        Values of the non-zeros. Counts are at least 1; their dtype is uint32 or int64. Real numbers are float32 and never 0.
    nnz, n_bins : int64 arrays, shape (recordings,)
        Number of non-zeros and of time bins of each sample.
    n_events, n_cropped, n_dropped : int64 arrays, shape (recordings,)
        For each sample, the numbers of events that were read, of events that were cropped, and of events that are in no time
        bin.
    errors : dict of int to RecordingError
        Error of each recording without a sample, by row; also the errors that the block already had (``EventBlock.errors``).
        These recordings have 0 in every column.
    """

    index: npt.NDArray[Any]
    value: npt.NDArray[Any]
    nnz: npt.NDArray[np.int64]
    n_bins: npt.NDArray[np.int64]
    n_events: npt.NDArray[np.int64]
    n_cropped: npt.NDArray[np.int64]
    n_dropped: npt.NDArray[np.int64]
    errors: dict[int, RecordingError]


class BlockChain(Protocol):
    """Protocol of a transform that runs on blocks of recordings."""

    def __call__(
        self, block: EventBlock, *, name_of: Callable[[int], str], sort: bool = False
    ) -> FusedSamples:
        """Return the samples of a block; the result's ``errors`` maps the row of a recording to its error."""


class RecordingChain(Protocol):
    """Protocol of objects that compute a transform for single recordings."""

    def __call__(
        self,
        events: Events,
        *,
        name: str,
        sort: bool = False,
        seconds: npt.NDArray[np.float16] | None = None,
    ) -> Sample:
        """Return the sample of one recording; raise `RecordingError` if the recording is ill-formed."""


def sample_of(chain: RecordingChain, block: EventBlock, place: int, *, name: str, sort: bool) -> Sample:
    """Return the sample of one recording of a block, computed by `chain`.

    Parameters
    ----------
    chain : RecordingChain
        The transform.
    block : EventBlock
        Block that contains the recording.
    place : int
        Number of the recording within the block, from 0.
    name : str
        Name of the recording in messages.
    sort : bool
        First sort events by time (stable sort), instead of rejecting unsorted times.

    Raises
    ------
    RecordingError
        The recording is ill-formed, or the time of an event is NaN, infinite or too large.
    """
    events = events_of(block, place)
    if block.time_table is None:
        return chain(events, name=name, sort=sort)
    if (bad := events["t"] == NO_TIME).any():
        event = int(np.argmax(bad))
        problem = f"{name}, event {event}: t is not a time"
        raise RecordingError(problem, recording=name, event=event, field="t")
    codes = block.t[int(block.offsets[place]) : int(block.offsets[place + 1])]
    return chain(events, name=name, sort=sort, seconds=codes.view(np.float16))


def events_of(block: EventBlock, place: int) -> Events:
    """Return the events of one recording of a block as a structured array with the dtypes of the columns."""
    some = slice(int(block.offsets[place]), int(block.offsets[place + 1]))
    t = block.t[some] if block.time_table is None else block.time_table[block.t[some]]
    p = np.ones(len(t), np.int64) if block.p is None else block.p[some]
    columns = {"t": t, "x": block.x[some], **({} if block.y is None else {"y": block.y[some]}), "p": p}
    events = np.empty(len(t), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        events[name] = column
    return events


def insert(
    index: npt.NDArray[Any],
    value: npt.NDArray[Any],
    nnz: npt.NDArray[np.int64],
    samples: dict[int, Sample],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return index and value with `samples` inserted at their places.

    `nnz` has the number of non-zeros of every recording, also of those in `samples`.
    """
    indices: list[npt.NDArray[Any]] = []
    values: list[npt.NDArray[Any]] = []
    ends, taken = np.cumsum(nnz), 0
    own = 0
    for place, sample in samples.items():  # in order
        behind = int(ends[place]) - int(nnz[place]) - own
        indices += [index[taken:behind], sample.index.astype(index.dtype)]
        fits = sample.value.max(initial=0) <= 2**32 - 1
        values += [value[taken:behind], sample.value.astype(np.uint32) if fits else sample.value]
        taken, own = behind, own + len(sample.index)
    return np.concatenate([*indices, index[taken:]]), np.concatenate([*values, value[taken:]])
