"""Who runs a transform on a block of recordings: the fused pass, or Tonic itself. The samples are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Sample
from spikestore.pipeline.transforms.fused import FusedChain, FusedSamples, can_run
from spikestore.pipeline.transforms.fused.samples import events_of
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.specs.transform import ExecutorName, Transform

EVENTS_PER_SECOND = {"fused": 25e6, "tonic": 4e6}
"""About how many events one core reads, bins and stores in a second (``python -m benchmarks.preprocess``): by this it
is decided whether workers are worth their start, nothing else."""


class BlockChain(Protocol):
    """A transform, ready to run on blocks."""

    def __call__(
        self, block: EventBlock, *, name_of: Callable[[int], str], sort: bool = False
    ) -> FusedSamples:
        """Return the samples of a block; what is wrong with a recording is in ``errors``, by row."""


def executor_for(transform: Transform, wish: ExecutorName, *, has_y: bool) -> Literal["fused", "tonic"]:
    """Return who will run `transform`.

    Raises
    ------
    UsageError
        The fused pass was asked for, and can't run this transform.
    """
    fused = can_run(transform, has_y=has_y)
    if wish == "fused" and not fused:
        raise UsageError(
            f"the fused executor runs frames by time_window or n_time_bins, not by {transform.to_frame.mode}: "
            'leave executor out, or say "tonic"'
        )
    return "fused" if fused and wish != "tonic" else "tonic"


def block_chain(transform: Transform, wish: ExecutorName, *, has_y: bool) -> BlockChain:
    """Return what runs `transform`.

    Raises
    ------
    UsageError
        The transform can't fit these recordings, or not this executor.
    """
    if executor_for(transform, wish, has_y=has_y) == "fused":
        return FusedChain(transform, has_y=has_y)
    return TonicBlocks(transform, has_y=has_y)


class TonicBlocks:
    """Runs a transform through Tonic, one recording after another."""

    def __init__(self, transform: Transform, *, has_y: bool) -> None:
        # Not before it is needed: Tonic takes seconds to import.
        from spikestore.pipeline.transforms.tonic_chain import TonicChain

        self._chain = TonicChain(transform, has_y=has_y)

    def __call__(
        self, block: EventBlock, *, name_of: Callable[[int], str], sort: bool = False
    ) -> FusedSamples:
        """Return the samples of a block."""
        errors = dict(block.errors)
        samples: list[Sample] = []
        nothing = Sample(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, 0, 0, 0)
        for place in range(len(block)):
            row = block.first_row + place
            sample = nothing
            if row not in errors:
                try:
                    sample = self._chain(events_of(block, place), name=name_of(row), sort=sort)
                except RecordingError as error:
                    errors[row] = error
            samples.append(sample)
        counts = ("n_bins", "n_events", "n_cropped", "n_dropped")
        return FusedSamples(
            index=np.concatenate([sample.index for sample in samples]),
            value=np.concatenate([sample.value for sample in samples]),
            nnz=np.array([len(sample.index) for sample in samples], np.int64),
            **{name: np.array([getattr(sample, name) for sample in samples], np.int64) for name in counts},
            errors=errors,
        )
