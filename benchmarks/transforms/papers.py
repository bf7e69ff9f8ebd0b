"""Frames that follow papers, against the code of these papers (sparch and SpikingJelly)."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.datasets.scale import Scale
from benchmarks.form import Row, compare, timed
from benchmarks.peers.process import PeerError, PeerProcess
from spikestore.pipeline.readers.cochlea_files.cochlea_block import CHANNELS, float16_table
from spikestore.pipeline.readers.event_block import EventBlock
from spikestore.pipeline.transforms.fused import FusedChain
from spikestore.store_schemas.specs.operations import FixedDuration, FixedFramesNumber, Operation, ToFrame
from spikestore.store_schemas.specs.transform import Transform

EVENTS = 8_000
"""Number of events of a recording; recordings of SHD have 8,079 on average."""

EDGES = np.linspace(0, 1.4, 100)
"""Edges of sparch's bins in s."""


def digitize(scale: Scale) -> Row:
    """Compare ``to_frame`` with the code that sparch runs for one item: ``np.digitize``, then dense frames. Both make the same bins."""
    block = cochlea_recordings(scale.recordings or (64 if scale.small else 256))
    window = 1.4e6 / 99
    operation = ToFrame(sensor_size=(CHANNELS, 1, 1), time_window=window, start_time=-window, end_time=1.4e6)
    return _against_sparch(Row("digitize: to_frame vs sparch's item", 10), block, _ours(block, operation))


def digitize_bound(scale: Scale) -> Row:
    """Like `digitize`, but with a bare loop in place of ``to_frame``: the ratio of `digitize` cannot be above this ratio.

    The loop counts events whose bins are known already, and collects non-zeros.
    """
    import numba

    block = cochlea_recordings(scale.recordings or (64 if scale.small else 256))
    frames = [
        _binned(block, row) * CHANNELS + block.x[block.offsets[row] : block.offsets[row + 1]]
        for row in range(len(block))
    ]
    counts = np.zeros(100 * CHANNELS, np.uint32)
    index, value = (np.empty(EVENTS, np.uint32) for _ in range(2))

    @numba.njit
    def bare(cells: Any, counts: Any, index: Any, value: Any) -> int:
        for i in range(len(cells)):
            counts[cells[i]] += np.uint32(1)
        filled = 0
        for cell in range(len(counts)):
            if counts[cell]:
                index[filled], value[filled] = cell, counts[cell]
                filled += 1
        counts[:] = 0
        return filled

    def run() -> None:
        for cells in frames:
            bare(cells, counts, index, value)

    run()  # the first run compiles
    return _against_sparch(Row("digitize, bound: a bare loop vs sparch's item"), block, run)


def _against_sparch(row: Row, block: EventBlock, ours: Callable[[], object]) -> Row:
    import torch

    def sparch() -> None:
        for number, (start, stop) in enumerate(itertools.pairwise(block.offsets)):
            place = torch.LongTensor(np.array([_binned(block, number), block.x[start:stop]]))
            ones = torch.ones(stop - start)
            torch.sparse_coo_tensor(place, ones, (100, CHANNELS), check_invariants=False).to_dense()

    torch.set_num_threads(1)
    count = len(block)
    return compare(row, _rate(ours, count), _rate(sparch, count), unit="recordings/s", turns=3)


def _binned(block: EventBlock, row: int) -> npt.NDArray[np.int64]:
    """Return the bin of each event of a recording, as sparch's data set computes it."""
    seconds = block.t[block.offsets[row] : block.offsets[row + 1]].view(np.float16)
    return np.digitize(seconds, EDGES)


def fixed_duration(scale: Scale) -> Row:
    """``fixed_duration`` of 10 ms, against SpikingJelly's own integration of SHD, which makes dense frames in float64."""
    block = cochlea_recordings(scale.recordings or (64 if scale.small else 256))
    row = Row("fixed_duration: against SpikingJelly's integration", 20)
    columns = {"t": block.t.view(np.float16), "x": block.x, "size": [CHANNELS]}
    operation = FixedDuration(sensor_size=(CHANNELS, 1, 1), duration=10_000)
    return _against_spikingjelly(scale, row, block, columns, "duration=10", operation)


def fixed_frames_number(scale: Scale) -> Row:
    """``fixed_frames_number`` with 16 frames by time, against SpikingJelly's integration of 300,000 events on 128 x 128 pixels.

    Access to memory is the limit: each event is counted in a frame, and 16 frames are written for each recording.
    """
    rng = np.random.default_rng(0)
    count, events = scale.recordings or (8 if scale.small else 32), 300_000
    columns: dict[str, Any] = {"t": np.sort(rng.integers(0, 6 * 10**6, (count, events))).reshape(-1)}
    for field, end in (("x", 128), ("y", 128), ("p", 2)):
        columns[field] = rng.integers(0, end, count * events).astype(np.uint16)
    block = EventBlock(
        first_row=0,
        offsets=np.arange(count + 1, dtype=np.int64) * events,
        time_table=None,
        labels=np.zeros(count, np.int64),
        extras={},
        errors={},
        **columns,
    )
    operation = FixedFramesNumber(sensor_size=(128, 128, 2), frames_number=16, split_by="time")
    row = Row("fixed_frames_number: against SpikingJelly's integration", 2)
    return _against_spikingjelly(scale, row, block, {**columns, "size": [128, 128]}, "time=16", operation)


def _against_spikingjelly(
    scale: Scale, row: Row, block: EventBlock, columns: dict[str, Any], rule: str, operation: Operation
) -> Row:
    with scale.folder() as folder:
        path = folder / "recordings.npz"
        np.savez(path, offsets=block.offsets, **columns)
        try:
            with PeerProcess("spikingjelly", "benchmarks.peers.spikingjelly_integration", path, rule) as peer:
                ours = _rate(_ours(block, operation), len(block))
                return compare(row, ours, peer.rate, unit="recordings/s", turns=3)
        except PeerError as error:
            row.skipped = str(error)
            return row


def cochlea_recordings(count: int) -> EventBlock:
    """Return random recordings, in the form in which a reader of SHD returns them: sorted float16 times up to 1.2 s, given as 16-bit codes."""
    rng = np.random.default_rng(0)
    times = np.sort((rng.random((count, EVENTS)) * 1.2).astype(np.float16))
    return EventBlock(
        first_row=0,
        offsets=np.arange(count + 1, dtype=np.int64) * EVENTS,
        t=times.reshape(-1).view(np.uint16),
        time_table=float16_table(),
        x=rng.integers(0, CHANNELS, count * EVENTS).astype(np.uint16),
        y=None,
        p=None,
        labels=np.zeros(count, np.int64),
        extras={},
        errors={},
    )


def _ours(block: EventBlock, operation: Operation) -> Callable[[], object]:
    """Return a function that applies `operation` to `block` with the fused executor; the code is already compiled."""
    chain = FusedChain(Transform(operations=(operation,)), has_y=block.y is not None)

    def run() -> object:
        return chain(block, name_of=str)

    run()
    return run


def _rate(work: Callable[[], object], count: int) -> Callable[[], float]:
    return lambda: count / timed(work)


ROWS = [digitize, digitize_bound, fixed_duration, fixed_frames_number]
"""The rows of this module."""
