"""Transforms of Tonic's that are no operation here, by name: a user who writes one into a recipe is told why.

Tonic itself is not imported. ``tests/pipeline/transforms/test_from_tonic.py`` fails when a later Tonic has a class that nobody
has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["RANDOM", "UNSUPPORTED", "not_of_tonic"]

RANDOM = frozenset({
    "DropEvent", "DropEventByArea", "DropEventByTime", "EventDrop", "RandomCrop", "RandomDropPixel", "RandomFlipLR",
    "RandomFlipPolarity", "RandomFlipUD", "RandomTimeReversal", "SpatialJitter", "TimeJitter", "UniformNoise",
})  # fmt: skip
"""Classes of ``tonic.transforms`` 1.7.0 that draw random numbers whatever their parameters."""

UNSUPPORTED = frozenset({
    "CenterCrop", "Decimation", "Denoise", "DropPixel", "EventDownsampling", "MergePolarities", "NumpyAsType",
    "RefractoryPeriod", "Repeat", "TimeAlignment", "TimeSkew", "ToAveragedTimesurface", "ToBinaRep", "ToImage",
    "ToOneHotEncoding", "ToSparseTensor", "ToTimesurface", "ToVoxelGrid",
})  # fmt: skip
"""Its other classes without a spec."""

_BY_PLAIN_NAME = {name.lower(): name for name in RANDOM | UNSUPPORTED}


def not_of_tonic(operation: object) -> object:
    """Refuse an operation that is a transform of Tonic's without a spec, ``drop_event`` or ``DropEvent``; pass all else.

    Raises
    ------
    ValueError
        It is one; the message says why it has none.
    """
    op = operation.get("op") if isinstance(operation, Mapping) else None
    name = _BY_PLAIN_NAME.get(op.replace("_", "").lower()) if isinstance(op, str) else None
    if name is None:
        return operation
    if name in RANDOM:
        raise ValueError(
            f"op '{op}' is random, as Tonic's {name}: it would be frozen into the store; leave it out, and augment "
            "at training time (augment= of FeatureLoader, docs/loading.md)"
        )
    raise ValueError(
        f"op '{op}', Tonic's {name}, has no spec yet: only downsample, crop_time, to_frame and clip_counts have one"
    )
