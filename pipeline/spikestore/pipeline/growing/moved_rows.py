"""Rows of former sets that have other positions in a fragment of the new set: they are checked and copied chunk by chunk.

`FormerRows.read` decodes whole columns, and joins them afterwards. Here, the chunks are written to their final place at once,
which saves the page faults of large arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.growing.former_rows import FormerRows, RowRun
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet, scanned
from spikestore.store.trust.block_rows import RowRange
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.layout import BLOCK, Layout

MOST_RUNS = 4
"""Maximum number of runs. Here, each run decodes whole blocks; in `FormerRows.read`, runs in the same block decode it once."""


class _Run(NamedTuple):
    """Consecutive rows of one fragment of a set, which are consecutive in the new set."""

    features: FeatureSet
    fragment: int
    start: int
    """First row, counted from the first row of the fragment."""
    stop: int

    def blocks(self) -> RowRange:
        """Return the whole blocks that have these rows."""
        stop = min(-(-self.stop // BLOCK) * BLOCK, self.features.manifest.fragments[self.fragment].samples)
        return RowRange(self.fragment, self.start // BLOCK * BLOCK, stop)


def moved_rows(former: FormerRows, rows: range) -> RowRun | None:
    """Return all rows `rows` of a new set, with the labels of the former sets, and the columns that all of these sets have.

    Returns None if a row is missing or damaged, or if the rows come from too many places. If the result is None,
    `FormerRows.read` returns the rows that can be read.
    """
    part = former.part(rows)
    if not part.available.all():
        return None
    runs = [*_runs(part)]
    if len(runs) > MOST_RUNS:
        return None
    try:
        columns = _read(runs)
    except StoreError:
        return None
    return None if columns is None else RowRun(rows.start, columns)


def _runs(part: FormerRows) -> Iterator[_Run]:
    sizes = np.array([each.features.manifest.fragment_samples for each in part.sets])
    fragments = part.row_of // sizes[part.set_of]
    breaks = (np.diff(part.row_of) != 1) | (np.diff(part.set_of) != 0) | (np.diff(fragments) != 0)
    begins = [0, *(np.flatnonzero(breaks) + 1).tolist()]
    for begin, end in zip(begins, [*begins[1:], len(part.row_of)], strict=True):
        features = part.sets[part.set_of[begin]].features
        start = int(part.row_of[begin]) - int(fragments[begin]) * features.manifest.fragment_samples
        yield _Run(features, int(fragments[begin]), start, start + end - begin)


def _read(runs: list[_Run]) -> SampleColumns | None:
    """Return the rows of all runs; None if only Zarr can decode them."""
    sizes = []
    for run in runs:
        blocks = scanned(run.features, run.blocks())
        if blocks is None:
            return None
        sizes.append(_span(run, blocks.offsets))
    layout = runs[0].features.layout
    total = sum(last - first for first, last in sizes)
    index, value = (np.empty(total, layout.dtype(name)) for name in ("index", "value"))
    samples: list[dict[str, npt.NDArray[Any]]] = []
    begin = 0
    for run, span in zip(runs, sizes, strict=True):
        end = begin + span[1] - span[0]
        blocks = scanned(run.features, run.blocks())
        if blocks is None:
            return None
        copies = (_Copy(span, column[begin:end]) for column in (index, value))
        see_index, see_value = (copy.add for copy in copies)
        blocks.scan((), see_index, see_value)
        own = slice(run.start - run.blocks().start, run.stop - run.blocks().start)
        samples.append({name: column[own] for name, column in blocks.samples.items()})
        begin = end
    return _columns(index, value, samples, layout)


def _span(run: _Run, offsets: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return where the non-zeros of a run start and end among all non-zeros of its blocks."""
    first = run.blocks().start
    return int(offsets[run.start - first]), int(offsets[run.stop - first])


def _columns(
    index: npt.NDArray[Any],
    value: npt.NDArray[Any],
    samples: list[dict[str, npt.NDArray[Any]]],
    layout: Layout,
) -> SampleColumns:
    # Requested columns may be in some of the sets only; they come from the new source.
    shared = [name for name in samples[0] if all(name in each for each in samples)]
    joined = {name: np.concatenate([each[name] for each in samples]) for name in shared}
    extras = {name: joined.pop(name) for name in layout.extras if name in joined}
    return SampleColumns(index=index, value=value, **joined, extras=extras)


class _Copy:
    """Copies a span of a column that arrives in pieces."""

    def __init__(self, span: tuple[int, int], out: npt.NDArray[Any]) -> None:
        self._first, self._last = span
        self._out = out

    def add(self, begins: int, piece: npt.NDArray[Any]) -> None:
        """Copy the part of a piece that is in the span."""
        first, last = max(self._first, begins), min(self._last, begins + len(piece))
        if first < last:
            self._out[first - self._first : last - self._first] = piece[first - begins : last - begins]
