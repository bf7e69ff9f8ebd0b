"""FixedDuration: count events in bins of equal length, with SpikingJelly's arithmetic."""

from __future__ import annotations

from typing import Literal

from spikestore.store_schemas.specs.model import Size
from spikestore.store_schemas.specs.operations.spikingjelly_frames import SpikingJellyFrames


class FixedDuration(SpikingJellyFrames):
    """Count events per (time bin, polarity, y, x) in bins of `duration`, as SpikingJelly 2.0.0 with ``duration=``.

    The first event is at time 0. The number of bins is the last time divided by `duration`, rounded up, and at least 1.
    The bin of an event is its time divided by `duration`, rounded down; the last bin also contains the events after it.

    Sources are ``integrate_events_by_fixed_duration`` in ``spikingjelly/datasets/utils.py``, and the function of the same
    name in ``spikingjelly/datasets/shd.py`` for files with float16 times, such as those of SHD and SSC. As there, these times
    are multiplied by 1000 and all results are rounded to float16. Other times are in µs, and computed in their own type.
    """

    op: Literal["fixed_duration"] = "fixed_duration"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    duration: Size
    """Length of a bin, in µs."""

    @property
    def bins(self) -> int | None:
        """Number of bins of every recording: None, because it depends on the recording."""
        return None

    @property
    def windows_per_event(self) -> int:
        """Largest number of bins that can contain the same event."""
        return 1
