"""Choice of the code that computes a transform: the fused pass, plain NumPy, or Tonic. All executors compute the same samples."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Sample
from spikestore.pipeline.transforms.bina_rep import BinaRepChain
from spikestore.pipeline.transforms.float_columns import FloatColumns, can_read
from spikestore.pipeline.transforms.fused import FusedChain, FusedSamples, can_run
from spikestore.pipeline.transforms.fused.filters import is_fused
from spikestore.pipeline.transforms.fused.samples import BlockChain, RecordingChain, sample_of
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.pipeline.transforms.own_operations import refuse_missing_functions
from spikestore.store_schemas.errors import MissingExtraError, RecordingError, UsageError
from spikestore.store_schemas.specs.operations import FloatFrames, ToBinaRep, ToFrame
from spikestore.store_schemas.specs.transform import ExecutorName, Transform

Executor = Literal["fused", "numpy", "tonic"]
"""Code that computes a transform."""

EVENTS_PER_SECOND = {"fused": 25e6, "numpy": 8e6, "tonic": 4e6}
"""Approximate number of events per second that one core reads, bins and stores (``python -m benchmarks.preprocess``; NumPy
takes half of Tonic's time for a recording). Used only to decide whether to start worker processes."""

INSTALL_TONIC = "pip install 'spikestore[tonic]' && pip install --no-deps tonic importRosbag"
"""Commands that install Tonic. An extra cannot contain Tonic, because Tonic requires packages that spikestore does not use
and that have no wheels for Python 3.12 and newer."""


def executor_for(
    transform: Transform,
    requested: ExecutorName | Executor,
    *,
    has_y: bool,
    few_events: bool = False,
) -> Executor:
    """Return the name of the executor that runs `transform`.

    Parameters
    ----------
    transform : Transform
        The transform.
    requested : {"auto", "fused", "numpy", "tonic"}
        The user's request, or an earlier result of this function.
    has_y : bool
        Whether events have a ``y``.
    few_events : bool
        Whether there are so few events (`event_block.are_few`) that ``auto`` means NumPy.

    Raises
    ------
    UsageError
        The requested executor does not support this transform. Or an operation of another package cannot run: its
        function is not installed, or does not have the version and the parameters in `transform`.
    MissingExtraError
        Tonic was requested and is not installed.
    """
    refuse_missing_functions(transform)
    frames = transform.to_frame
    if requested == "tonic":
        if importlib.util.find_spec("tonic") is None:
            raise _missing_tonic("tonic")
        if not isinstance(frames, ToFrame):
            raise UsageError(f'executor = "tonic" does not support {frames.op}: omit executor')
        return "tonic"
    if requested == "numpy" or (requested == "auto" and few_events):
        return "numpy"
    if can_run(transform, has_y=has_y):
        return "fused"
    if requested == "fused":
        for operation in transform.on_events:
            if not is_fused(operation):
                raise UsageError(f'executor = "fused" does not support {operation.op}: omit executor')
        if isinstance(frames, FloatFrames):
            raise UsageError(f'executor = "fused" does not support {frames.op}: omit executor')
        if not isinstance(frames, ToFrame):
            raise UsageError(
                f'executor = "fused" cannot compute frames of {frames.op} that are this large: omit executor'
            )
        raise UsageError(
            f'executor = "fused" supports only time_window and n_time_bins, got {frames.mode}: omit executor'
        )
    return "numpy"


def block_chain(transform: Transform, requested: ExecutorName | Executor, *, has_y: bool) -> BlockChain:
    """Return an object that runs `transform` on blocks of recordings.

    Raises
    ------
    UsageError
        The transform does not fit these recordings, or the requested executor does not support it.
    MissingExtraError
        Tonic was requested, but Tonic or a package that Tonic imports is not installed.
    """
    last = transform.operations[-1]
    if isinstance(last, ToBinaRep):
        problem = None if has_y else transform.problem_without_y()
        if problem is not None:
            raise UsageError(problem)
        counts = Transform(operations=transform.operations[:-1], max_bins=transform.max_bins)
        site_count = math.prod(transform.sites(has_y=has_y))
        return BinaRepChain(block_chain(counts, requested, has_y=has_y), last, site_count)
    chosen = executor_for(transform, requested, has_y=has_y)
    if chosen == "fused":
        return _fused(transform, has_y)
    if chosen == "numpy":
        chain = NumpyChain(transform, has_y=has_y)
        return OneByOne(chain, FloatColumns(transform) if can_read(transform) else None)
    try:  # imported here: Tonic takes seconds to import
        from spikestore.pipeline.transforms.tonic_chain import TonicChain
    except ModuleNotFoundError as error:
        raise _missing_tonic(error.name or "tonic") from error
    return OneByOne(TonicChain(transform, has_y=has_y))


@functools.lru_cache(maxsize=8)
def _fused(transform: Transform, has_y: bool) -> FusedChain:
    """Return the `FusedChain` of a transform. The tasks of a worker share it, because making its tables takes a millisecond."""
    return FusedChain(transform, has_y=has_y)


def _missing_tonic(module: str) -> MissingExtraError:
    return MissingExtraError(
        f'executor = "tonic" needs {module}, which is not installed: run {INSTALL_TONIC}, or omit executor, which '
        "gives the same frames",
        extra="tonic",
        module=module,
    )


class OneByOne:
    """Runs a transform on a block of recordings, one recording after another.

    Parameters
    ----------
    chain : RecordingChain
        The transform, which runs on single recordings.
    columns : FloatColumns, optional
        Object that computes the same samples faster, but only for ordinary recordings: their times are sorted and not too
        large, and their events are inside the sensor (`filter_kernels.is_ordinary`).
    """

    def __init__(self, chain: RecordingChain, columns: FloatColumns | None = None) -> None:
        self._chain = chain
        self._columns = columns

    def __call__(
        self, block: EventBlock, *, name_of: Callable[[int], str], sort: bool = False
    ) -> FusedSamples:
        """Return the samples of a block; the result's ``errors`` maps the row of a recording to its error."""
        errors = dict(block.errors)
        ordinary = None if self._columns is None else self._columns.recordings(block)
        samples: list[Sample] = []
        no_sample = Sample(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, 0, 0, 0)
        for place in range(len(block)):
            row = block.first_row + place
            sample = no_sample
            if row not in errors:
                name = name_of(row)
                found = None
                try:
                    if ordinary is not None:
                        found = ordinary.sample(place, name=name)
                    sample = found or sample_of(self._chain, block, place, name=name, sort=sort)
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
