"""The transform: an ordered, deterministic chain of operations from recording to frames."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json, sha256_hex
from spikestore.store_schemas.specs.model import AsTuple, Size, Spec
from spikestore.store_schemas.specs.operations import (
    CenterCrop,
    ClipCounts,
    CropTime,
    Downsample,
    EventOperation,
    FixedDuration,
    FixedFramesNumber,
    FrameOperation,
    MergePolarities,
    Operation,
    PixelFilter,
)

DEFAULT_MAX_BINS = 1_000_000


def _ends_in_frames(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    frames = [index for index, operation in enumerate(operations) if isinstance(operation, FrameOperation)]
    clips = [index for index, operation in enumerate(operations) if isinstance(operation, ClipCounts)]
    if len(frames) != 1 or frames + clips != list(range(frames[0], len(operations))) or len(clips) > 1:
        raise ValueError(
            "a transform must end with its only to_frame, fixed_duration or fixed_frames_number, or with one clip_counts after it"
        )
    frame = operations[frames[0]]
    if isinstance(frame, FixedDuration | FixedFramesNumber):
        for operation in operations[: frames[0]]:
            if not _keeps_times(operation):
                what = "time_factor of downsample" if isinstance(operation, Downsample) else operation.op
                raise ValueError(f"{frame.op} needs the times of the recording: remove {what} before it")
    return operations


def _keeps_times(operation: Operation) -> bool:
    if isinstance(operation, Downsample):
        return operation.time_factor == 1
    return isinstance(operation, CenterCrop | CropTime | MergePolarities | PixelFilter)


Chain = Annotated[tuple[Operation, ...], AsTuple, AfterValidator(_ends_in_frames)]
"""Operations in order of application; the last makes frames, or is ``clip_counts`` after such an operation."""


class Transform(Spec):
    """Ordered chain of operations that turns a recording into frames."""

    operations: Chain
    """Operations in order of application."""
    max_bins: Size = DEFAULT_MAX_BINS
    """Limit of time bins per recording; more are an error that names the recording."""

    @property
    def to_frame(self) -> FrameOperation:
        """The operation that makes frames."""
        return next(operation for operation in self.operations if isinstance(operation, FrameOperation))

    @property
    def on_events(self) -> tuple[EventOperation, ...]:
        """The operations before `to_frame`."""
        return tuple(step for step in self.operations if not isinstance(step, FrameOperation | ClipCounts))

    @property
    def max_count(self) -> int | None:
        """Largest count after ``clip_counts``; None without it."""
        return next((step.max for step in self.operations if isinstance(step, ClipCounts)), None)

    def sites(self, *, has_y: bool) -> tuple[int, ...]:
        """Return the sizes of the frame axes after time: (polarity, y, x), or (polarity, x) without `has_y`."""
        x, y, p = self.to_frame.sensor_size
        return (p, y, x) if has_y else (p, x)

    def key_document(self) -> dict[str, Any]:
        """Return the document whose hash is the transform key: format, limits, and all parameters including defaults."""
        return {"format": FORMAT, **self.to_mapping()}

    @cached_property
    def key(self) -> str:
        """The transform key: SHA-256 (hex) of the canonical JSON of `key_document`."""
        return sha256_hex(canonical_json(self.key_document()))


ExecutorName = Literal["auto", "fused", "tonic"]
"""Code that computes a transform: the fused pass, Tonic, or (auto) the fused pass if possible, else NumPy.

All give the same samples.
"""
