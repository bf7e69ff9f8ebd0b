"""Parameters of a transform for the compiled pass."""

from __future__ import annotations

from typing import NamedTuple


class Plan(NamedTuple):
    """Parameters of a transform for the pass, without its tables. Times in µs."""

    sites: int
    plane: int
    """Sites between neighbouring polarities; 0 on a sensor with one."""
    first_site: int
    """Added to all sites: where polarity 1 starts, if the events have no polarity of their own."""
    x_last: int
    """Last raw coordinate that lies on the sensor after scaling."""
    y_last: int
    p_last: int
    low: int
    """Raw times from `low` to `high` stay within ± `EXACT` under all scalings."""
    high: int
    first: int
    """Raw times from `first` to `last` survive all crops."""
    last: int
    empty_bins: int
    """Bins of a recording without events."""
    most_bins: int
    bins: int
    """Bins of equal time, or 0 where `window` says how long they are."""
    grow: float
    """1 + overlap, with `bins`."""
    shrink: float
    """1 - overlap, with `bins`."""
    window: float
    stride: float
    start: float
    """Start of the first bin, or NaN for the first event's time."""
    end: float
    """End of the recording, or NaN for the last event's time."""
    up: bool
    """Round the number of bins up."""
    clip: int
    """Largest count."""
