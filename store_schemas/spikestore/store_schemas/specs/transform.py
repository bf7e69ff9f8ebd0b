"""The transform: an ordered, deterministic chain of operations from recording to frames."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json, sha256_hex
from spikestore.store_schemas.specs.model import AsTuple, Size, Spec
from spikestore.store_schemas.specs.operations import (
    AfterFrames,
    CenterCrop,
    ClipCounts,
    CropTime,
    Downsample,
    EventOperation,
    FixedDuration,
    FixedFramesNumber,
    FloatFrames,
    FrameOperation,
    MergePolarities,
    Operation,
    PixelFilter,
    ToBinaRep,
    ToFrame,
)

DEFAULT_MAX_BINS = 1_000_000


def _ends_in_frames(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    frames = [index for index, operation in enumerate(operations) if isinstance(operation, FrameOperation)]
    after = [index for index, operation in enumerate(operations) if isinstance(operation, AfterFrames)]
    if len(frames) != 1 or frames + after != list(range(frames[0], len(operations))) or len(after) > 1:
        raise ValueError(
            "a transform must have exactly one operation that makes frames (to_frame, fixed_duration, fixed_frames_number, "
            "to_voxel_grid, to_timesurface or to_averaged_timesurface); after it, only one clip_counts or to_bina_rep is allowed"
        )
    frame = operations[frames[0]]
    if isinstance(frame, FixedDuration | FixedFramesNumber):
        for operation in operations[: frames[0]]:
            if not _keeps_times(operation):
                what = "time_factor of downsample" if isinstance(operation, Downsample) else operation.op
                raise ValueError(
                    f"{frame.op} needs the times as recorded: remove {what}, which comes before {frame.op}"
                )
    if after:
        _refuse_other_frames(frame, operations[-1])
    return operations


def _refuse_other_frames(frame: Operation, after: Operation) -> None:
    """Raise `ValueError` if `after` cannot follow the operation that makes frames."""
    if isinstance(after, ClipCounts) and isinstance(frame, FloatFrames):
        raise ValueError(  # noqa: TRY004 pydantic reports ValueError, not TypeError
            f"clip_counts limits counts, but the frames of {frame.op} are real numbers: remove clip_counts"
        )
    if isinstance(after, ToBinaRep):
        bins = after.n_frames * after.n_bits
        if not isinstance(frame, ToFrame) or frame.bins != bins:
            raise ValueError(
                "to_bina_rep must follow a to_frame whose n_time_bins or n_event_bins is n_frames × n_bits = "
                f"{bins:,}"
            )


def _keeps_times(operation: Operation) -> bool:
    if isinstance(operation, Downsample):
        return operation.time_factor == 1
    return isinstance(operation, CenterCrop | CropTime | MergePolarities | PixelFilter)


Chain = Annotated[tuple[Operation, ...], AsTuple, AfterValidator(_ends_in_frames)]
"""Operations in order of application. The last operation makes frames; or it is ``clip_counts`` or ``to_bina_rep``, after an
operation that makes frames."""


class Transform(Spec):
    """Ordered chain of operations that turns a recording into frames."""

    operations: Chain
    """Operations in order of application."""
    max_bins: Size = DEFAULT_MAX_BINS
    """Maximum number of time bins of a recording. If a recording has more, an error names this recording."""

    @property
    def to_frame(self) -> FrameOperation:
        """The operation that makes frames."""
        return next(operation for operation in self.operations if isinstance(operation, FrameOperation))

    @property
    def on_events(self) -> tuple[EventOperation, ...]:
        """The operations before `to_frame`."""
        return tuple(step for step in self.operations if not isinstance(step, FrameOperation | AfterFrames))

    @property
    def bins(self) -> int | None:
        """Number of time bins of every sample; None if this number depends on the recording."""
        last = self.operations[-1]
        return last.n_frames if isinstance(last, ToBinaRep) else self.to_frame.bins

    @property
    def float_operation(self) -> FloatFrames | ToBinaRep | None:
        """The operation that makes real numbers, which are stored as float32; None if values are counts of events."""
        return next((step for step in self.operations if isinstance(step, FloatFrames | ToBinaRep)), None)

    def problem_without_y(self) -> str | None:
        """Return why the frames of this transform do not fit recordings without ``y``, or None. The operations before the frames are not checked."""
        x, y, p = self.to_frame.sensor_size
        if isinstance(self.float_operation, ToBinaRep):
            return "to_bina_rep needs events with y, but these recordings have no y: remove to_bina_rep"
        if self.float_operation is not None:
            return (
                f"{self.float_operation.op} needs events with y, but these recordings have no y: use to_frame"
            )
        return (
            f"sensor_size must be ({x}, 1, {p}) for events without y, got ({x}, {y}, {p})" if y != 1 else None
        )

    @property
    def max_count(self) -> int | None:
        """Largest count after ``clip_counts``; None if the transform has no ``clip_counts``."""
        return next((step.max for step in self.operations if isinstance(step, ClipCounts)), None)

    def sites(self, *, has_y: bool) -> tuple[int, ...]:
        """Return the sizes of the frame axes after time: (polarity, y, x), or (polarity, x) if `has_y` is false."""
        x, y, p = self.to_frame.frame_size
        return (p, y, x) if has_y else (p, x)

    def key_document(self) -> dict[str, Any]:
        """Return the document whose hash is the transform key: format, `max_bins`, and all parameters of the operations including defaults."""
        return {"format": FORMAT, **self.to_mapping()}

    @cached_property
    def key(self) -> str:
        """The transform key: SHA-256 (hex) of the canonical JSON of `key_document`."""
        return sha256_hex(canonical_json(self.key_document()))


ExecutorName = Literal["auto", "fused", "tonic"]
"""Code that computes a transform: ``fused`` is one compiled pass over the events, ``tonic`` calls Tonic's classes.

``auto`` is ``fused`` if it supports the transform, else NumPy. For small sets, `preprocess` with ``auto`` uses NumPy, because
NumPy takes less time than loading compiled code. The samples are always the same.
"""
