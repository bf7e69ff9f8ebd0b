"""Parameters of a transform for the compiled pass."""

from __future__ import annotations

import math
from typing import NamedTuple

TONIC, DURATION, HALF_DURATION, BY_NUMBER, BY_TIME, HALF_BY_TIME = range(6)
"""Rules that divide a recording into bins. TONIC is the rule of ``to_frame``. The other rules are SpikingJelly's: by duration, by
number and by time. The rules that begin with HALF are for float16 times."""

HALF_RULES = {DURATION: HALF_DURATION, BY_TIME: HALF_BY_TIME}
"""Rules that are replaced if the file has float16 times, each with the rule that replaces it."""

UNIT = 2.0**-24
"""Smallest positive float16. All other float16 are multiples of it, so sums and differences of them are exact integers."""

LARGEST_HALF = 65504 * 2**24
"""Largest finite float16, as a multiple of `UNIT`."""

LARGEST_WHOLE_HALF = 2**11
"""Up to this number all whole numbers are float16, because the significand of a float16 has 11 bits."""


class FusedParameters(NamedTuple):
    """Parameters of a transform for the compiled pass, except its tables. Times are in µs."""

    sites: int
    plane: int
    """Number of sites of one polarity, which is the distance between polarities in a frame; 0 for a sensor with one polarity."""
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
    clip: int
    """Largest count; larger counts are set to it."""
    bins: int
    """Number of bins (``n_time_bins``, ``frames_number``); 0 if `window` or `duration` gives their length instead."""
    rule: int = TONIC
    """How the bins are found."""
    duration: int = 0
    """Length of a bin in ``fixed_duration``, in µs."""
    grow: float = 1.0
    """1 + overlap; used only for ``n_time_bins``."""
    shrink: float = 1.0
    """1 - overlap; used only for ``n_time_bins``."""
    window: float = math.nan
    """Length of a bin. This field and the following fields are used only for ``time_window``."""
    stride: float = math.nan
    """Time from the start of a bin to the start of the next bin."""
    start: float = math.nan
    """Start of the first bin; NaN if it is the time of the first event."""
    end: float = math.nan
    """End of the recording; NaN if it is the time of the last event."""
    up: bool = False
    """Whether the number of bins is rounded up (``include_incomplete``)."""
