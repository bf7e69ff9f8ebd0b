"""The order of streamed epochs, as a row of ``benchmarks.loading``."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.form import Row


def shuffle_quality(bench: Any) -> Row:
    """Mean correlation of a row's position in one epoch with that in the next, over 20 pairs; near 0 is good."""
    import numpy as np

    from spikestore.train.data.epoch_order import EpochSamples
    from spikestore.train.data.streaming.stream_order import cut_spans, lane_order
    from spikestore.train.data.subsets import subset_rows

    features = bench.features
    row = Row("stream_correlation_of_positions_between_epochs")
    if len(features) < 3:
        row.skipped = f"{len(features)} recordings have no correlation of positions"
        return row
    rows = subset_rows(features, None)
    cut = cut_spans(features, rows, None)
    places = [
        np.argsort(lane_order(cut, EpochSamples(rows, 0, features.digest), epoch).rows) for epoch in range(21)
    ]
    found = [float(np.corrcoef(a, b)[0, 1]) for a, b in itertools.pairwise(places)]
    row.ratios = found
    row.ours = {"runs": len(cut.starts), "lanes": cut.lanes, "rows_a_span": cut.span_rows}
    return row
