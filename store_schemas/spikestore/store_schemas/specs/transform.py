"""The transform: an ordered, deterministic chain of operations from recording to frames."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from spikestore.store_schemas.specs.canonical import FORMAT, canonical_json, sha256_hex
from spikestore.store_schemas.specs.model import AsTuple, Size, Spec
from spikestore.store_schemas.specs.operations import ClipCounts, CropTime, Downsample, Operation, ToFrame

DEFAULT_MAX_BINS = 1_000_000


def _ends_in_frames(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    frames = [place for place, operation in enumerate(operations) if isinstance(operation, ToFrame)]
    clips = [place for place, operation in enumerate(operations) if isinstance(operation, ClipCounts)]
    if len(frames) != 1 or frames + clips != list(range(frames[0], len(operations))) or len(clips) > 1:
        raise ValueError("a transform has exactly one to_frame, and it comes last but for one clip_counts")
    return operations


Chain = Annotated[tuple[Operation, ...], AsTuple, AfterValidator(_ends_in_frames)]
"""Operations in the order in which they are applied, ending in ``to_frame``, or in ``clip_counts`` after it."""


class Transform(Spec):
    """Operations in the order in which they are applied; ``to_frame`` is the last one, but for ``clip_counts``."""

    operations: Chain
    """The chain."""
    max_bins: Size = DEFAULT_MAX_BINS
    """A recording that would get more time bins than this is an error that names it."""

    @property
    def to_frame(self) -> ToFrame:
        """The operation that makes frames."""
        return next(operation for operation in self.operations if isinstance(operation, ToFrame))

    @property
    def on_events(self) -> tuple[Downsample | CropTime, ...]:
        """The operations before ``to_frame``."""
        return tuple(one for one in self.operations if isinstance(one, (Downsample, CropTime)))

    @property
    def max_count(self) -> int | None:
        """Largest count that is kept, or None."""
        return next((one.max for one in self.operations if isinstance(one, ClipCounts)), None)

    def sites(self, *, has_y: bool) -> tuple[int, ...]:
        """Return the sizes of the frame axes behind time: (polarity, y, x), or (polarity, x) without `has_y`."""
        x, y, p = self.to_frame.sensor_size
        return (p, y, x) if has_y else (p, x)

    def key_document(self) -> dict[str, Any]:
        """Return what the transform key hashes: format, bounds, and every parameter with defaults spelled out."""
        return {"format": FORMAT, **self.to_mapping()}

    @cached_property
    def key(self) -> str:
        """The transform key: SHA-256 (hex) of the canonical JSON of `key_document`."""
        return sha256_hex(canonical_json(self.key_document()))


ExecutorName = Literal["auto", "fused", "tonic"]
"""Who runs a transform: the fused pass; Tonic; or the fused pass where it can, else NumPy. The samples are the same."""
