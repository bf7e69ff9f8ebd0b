"""A transform in plain NumPy, for single recordings; it rejects events for which Tonic's result is not defined.

For valid recordings, frames of counts equal Tonic's (or SpikingJelly's), integer for integer; invalid recordings raise an error. `FusedChain` calls
this chain for recordings that its compiled pass marks as unusual. `block_chain` uses this chain for transforms that `FusedChain`
does not support, for example ``to_frame`` with ``event_count`` or ``n_event_bins``. The steps:

1. Check and widen the events (`event_guards`); no array of the caller changes.
2. Apply each operation before ``to_frame`` (`event_operations`). All operations keep times sorted.
3. Compute the number of bins (`frame_bins`), before arrays of this size are allocated.
4. Find the events of each bin, and count the events in no bin.
5. Count the events of each cell, in int64 and without a dense frame (`frame_counts`), or compute frames of real numbers
   (`float_frames`).

`TonicChain` replaces steps 2, 4 and 5 with Tonic's own code. The parameters of operations are integers if they have no fraction, else
floats. Integers stay exact above 2^53; below 2^53, integers and floats give the same results.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.recording import Events, Sample
from spikestore.pipeline.transforms import event_guards as guards
from spikestore.pipeline.transforms.event_operations import EventStep
from spikestore.pipeline.transforms.fixed_bins import FixedBins
from spikestore.pipeline.transforms.float_frames.frames import float_frames, frame_with_bins_of
from spikestore.pipeline.transforms.frame_bins import FrameBins
from spikestore.pipeline.transforms.frame_counts import Ints, count_covered, count_sparsely
from spikestore.store_schemas.errors import RecordingError, UsageError
from spikestore.store_schemas.specs.operations import FixedDuration, FloatFrames, ToBinaRep, ToFrame
from spikestore.store_schemas.specs.transform import Transform


class NumpyChain:
    """Computes the samples of single recordings in NumPy.

    Parameters
    ----------
    transform : Transform
        The operations.
    has_y : bool
        Whether events have a field ``y``. With ``y``, the shape of frames is (T, P, Y, X); without ``y``, it is (T, P, X).

    Raises
    ------
    UsageError
        Events have no ``y``, but the sensor has several values of y, or an operation needs ``y``. Or all recordings have the
        same number of bins, which is above ``max_bins`` or too large for an index. Or the function of another
        package is missing or cannot be used (`CheckedFunction`).
    """

    def __init__(self, transform: Transform, *, has_y: bool) -> None:
        assert not isinstance(transform.operations[-1], ToBinaRep)  # noqa: S101 - `block_chain` passes the counts
        problem = None if has_y else transform.problem_without_y()
        if problem is not None:
            raise UsageError(problem)
        self.transform = transform
        self.has_y = has_y
        self._steps = [
            EventStep(operation, has_y=has_y, max_bins=transform.max_bins)
            for operation in transform.on_events
        ]
        self._sites = transform.sites(has_y=has_y)
        spec, limit = transform.to_frame, transform.max_bins
        self._bins: FrameBins | FixedBins
        self._bins_of_seconds: FixedBins | None = None
        if isinstance(spec, ToFrame | FloatFrames):
            by_time = frame_with_bins_of(spec) if isinstance(spec, FloatFrames) else spec
            self._bins = FrameBins(by_time, self._sites, max_bins=limit)
        else:
            self._bins = FixedBins(spec, self._sites, max_bins=limit)
            if isinstance(spec, FixedDuration) or spec.split_by == "time":
                self._bins_of_seconds = FixedBins(spec, self._sites, max_bins=limit, seconds=True)
        if self._bins.are_fixed:
            try:
                self._bins.count(None, name="every recording")
            except RecordingError as error:
                raise UsageError(error.message) from None

    def __call__(
        self,
        events: Events,
        *,
        name: str,
        sort: bool = False,
        seconds: npt.NDArray[np.float16] | None = None,
    ) -> Sample:
        """Return the sample of one recording.

        Parameters
        ----------
        events : structured array, shape (n_events,)
            Fields ``t`` (µs), ``x``, ``y`` (if `has_y`) and ``p``, integers of any width; ``t`` may be floating point, and ``p`` bool or
            whole numbers in floating point.
        name : str
            Name of the recording in messages, such as ``ssc_train.h5: recording 17``.
        sort : bool
            First sort events by time (stable sort), instead of rejecting unsorted times.
        seconds : float16 array, shape (n_events,), optional
            Times in s as the file stores them, if they are float16. Only ``fixed_duration``, and ``fixed_frames_number`` with
            ``split_by = "time"``, compute with them.

        Raises
        ------
        RecordingError
            The recording is ill-formed or has more than ``max_bins`` bins; Tonic's result for these events is not defined; or a
            function of another package failed.
        UsageError
            A function of another package breaks a rule; see `CheckedFunction`.
        """
        seconds = None if self._bins_of_seconds is None else seconds
        framed, origin = self._before_frames(events, name=name, sort=sort, seconds=seconds)
        n_events, n_framed = len(events), len(framed)
        if n_framed == 0:
            n_bins = self._bins.count(None, name=name)
            empty = np.empty(0, np.int64)
            return Sample(empty, empty, n_bins, n_events, n_cropped=n_events, n_dropped=0)
        to_frame = self.transform.to_frame
        guards.check_frameable(framed, to_frame.sensor_size, origin=origin)
        if to_frame.sensor_size[2] == 1:
            framed["p"] = 0  # as Tonic does, in our copy
        if seconds is None or self._bins_of_seconds is None:
            n_bins = self._bins.count(framed["t"], name=name)
            starts, ends = self._ranges(framed)
        else:
            times = seconds[origin.numbers(n_framed)]
            n_bins = self._bins_of_seconds.count(times, name=name)
            starts, ends = self._bins_of_seconds.ranges(times)
        if isinstance(to_frame, FloatFrames):
            index, real, dropped = float_frames(to_frame, framed, starts, ends, name=name)
            cropped = n_events - n_framed
            return Sample(index, real, n_bins, n_events, n_cropped=cropped, n_dropped=dropped)
        index, value = self._counted(framed, starts, ends)
        if self.transform.max_count is not None:
            value = np.minimum(value, self.transform.max_count)
        dropped = n_framed - count_covered(starts, ends, n_framed)
        return Sample(index, value, n_bins, n_events, n_cropped=n_events - n_framed, n_dropped=dropped)

    def _before_frames(
        self, events: Events, *, name: str, sort: bool, seconds: npt.NDArray[np.float16] | None
    ) -> tuple[Events, guards.Origin]:
        """Apply all operations before ``to_frame``; return the events in a new array, and the `Origin` of these events."""
        now = guards.widen(events, name=name, has_y=self.has_y)
        times = None if seconds is None else seconds.astype(np.float64) * 1e6
        now, order = guards.put_in_order(now, name=name, sort=sort, times=times)
        origin = guards.Origin(name, events, order)
        guards.check_not_negative(now, origin=origin)
        for step in self._steps:
            if len(now) == 0:
                break
            step.check(now, origin=origin)
            kept = step.kept(now)
            now = self._applied(now, step, kept, name=origin.name)
            if kept is not None:
                origin = origin.filtered(kept)
            elif step.makes_new_events:
                origin = guards.Origin(f"{name}, after {step.operation.op}", now.copy())
        return now, origin

    # `TonicChain` overrides the methods below.

    def _applied(
        self, events: Events, step: EventStep, kept: npt.NDArray[np.bool_] | None, *, name: str
    ) -> Events:
        """Return the events after an operation: those for which `kept` is true (all if it is None), changed by the operation."""
        return step.changed(events if kept is None else events[kept], name=name)

    def _ranges(self, events: Events) -> tuple[Ints, Ints]:
        """Return the range of events of each bin; see `FrameBins.ranges`."""
        return self._bins.ranges(events["t"])

    def _counted(self, events: Events, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """Return the index and the count of each non-zero cell; int64, shape (nnz,) each."""
        return count_sparsely(events, starts, ends, self._sites)
