"""A transform or a source with only one spec, and its key."""

from __future__ import annotations

from spikestore.store_schemas import Source, SourceFile, Transform
from spikestore.store_schemas.specs.model import Spec
from spikestore.store_schemas.specs.operations import (
    AfterFrames,
    ClipCounts,
    EventOperation,
    FrameOperation,
    Operation,
    ToBinaRep,
    ToFrame,
)

FRAME = ToFrame(sensor_size=(4, 1, 1), time_window=4000.0)


def key_of(spec: Spec) -> str:
    """Return the key of a transform or source that has `spec` as its only part of that kind."""
    if isinstance(spec, Transform | Source):
        return spec.key
    if isinstance(spec, SourceFile):
        return Source(reader="r", reader_version=1, dataset="D", split="s", files=(spec,)).key
    assert isinstance(spec, EventOperation | FrameOperation | AfterFrames)
    return Transform(operations=chain_of(spec)).key


def chain_of(spec: Operation) -> tuple[Operation, ...]:
    """Return the operations of a transform with `spec`."""
    if isinstance(spec, FrameOperation):
        return (spec,)
    if isinstance(spec, ToBinaRep):
        return (ToFrame(sensor_size=(4, 1, 1), n_time_bins=spec.n_frames * spec.n_bits), spec)
    return (FRAME, spec) if isinstance(spec, ClipCounts) else (spec, FRAME)
