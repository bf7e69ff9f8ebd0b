"""Functions for the tests of FusedChain: they make blocks and compare results with TonicChain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import NO_TIME, EventBlock
from spikestore.pipeline.readers.recording import Events, Sample
from spikestore.pipeline.transforms.fused import FusedChain, FusedSamples
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.tonic_chain import TonicChain
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.operations import Operation
from spikestore.store_schemas.specs.transform import Transform


def name_of(row: int) -> str:
    return f"recording {row} of ssc_train.h5"


def times_of_codes() -> npt.NDArray[np.int64]:
    """Return float16 seconds as µs, as `tonic.datasets.SSC` computes them."""
    with np.errstate(all="ignore"):
        micro = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64) * 1e6
    legal = np.isfinite(micro)
    return np.where(legal, np.where(legal, micro, 0).astype(np.int64), NO_TIME)


TABLE = times_of_codes()


def block_of(recordings: Sequence[Events], *, first_row: int = 0, **fields: Any) -> EventBlock:
    """Return recordings of one dtype as a block; `fields` replace columns."""
    events = np.concatenate(recordings)
    names = events.dtype.names or ()
    columns: dict[str, Any] = {
        "first_row": first_row,
        "offsets": np.cumsum([0, *(len(one) for one in recordings)]),
        **{name: np.ascontiguousarray(events[name]) if name in names else None for name in "txyp"},
        "time_table": None,
        "labels": np.zeros(len(recordings), np.int64),
        "extras": {},
        "errors": {},
    }
    return EventBlock(**{**columns, **fields})


def rows(samples: FusedSamples) -> list[Sample]:
    """Return the rows of packed columns; a row without a sample is empty."""
    ends = np.cumsum(samples.nnz)
    return [
        Sample(
            samples.index[end - n : end].astype(np.int64),
            samples.value[end - n : end].astype(np.int64),
            *(int(getattr(samples, name)[i]) for name in ("n_bins", "n_events", "n_cropped", "n_dropped")),
        )
        for i, (end, n) in enumerate(zip(ends, samples.nnz, strict=True))
    ]


def assert_same(found: FusedSamples, expected: Sequence[Sample | RecordingError], first_row: int = 0) -> None:
    """Assert that every row equals the sample, or has the same error message."""
    assert found.nnz.sum() == len(found.index) == len(found.value)
    errors = {first_row + i: one for i, one in enumerate(expected) if isinstance(one, RecordingError)}
    assert {row: str(one) for row, one in found.errors.items()} == {
        row: str(one) for row, one in errors.items()
    }
    assert [one.details for one in found.errors.values()] == [errors[row].details for row in found.errors]
    empty = np.empty(0, np.int64)
    for one, wanted in zip(rows(found), expected, strict=True):
        sample = Sample(empty, empty, 0, 0, 0, 0) if isinstance(wanted, RecordingError) else wanted
        np.testing.assert_array_equal(one.index, sample.index)
        np.testing.assert_array_equal(one.value, sample.value)
        for name in ("n_bins", "n_events", "n_cropped", "n_dropped"):
            assert getattr(one, name) == getattr(sample, name), name


def by_tonic(
    transform: Transform, recordings: Sequence[Events], *, has_y: bool, sort: bool = False, first_row: int = 0
) -> list[Sample | RecordingError]:
    chain = TonicChain(transform, has_y=has_y)
    found: list[Sample | RecordingError] = []
    for row, events in enumerate(recordings, first_row):
        try:
            found.append(chain(events, name=name_of(row), sort=sort))
        except RecordingError as error:
            found.append(error)
    return found


def alone(chain: FusedChain, block: EventBlock, **options: Any) -> FusedSamples:
    """Run the compiled pass; fail if it leaves a recording to `NumpyChain`."""
    with mock.patch.object(NumpyChain, "__call__", side_effect=AssertionError("left to NumPy")):
        return chain(block, name_of=name_of, **options)


def fused(*operations: Operation, has_y: bool = False, **fields: Any) -> FusedChain:
    return FusedChain(Transform(operations=operations, **fields), has_y=has_y)
