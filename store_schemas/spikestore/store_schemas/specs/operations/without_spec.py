"""Names of Tonic's transforms that have no spec, for clear errors if a recipe contains such a name.

Tonic itself is not imported. ``tests/pipeline/transforms/test_from_tonic.py`` fails when a later Tonic has a class that this
module does not list.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["INSTEAD", "RANDOM", "UNSUPPORTED", "not_of_tonic"]

RANDOM = frozenset({
    "DropEvent", "DropEventByArea", "DropEventByTime", "EventDrop", "RandomCrop", "RandomDropPixel", "RandomFlipLR",
    "RandomFlipPolarity", "RandomFlipUD", "RandomTimeReversal", "SpatialJitter", "TimeJitter", "UniformNoise",
})  # fmt: skip
"""Classes of ``tonic.transforms`` 1.7.0 that draw random numbers, whatever their parameters are."""

UNSUPPORTED = frozenset({"Repeat", "ToOneHotEncoding", "ToSparseTensor"})
"""Other classes of ``tonic.transforms`` 1.7.0 without a spec."""

INSTEAD = {
    "NumpyAsType": "changes only the dtype of the frames, and a store does not keep this dtype: remove this operation",
    "ToImage": "gives the same frames as to_frame with n_event_bins = 1: use to_frame",
}
"""Classes of ``tonic.transforms`` 1.7.0 that need no operation of their own: why, and what to do instead."""

_BY_PLAIN_NAME = {name.lower(): name for name in RANDOM | UNSUPPORTED | INSTEAD.keys()}


def not_of_tonic(operation: object) -> object:
    """Return `operation`, unless it is one of Tonic's transforms that spikestore does not support, such as ``drop_event``.

    Raises
    ------
    ValueError
        The operation is such a transform; the message says what to do.
    """
    op = operation.get("op") if isinstance(operation, Mapping) else None
    name = _BY_PLAIN_NAME.get(op.replace("_", "").lower()) if isinstance(op, str) else None
    if name is None:
        return operation
    if name in RANDOM:
        raise ValueError(
            f"op '{op}' (Tonic's {name}) is random, and a store would repeat one result in every epoch: remove this operation and augment during "
            "training (augment= of FeatureLoader, docs/loading.md)"
        )
    if name in INSTEAD:
        raise ValueError(f"op '{op}' (Tonic's {name}) {INSTEAD[name]}")
    raise ValueError(
        f"op '{op}' (Tonic's {name}) is not supported: docs/tonic.md lists the supported operations"
    )
