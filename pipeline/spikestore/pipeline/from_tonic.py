"""Tonic's own objects, turned into what spikestore computes with.

A user hands over a ``tonic.transforms.Compose`` or a ``tonic.datasets.SSC`` as it stands in a training script.
Transforms become specs, whose parameters can be hashed and written down. What has no spec is refused by its name,
with the reason, because whatever was stored for it would be wrong later: random operations would be frozen, and
those that infer a parameter from the first recording that they see depend on the order of access.

Only exact classes are taken: a subclass may compute anything. Nothing here imports Tonic; whoever holds an object
of Tonic's has imported it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikestore.store_schemas.canonical import LARGEST_INTEGER
from spikestore.store_schemas.errors import SpecError, UnsupportedTransformError
from spikestore.store_schemas.operations import SLICING_MODES, CropTime, Downsample, Operation, ToFrame
from spikestore.store_schemas.transform import DEFAULT_MAX_BINS, Transform

READABLE_DATASETS = ("SSC", "SHD")
"""Classes of ``tonic.datasets`` that have a reader."""

_RANDOM = frozenset({
    "DropEvent", "DropEventByArea", "DropEventByTime", "EventDrop", "RandomCrop", "RandomDropPixel", "RandomFlipLR",
    "RandomFlipPolarity", "RandomFlipUD", "RandomTimeReversal", "SpatialJitter", "TimeJitter", "UniformNoise",
})  # fmt: skip
"""Classes of ``tonic.transforms`` 1.7.0 that draw random numbers whatever their parameters."""

_RANDOM_AS_TUPLE = {
    "Downsample": ("time_factor",),
    "RefractoryPeriod": ("delta",),
    "TimeSkew": ("coefficient", "offset"),
}
"""Parameters for which a tuple means a random number from that range."""

_FROZEN = "random: it would be frozen into the store; augment at training time instead"


@dataclass(frozen=True)
class TonicDataset:
    """What a ``tonic.datasets`` object says about itself.

    Attributes
    ----------
    dataset : str
        Name of its class, one of `READABLE_DATASETS`.
    split : str
        ``train``, ``valid`` or ``test``.
    folder : Path
        Where its files lie.
    transform : object or None
        Its transform, for `transform_from_tonic`.
    """

    dataset: str
    split: str
    folder: Path
    transform: object | None


def transform_from_tonic(transform: object, *, max_bins: int = DEFAULT_MAX_BINS) -> Transform:
    """Turn a ``tonic.transforms.Compose`` (nested ones too), or a single ``ToFrame``, into a spec.

    Parameters that Tonic ignores in the chosen way of slicing are left out: what counts is what is computed.

    Parameters
    ----------
    transform : tonic.transforms.Compose or tonic.transforms.ToFrame
        Left as it is.
    max_bins : int
        A recording that would get more time bins is an error.

    Raises
    ------
    UnsupportedTransformError
        A part has no spec: it is random, infers parameters from the data, is not Tonic's, or has none yet.
    SpecError
        The parts do not make a transform, such as one without ``ToFrame`` at its end.
    """
    operations = tuple(_operation(part) for part in _flat(transform))
    return Transform(operations=operations, max_bins=max_bins)


def dataset_from_tonic(dataset: object) -> TonicDataset:
    """Read split, folder and transform off a ``tonic.datasets.SSC`` or ``SHD``.

    Parameters
    ----------
    dataset : tonic.datasets.SSC or tonic.datasets.SHD
        Left as it is.

    Raises
    ------
    UnsupportedTransformError
        Another class, a subclass, a cached or sliced data set, or one that transforms its targets.
    """
    name = _class_name(dataset)
    cached = getattr(sys.modules.get("tonic.cached_dataset"), "__dict__", {})
    wrappers = tuple(cached[one] for one in ("DiskCachedDataset", "MemoryCachedDataset") if one in cached)
    if isinstance(dataset, wrappers):
        raise _unsupported(
            name,
            "caches another data set: hand over the inner one (its .dataset), the store replaces the cache",
        )
    hsd = getattr(sys.modules.get("tonic.datasets.hsd"), "__dict__", {})
    readable = [one for one in READABLE_DATASETS if one in hsd and type(dataset) is hsd[one]]
    if not readable:
        derived = any(isinstance(dataset, hsd[one]) for one in READABLE_DATASETS if one in hsd)
        why = "is a subclass, which may read anything" if derived else "has no reader"
        raise _unsupported(name, f"{why}; data sets that have one: {', '.join(READABLE_DATASETS)}")
    for attribute in ("target_transform", "transforms"):
        value = getattr(dataset, attribute, None)
        if value is not None:
            why = f"{attribute} {_class_name(value)} has no spec: the store keeps the labels of the files, map them in training"
            raise _unsupported(name, why, attribute=attribute)
    file_name = str(dataset.data_filename)  # type: ignore[attr-defined]
    match = re.fullmatch(rf"{readable[0].lower()}_(train|valid|test)\.h5", file_name)
    if match is None:
        raise _unsupported(name, f"reads {file_name!r}, which is none of its splits")
    folder = Path(dataset.location_on_system)  # type: ignore[attr-defined]
    return TonicDataset(readable[0], match[1], folder, dataset.transform)  # type: ignore[attr-defined]


def _flat(transform: object) -> list[object]:
    """Return the parts of nested ``Compose`` objects in order of application."""
    if not _is_exactly(transform, "Compose"):
        return [transform]
    parts = transform.transforms  # type: ignore[attr-defined]
    if not isinstance(parts, (list, tuple)):
        raise _unsupported(
            _class_name(transform), f"holds its parts in a {type(parts).__name__}: give a list"
        )
    return [inner for part in parts for inner in _flat(part)]


def _operation(part: object) -> Operation:
    """Return the spec of one Tonic transform."""
    for name, convert in _CONVERTERS.items():
        if _is_exactly(part, name):
            try:
                return convert(part)
            except SpecError as error:
                why = "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems)
                raise _unsupported(_class_name(part), f"has parameters without a spec: {why}") from None
    raise _unsupported(_class_name(part), _why_not(part))


def _why_not(part: object) -> str:
    """Say why a transform has no spec."""
    known = getattr(sys.modules.get("tonic.transforms"), "__dict__", {})
    kind = type(part)
    if kind is not known.get(kind.__name__):
        bases = [base.__name__ for base in kind.__mro__[1:] if base is known.get(base.__name__)]
        if bases:
            return f"is a subclass of tonic.transforms.{bases[0]}, which may compute anything; use {bases[0]} itself"
        if part is None:
            return "is no transform: give a tonic.transforms.Compose that ends in ToFrame"
        return "has no spec: only tonic.transforms.Downsample, CropTime and ToFrame have one; apply it at training time"
    if kind.__name__ in _RANDOM or _random_parameter(part):
        return f"is {_FROZEN}"
    if kind.__name__ == "DropPixel" and part.hot_pixel_frequency:  # type: ignore[attr-defined]
        return "infers its hot pixels from each recording; it has no spec"
    return "has no spec yet: only Downsample, CropTime and ToFrame have one"


def _random_parameter(part: object) -> str | None:
    """Return the parameter for which `part` holds a range to draw from."""
    for parameter in _RANDOM_AS_TUPLE.get(type(part).__name__, ()):
        if isinstance(getattr(part, parameter), (list, tuple)):
            return parameter
    return None


def _downsample(part: Any) -> Downsample:
    if _random_parameter(part):
        raise _unsupported(_class_name(part), f"with a range as time_factor is {_FROZEN}")
    time_factor = _number(part, "time_factor", part.time_factor)
    if part.target_size is not None:  # Tonic then ignores spatial_factor
        if part.sensor_size is None:
            raise _unsupported(
                _class_name(part), "has a target_size without the sensor_size that it refers to"
            )
        target, sensor = _sizes(part, "target_size"), _sizes(part, "sensor_size")
        return Downsample(time_factor=time_factor, target_size=target, sensor_size=sensor)  # type: ignore[call-arg]
    factor = part.spatial_factor
    pair = factor if isinstance(factor, tuple) else (factor, factor)
    factors: Any = tuple(_number(part, "spatial_factor", one) for one in pair)
    return Downsample(time_factor=time_factor, spatial_factor=factors)


def _crop_time(part: Any) -> CropTime:
    if part.max is None:
        why = "with max=None takes the last time of the first recording that it sees, and cuts all others with it: give max"
        raise _unsupported(_class_name(part), why)
    return CropTime(min=_number(part, "min", part.min), max=_number(part, "max", part.max))


def _to_frame(part: Any) -> ToFrame:
    if part.sensor_size is None or not len(part.sensor_size):
        why = "without sensor_size infers it from each recording, so that frames differ in shape: give sensor_size"
        raise _unsupported(_class_name(part), why)
    given: dict[str, Any] = {}
    for name in SLICING_MODES:
        value = getattr(part, name)
        if value is not None:
            given[name] = _number(part, name, value) if name == "time_window" else _whole(part, name, value)
    if "time_window" in given:
        for name in ("start_time", "end_time"):
            value = getattr(part, name)
            given[name] = None if value is None else _number(part, name, value)
    if "time_window" in given or "event_count" in given:
        given["include_incomplete"] = bool(part.include_incomplete)
    return ToFrame(
        sensor_size=_sizes(part, "sensor_size"), overlap=_number(part, "overlap", part.overlap), **given
    )


_CONVERTERS: dict[str, Callable[[Any], Operation]] = {
    "Downsample": _downsample, "CropTime": _crop_time, "ToFrame": _to_frame,
}  # fmt: skip


def _is_exactly(value: object, name: str) -> bool:
    """Tell whether `value` is of the class ``tonic.transforms.<name>`` and of no subclass."""
    return type(value) is getattr(sys.modules.get("tonic.transforms"), name, None)


def _number(part: object, parameter: str, value: object) -> float:
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if abs(int(value)) > LARGEST_INTEGER:
            raise _unsupported(
                _class_name(part), f"has a {parameter} beyond 2^53, where not every integer is a float"
            )
        return float(value)
    raise _unsupported(_class_name(part), f"has a {parameter} that is no number but {value!r}")


def _whole(part: object, parameter: str, value: object) -> int:
    number = _number(part, parameter, value)
    if not number.is_integer():
        raise _unsupported(_class_name(part), f"has a {parameter} that is no whole number but {value!r}")
    return int(number)


def _sizes(part: object, parameter: str) -> Any:
    # How many sizes there should be is the spec's to say.
    return tuple(_whole(part, parameter, one) for one in getattr(part, parameter))


def _class_name(value: object) -> str:
    """Return a name that a user finds in a script: of a function itself, of anything else its class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    module = str(getattr(named, "__module__", None) or "")
    name = f"{module}.{named.__qualname__}" if module not in ("", "builtins") else named.__qualname__
    code = getattr(value, "__code__", None)
    return name if code is None else f"{name} ({Path(code.co_filename).name}, line {code.co_firstlineno})"


def _unsupported(name: str, why: str, **details: Any) -> UnsupportedTransformError:
    return UnsupportedTransformError(f"{name} {why}", name=name, **details)
