"""Operations that count events in bins with SpikingJelly's arithmetic: FixedDuration and FixedFramesNumber."""

from __future__ import annotations

from typing import Literal

from spikestore.store_schemas.specs.model import Size
from spikestore.store_schemas.specs.operations.frame_base import FrameBase


class _SpikingJellyFrames(FrameBase):
    """Base of `FixedDuration` and `FixedFramesNumber`, which have no ``time_window`` and no ``n_time_bins``, unlike `ToFrame`."""

    @property
    def time_window(self) -> float | None:
        """Always None: these operations have no parameter ``time_window``."""
        return None

    @property
    def n_time_bins(self) -> int | None:
        """Always None: these operations have no parameter ``n_time_bins``."""
        return None


class FixedDuration(_SpikingJellyFrames):
    """Count events per (time bin, polarity, y, x) in bins of `duration`, like SpikingJelly 2.0.0 with ``duration=``.

    Times are counted from the first event. The number of bins is the last time divided by `duration`, rounded up, and at least 1.
    The bin of an event is its time divided by `duration`, rounded down. The last bin also contains events that are exactly at its
    end, and events that are after its end because of rounding.

    The arithmetic is that of ``integrate_events_by_fixed_duration`` in ``spikingjelly/datasets/utils.py``, and of the function
    of the same name in ``spikingjelly/datasets/shd.py`` for files with float16 times, such as the files of SHD and SSC. As in
    ``shd.py``, float16 times in s are converted to ms, and each step of the computation rounds to float16. Times of other dtypes
    are in µs, and their bins are computed in the dtype of the times.
    """

    op: Literal["fixed_duration"] = "fixed_duration"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    duration: Size
    """Length of a bin, in µs."""

    @property
    def bins(self) -> int | None:
        """Always None: the number of bins depends on the recording."""
        return None

    @property
    def non_zeros_per_event(self) -> int:
        """Largest number of bins that can contain the same event."""
        return 1


class FixedFramesNumber(_SpikingJellyFrames):
    """Count events per (time bin, polarity, y, x) in `frames_number` bins, like SpikingJelly 2.0.0 with ``frames_number=``.

    If ``split_by`` is ``"number"``, each bin has the same number of events: all events divided by `frames_number`, rounded
    down. If ``split_by`` is ``"time"``, each bin has the same length: the time between the first and the last event divided by
    `frames_number`. In both cases, the last bin also contains the events after its end. A bin without events is all zero; in
    this case, SpikingJelly raises an IndexError.

    The arithmetic is that of ``cal_fixed_frames_number_segment_index`` in ``spikingjelly/datasets/utils.py``, and of the
    function of the same name in ``spikingjelly/datasets/shd.py`` for files with float16 times, such as the files of SHD and
    SSC. As in ``shd.py``, float16 times are divided without rounding down. All results are rounded to float16, so an event may
    be in two bins or in no bin. Times of other dtypes are divided with rounding down, in their own dtype.
    """

    op: Literal["fixed_frames_number"] = "fixed_frames_number"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    frames_number: Size
    """Number of bins of each recording."""
    split_by: Literal["number", "time"]
    """Whether bins have equal numbers of events, or equal lengths."""

    @property
    def bins(self) -> int | None:
        """Number of bins of every recording."""
        return self.frames_number

    @property
    def non_zeros_per_event(self) -> int:
        """Largest number of bins that can contain the same event."""
        # Rounding to float16 moves both ends of a bin by up to half the distance between neighbouring float16 times.
        return 1 if self.split_by == "number" else 3
