"""Parts of a new fragment, for `stream_fragment`: rows that committed (former) sets have, possibly at other positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from spikestore.pipeline.growing.former_rows import FormerRows
from spikestore.pipeline.growing.streamed_fragment import FormerPart
from spikestore.store.columns.fragment_facts import without_values
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet, scanned
from spikestore.store.trust.block_rows import RowRange
from spikestore.store_schemas.errors import StoreError
from spikestore.store_schemas.layout import BLOCK

WithLabels = Callable[[int, SampleColumns], SampleColumns]
"""Called with the first row of a run in the new set, and with the rows of the former set; returns the rows with the labels and columns of the new set."""

MOST_RUNS = 4
"""Maximum number of runs. Here, each run decodes whole blocks; in `FormerRows.read`, runs in the same block decode it once."""


class _Run(NamedTuple):
    """Rows that are consecutive both in one fragment of a former set and in the new set."""

    first: int
    """First row in the new set."""
    features: FeatureSet
    fragment: int
    start: int
    """First row, counted from the first row of the fragment."""
    stop: int

    def blocks(self) -> RowRange:
        """Return the rows to decode: these consecutive rows, extended to the edges of blocks of 64 rows."""
        stop = min(-(-self.stop // BLOCK) * BLOCK, self.features.manifest.fragments[self.fragment].samples)
        return RowRange(self.fragment, self.start // BLOCK * BLOCK, stop)


def moved_parts(former: FormerRows, rows: range, with_labels: WithLabels) -> dict[int, FormerPart] | None:
    """Return the parts of a new set's `rows` that former sets have; each key is the first row of a part.

    The rows of a part follow each other in one fragment of a former set.

    The result is empty if former sets have none of the rows. It is None if there are more than `MOST_RUNS` parts, if per-sample columns of a part are damaged, or if only Zarr can
    decode a part. After None, call `FormerRows.read`, which returns the rows that can be read.
    """
    runs = [*_runs(former.part(rows))]
    if len(runs) > MOST_RUNS:
        return None
    parts = {}
    for run in runs:
        try:
            blocks = scanned(run.features, run.blocks())
        except StoreError:
            return None
        if blocks is None:
            return None
        first = run.start - run.blocks().start
        own = {name: column[first : first + run.stop - run.start] for name, column in blocks.samples.items()}
        samples = with_labels(run.first, without_values(own, run.features.layout))
        parts[run.first] = FormerPart(blocks, samples, first)
    return parts


def _runs(part: FormerRows) -> Iterator[_Run]:
    sizes = np.array([each.features.manifest.fragment_samples for each in part.sets])
    fragments = np.where(part.available, part.row_of // sizes[part.set_of], -1)
    breaks = (np.diff(part.row_of) != 1) | (np.diff(part.set_of) != 0) | (np.diff(fragments) != 0)
    begins = [0, *(np.flatnonzero(breaks) + 1).tolist()]
    for begin, end in zip(begins, [*begins[1:], len(part.row_of)], strict=True):
        if part.set_of[begin] < 0:
            continue
        features = part.sets[part.set_of[begin]].features
        start = int(part.row_of[begin]) - int(fragments[begin]) * features.manifest.fragment_samples
        yield _Run(part.first_row + begin, features, int(fragments[begin]), start, start + end - begin)
