"""Parameters of a transform for the compiled pass."""

from __future__ import annotations

from typing import NamedTuple


class FusedParameters(NamedTuple):
    """Parameters of a transform for the compiled pass, except its tables. Times are in µs."""

    sites: int
    plane: int
    """Sites of one polarity, the distance between polarities in a frame; 0 for a sensor with one polarity."""
    first_site: int
    """Offset of all sites: `plane` if events have no ``p``, because then all polarities are 1; else 0."""
    x_last: int
    """Largest raw coordinate x that is inside the sensor after scaling."""
    y_last: int
    p_last: int
    low: int
    """Raw times from `low` to `high` stay within ± `EXACT` after every scaling."""
    high: int
    first: int
    """All crops keep the events with raw times from `first` to `last`."""
    last: int
    empty_bins: int
    """Number of bins of a recording without events."""
    most_bins: int
    bins: int
    """Number of bins (``n_time_bins``); 0 if `window` gives their length instead."""
    grow: float
    """1 + overlap; used with `bins`."""
    shrink: float
    """1 - overlap; used with `bins`."""
    window: float
    stride: float
    start: float
    """Start of the first bin; NaN if it is the time of the first event."""
    end: float
    """End of the recording; NaN if it is the time of the last event."""
    up: bool
    """Whether the number of bins is rounded up (``include_incomplete``)."""
    clip: int
    """Largest count; larger counts are set to it."""
