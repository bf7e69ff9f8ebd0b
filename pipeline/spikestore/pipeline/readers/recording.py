"""A recording, and the sample that is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Events = npt.NDArray[np.void]
"""Events as in Tonic: a structured array with the fields ``t`` (µs), ``x``, optional ``y``, ``p``; shape (n_events,)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One labelled event stream.

    Attributes
    ----------
    row : int
        Number of the recording in the order of the source, from 0.
    events : structured array, shape (n_events,)
        Fields ``t`` in µs, ``x``, optional ``y``, ``p``.
    label : int
        Class number.
    extras : mapping of str to int
        Values of the reader's optional columns, such as ``speaker``.
    """

    row: int
    events: Events
    label: int
    extras: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """The non-zeros of the frames of one recording, with counts of its events.

    Attributes
    ----------
    index : int64 array, shape (nnz,)
        Linear indices of the non-zeros, row-major over (time bin, polarity, y, x), strictly increasing.
    value : int64 or float32 array, shape (nnz,)
        Values of the non-zeros: counts are int64 and at least 1, real numbers are float32 and never 0.
    n_bins : int
        Number of time bins.
    n_events, n_cropped, n_dropped : int
        Numbers of events: events that were read, events that were cropped, and events that are in no time bin.
    """

    index: npt.NDArray[np.int64]
    value: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    n_bins: int
    n_events: int
    n_cropped: int
    n_dropped: int
