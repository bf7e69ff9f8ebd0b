"""Downsample, CropTime and frames of time bins in one compiled pass, which runs after the filters.

The compiled pass raises no errors. It transforms ordinary recordings, for which its frames certainly equal Tonic's. It marks
all other recordings as unusual. `NumpyChain` transforms each unusual recording, or raises the error. So this chain and
`NumpyChain` reject the same recordings with the same messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.readers.recording import Sample
from spikestore.pipeline.transforms.fused.columns import Columns, frozen, prepare
from spikestore.pipeline.transforms.fused.filters import divided, is_fused
from spikestore.pipeline.transforms.fused.order import in_order
from spikestore.pipeline.transforms.fused.parameters import (
    BY_NUMBER,
    BY_TIME,
    DURATION,
    HALF_RULES,
    LARGEST_WHOLE_HALF,
    FusedParameters,
)
from spikestore.pipeline.transforms.fused.samples import FusedSamples, insert, sample_of
from spikestore.pipeline.transforms.fused.stored_times import SHORTEST, duration_tables, float16_units
from spikestore.pipeline.transforms.fused.tables import (
    EXACT,
    coordinate_table,
    empty_bins,
    scaled_times,
    time_factors,
    time_span,
)
from spikestore.pipeline.transforms.numpy_chain import NumpyChain
from spikestore.store_schemas.errors import RecordingError
from spikestore.store_schemas.specs.operations import (
    FixedDuration,
    FixedFramesNumber,
    FrameOperation,
    ToFrame,
)
from spikestore.store_schemas.specs.transform import Transform

MOST_SITES = 2**24
"""Maximum number of sites. The pass has a count of 2 bytes for each site, and a second count of 4 bytes if a bin has more than
65,535 events: up to 96 MiB in total."""

_MOST_BINS = 2**32 - 2
"""Largest number of bins that the pass computes; the column of bins, uint32, can store it."""

_NO_TABLE = frozen(np.zeros(0, np.int64))


def can_run(transform: Transform, *, has_y: bool) -> bool:
    """Return whether `FusedChain` supports this transform.

    `FusedChain` supports the operations ``downsample``, ``crop_time``, ``center_crop``, ``denoise`` and ``refractory_period``,
    and the frames of ``to_frame`` with ``time_window`` or ``n_time_bins``, of ``fixed_duration`` and of
    ``fixed_frames_number``. The frames must have at most `MOST_SITES` sites. Very large
    times, sizes and numbers of bins are not supported either (`is_fused`, `EXACT`).
    """
    spec = transform.to_frame
    return (
        _has_supported_bins(spec)
        and all(is_fused(operation) for operation in transform.on_events)
        and math.prod(transform.sites(has_y=has_y)) <= MOST_SITES
    )


def _has_supported_bins(spec: FrameOperation) -> bool:
    if isinstance(spec, FixedDuration):
        return spec.duration <= EXACT
    if isinstance(spec, FixedFramesNumber):
        return spec.frames_number <= LARGEST_WHOLE_HALF
    if not isinstance(spec, ToFrame):
        return False
    numbers = [spec.time_window, spec.overlap, spec.start_time, spec.end_time]
    return spec.mode in {"time_window", "n_time_bins"} and all(
        abs(number) <= EXACT for number in numbers if number is not None
    )


def _parameters_of_bins(spec: FrameOperation) -> dict[str, Any]:
    """Return the parameters that define the bins, except the number of bins."""
    if isinstance(spec, FixedDuration):
        return {"rule": DURATION, "duration": spec.duration}
    if isinstance(spec, FixedFramesNumber):
        return {"rule": BY_NUMBER if spec.split_by == "number" else BY_TIME}
    assert isinstance(spec, ToFrame)  # noqa: S101 - `can_run` is false for others
    window = math.nan if spec.time_window is None else spec.time_window
    return {
        "grow": 1 + spec.overlap,
        "shrink": 1 - spec.overlap,
        "window": window,
        "stride": window - spec.overlap,
        "start": math.nan if spec.start_time is None else spec.start_time,
        "end": math.nan if spec.end_time is None else spec.end_time,
        "up": spec.include_incomplete,
    }


class _TimeTable(NamedTuple):
    """The time of each possible time code (`EventBlock.t`), before and after scaling.

    The times of codes 0 to `rising` never decrease. `source` is the block's own table, in µs, and `raw` is a copy of it.
    `scaled` has the times after all time factors. But if the rule is in `HALF_RULES`, `scaled` has
    float16 times, as whole multiples of 2^-24 ms for ``fixed_duration``, and of 2^-24 s for ``fixed_frames_number``.
    """

    source: npt.NDArray[np.int64]
    raw: npt.NDArray[np.int64]
    scaled: npt.NDArray[np.int64]
    rising: int


class FusedChain:
    """Computes the samples of blocks of recordings; the results equal those of `NumpyChain` and Tonic bit for bit.

    Any number of threads may call one object at the same time.

    Parameters
    ----------
    transform : Transform
        The transform; `can_run` must be true for it.
    has_y : bool
        Whether events have a ``y``.

    Raises
    ------
    UsageError
        The transform fits no recording, for a reason that `NumpyChain` lists.
    ValueError
        `can_run` is false.
    """

    def __init__(self, transform: Transform, *, has_y: bool) -> None:
        if not can_run(transform, has_y=has_y):
            raise ValueError("FusedChain does not support this transform (can_run is false): use NumpyChain")
        self.transform = transform
        self.has_y = has_y
        self._chain = NumpyChain(transform, has_y=has_y)  # raises if the transform fits no recording
        self._filters, transform = divided(transform)
        x_size, y_size, polarities = transform.to_frame.sensor_size
        bins = empty_bins(transform.to_frame)
        self._factors = time_factors(transform)
        self._span = time_span(transform)
        self._x_table, x_last = coordinate_table(transform, 0, size=x_size, step=1)
        self._y_table, y_last = coordinate_table(transform, 1, size=y_size, step=x_size)
        sites = math.prod(transform.sites(has_y=has_y))
        self._index_dtype = np.uint32 if transform.max_bins * sites <= 2**32 - 1 else np.uint64
        self._times: _TimeTable | None = None

        # Imported here because numba takes a third of a second to import.
        from spikestore.pipeline.transforms.fused import kernels

        self._kernels = kernels
        self._parameters = FusedParameters(
            sites=sites,
            plane=sites // polarities if polarities > 1 else 0,
            first_site=0,
            x_last=x_last,
            y_last=y_last,
            p_last=polarities - 1,
            low=self._span.low,
            high=self._span.high,
            first=self._span.first,
            last=self._span.last,
            empty_bins=int(bins),
            most_bins=min(transform.max_bins, _MOST_BINS),
            clip=2**32 - 1 if transform.max_count is None else transform.max_count,
            bins=transform.to_frame.bins or 0,
            **_parameters_of_bins(transform.to_frame),
        )

    def __call__(
        self, block: EventBlock, *, name_of: Callable[[int], str], sort: bool = False
    ) -> FusedSamples:
        """Return the samples of one block.

        Parameters
        ----------
        block : EventBlock
            The recordings.
        name_of : callable
            Returns, for the row of a recording, its name in messages, such as ``ssc_train.h5: recording 17``.
        sort : bool
            First sort events by time (stable sort), instead of rejecting unsorted times.
        """
        kernels, recordings = self._kernels, len(block.offsets) - 1
        errors = dict(block.errors)
        state = np.full(recordings, kernels.TODO, np.uint8)
        state[[row - block.first_row for row in errors]] = kernels.SKIP
        about = np.zeros((4, recordings), np.int64)
        # `NumpyChain` gets events of the original block, because its messages number events in the order of the file.
        stored = block.time_table is not None and self._parameters.rule in HALF_RULES
        ordered = in_order(block, float16_units(1) if stored else block.time_table) if sort else block
        columns = prepare(ordered, has_y=self.has_y)
        if stored and 0 < self._parameters.duration < SHORTEST:
            columns = None
        filtered = None
        if columns is not None and self._filters is not None:
            filtered = self._filters(ordered, columns, state)
            columns = None if filtered is None else filtered.columns
        offsets = ordered.offsets if filtered is None else filtered.offsets
        if columns is None:
            state[state != kernels.SKIP] = kernels.UNUSUAL
            index, value = np.empty(0, self._index_dtype), np.empty(0, np.uint32)
        else:
            index, value = self._run(ordered.time_table, columns, offsets, state, about)
            if filtered is not None:
                about[2] += np.where(state == kernels.TODO, filtered.dropped, 0)
        n_events = np.where(state == kernels.SKIP, 0, np.diff(block.offsets))

        unusual = np.flatnonzero(state == kernels.UNUSUAL).tolist()
        samples: dict[int, Sample] = {}
        for place in unusual:
            row = block.first_row + place
            try:
                sample = sample_of(self._chain, block, place, name=name_of(row), sort=sort)
            except RecordingError as error:
                errors[row] = error
                n_events[place] = about[:, place] = 0
                continue
            samples[place] = sample
            about[:, place] = len(sample.index), sample.n_bins, sample.n_cropped, sample.n_dropped
        if samples:
            index, value = insert(index, value, about[0], samples)
        nnz, n_bins, n_cropped, n_dropped = about
        return FusedSamples(index, value, nnz, n_bins, n_events, n_cropped, n_dropped, errors)

    def _run(
        self,
        time_table: npt.NDArray[np.int64] | None,
        columns: Columns,
        offsets: npt.NDArray[np.int64],
        state: npt.NDArray[np.uint8],
        about: npt.NDArray[np.int64],
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint32]]:
        """Run the compiled pass, and return index and value of all non-zeros.

        For each recording, the pass writes to `state` whether `NumpyChain` must transform the recording, and to `about` the numbers of its non-zeros,
        bins, cropped events and dropped events.
        """
        _, x, y, p = columns
        parameters = self._parameters
        parameters = parameters._replace(
            x_last=min(parameters.x_last, x.last), y_last=min(parameters.y_last, y.last if y else 0)
        )
        if p is None:
            parameters = parameters._replace(first_site=parameters.plane)  # all polarities are 1
        else:
            parameters = parameters._replace(
                p_last=min(parameters.p_last, p.last) if parameters.plane else p.last
            )
        times = None if time_table is None else self._time_table(time_table)
        edges = counts = _NO_TABLE
        if times is not None and parameters.rule in HALF_RULES:
            parameters = parameters._replace(rule=HALF_RULES[parameters.rule])
            if parameters.duration:
                edges, counts = map(frozen, duration_tables(parameters.duration))
        inputs = (
            parameters,
            frozen(np.array(self._factors, np.float64)),
            columns.t,
            None if times is None else times.raw,
            None if times is None else times.scaled,
            0 if times is None else times.rising,
            x.values,
            frozen(self._x_table),
            None if y is None else y.values,
            None if y is None else frozen(self._y_table),
            None if p is None else p.values,
            edges,
            counts,
            frozen(offsets.astype(np.int64, copy=False)),
        )
        # Most recordings have fewer non-zeros than events. Unused memory pages cost nothing.
        capacity = len(columns.t) + len(state) * self._kernels.SLACK
        index, value = np.empty(capacity, self._index_dtype), np.empty(capacity, np.uint32)
        row = filled = 0
        while True:
            row, filled = self._kernels.bin_recordings(*inputs, row, state, about, index, value, filled)
            if row == len(state):
                return index[:filled], value[:filled]
            capacity *= 2
            index, value = (
                np.concatenate([column[:filled], np.empty(capacity - filled, column.dtype)])
                for column in (index, value)
            )

    def _time_table(self, table: npt.NDArray[np.int64]) -> _TimeTable:
        known = self._times
        is_fixed = not table.flags.writeable and table.base is None
        if known is not None and known.source is table and is_fixed:
            return known  # all blocks of a reader share one table, and a comparison takes long
        if known is None or not np.array_equal(known.raw, table):
            raw = frozen(table.copy())
            falls = np.flatnonzero(raw[1:] < raw[:-1])
            rising = int(falls[0]) if len(falls) else len(raw) - 1
            if self._parameters.rule in HALF_RULES:
                scaled = float16_units(1000 if self._parameters.duration else 1)
            else:
                scaled = frozen(scaled_times(raw, self._span, self._factors))
            known = _TimeTable(table, raw, scaled, rising)
            self._times = known
        return known
