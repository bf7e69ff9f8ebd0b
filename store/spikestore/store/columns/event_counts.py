"""Numbers of events that a build read, cropped and dropped, summed over samples (docs/format.md, "Manifest")."""

from __future__ import annotations

import numpy as np

from spikestore.store.columns.samples import SampleColumns
from spikestore.store_schemas.documents.record import EventCounts

EVENT_COLUMNS = ("n_events", "n_cropped", "n_dropped")
"""Columns with these numbers for each sample."""

LOSSY_SHARE = 0.05
"""If more than this share of a sample's events is in no time bin, the sample counts as lossy. Lossy samples are reported."""


def count_events(columns: SampleColumns) -> EventCounts:
    """Return the numbers of events read, cropped and dropped, summed over some samples, and the number of lossy samples.

    A number is 0 if `columns` lacks a column for it.
    """
    totals = {
        name: int(columns.extras[name].sum(dtype=np.int64))
        for name in EVENT_COLUMNS
        if name in columns.extras
    }
    lossy = 0
    if {"n_events", "n_dropped"} <= totals.keys():
        events = columns.extras["n_events"].astype(np.float64)
        lossy = int(np.count_nonzero(columns.extras["n_dropped"] > LOSSY_SHARE * events))
    return EventCounts(**totals, lossy_samples=lossy)
