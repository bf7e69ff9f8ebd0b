"""Conversion of single Tonic transforms to specs, and the reasons why other transforms have no spec.

This module does not import Tonic; a caller with a Tonic object has imported it. Only exact classes are accepted, because a
subclass may compute anything. ``tests/pipeline/transforms/test_from_tonic.py`` fails if a later Tonic has a class that is
unknown here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikestore.store_schemas.errors import SpecError, UnsupportedTransformError
from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER
from spikestore.store_schemas.specs.model import Spec
from spikestore.store_schemas.specs.operations import (
    SLICING_MODES,
    CenterCrop,
    ClipCounts,
    CropTime,
    Decimation,
    Denoise,
    Downsample,
    DropPixel,
    EventDownsampling,
    FloatFrames,
    FrameOperation,
    MergePolarities,
    Operation,
    RefractoryPeriod,
    TimeAlignment,
    TimeSkew,
    ToAveragedTimesurface,
    ToBinaRep,
    ToFrame,
    ToTimesurface,
    ToVoxelGrid,
)
from spikestore.store_schemas.specs.operations.without_spec import RANDOM

_RANDOM_AS_TUPLE = {
    "Downsample": ("time_factor",),
    "RefractoryPeriod": ("delta",),
    "TimeSkew": ("coefficient", "offset"),
}
"""Parameters by transform: if such a parameter is a tuple, Tonic draws a random number from this range."""

_FROZEN = "random: every epoch would get the same random result from the store; apply this transform during training"


def operation_of(part: object) -> Operation:
    """Return the spec of one Tonic transform.

    Raises
    ------
    UnsupportedTransformError
        The transform has no spec; the message has its name and the reason.
    """
    for name, convert in _CONVERTERS.items():
        if is_exactly(part, name):
            try:
                return convert(part)
            except SpecError as error:
                why = "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems)
                raise unsupported(
                    class_name(part), f"has parameters that its operation does not allow: {why}"
                ) from None
    raise unsupported(class_name(part), _why_not(part))


def type_change(part: Any, before: Sequence[Operation]) -> tuple[ClipCounts, ...]:
    """Return the operations that equal a ``NumpyAsType``: ``clip_counts`` with ``max = 1`` if counts become bool, else no operation.

    Parameters
    ----------
    part : tonic.transforms.NumpyAsType
        The transform.
    before : sequence of operations
        The operations before it.

    Raises
    ------
    UnsupportedTransformError
        The transform comes before the frames; or NumPy does not know the type; or the type cannot hold all values. Counts
        may become bool.
    """
    name = class_name(part)
    if not any(isinstance(operation, FrameOperation) for operation in before):
        raise unsupported(
            name, "removes the names of fields, which a later ToFrame needs: remove this transform"
        )
    try:
        dtype = np.dtype(part.dtype)
    except TypeError:
        raise unsupported(name, f"needs a dtype of NumPy, got {part.dtype!r}") from None
    if isinstance(before[-1], FloatFrames | ToBinaRep):
        if dtype.kind != "f" or dtype.itemsize < 4:
            raise unsupported(
                name, f"with {dtype} rounds real numbers, which are stored as float32: remove this transform"
            )
        return ()
    if dtype == np.bool_:
        return (ClipCounts(max=1),)
    if dtype.kind not in "iuf" or dtype.itemsize < 2 or dtype == np.float16:
        raise unsupported(
            name,
            f"with {dtype} changes large counts: remove this transform, or limit the counts with clip_counts in a recipe",
        )
    return ()


def _why_not(part: object) -> str:
    """Return why spikestore has no operation for a transform, as the end of a sentence that starts with the transform's name."""
    if isinstance(part, Spec):
        return "comes from a recipe and not from Tonic: pass a Transform, which transform_spec() of a Recipe returns, and do not put it in a list"
    known = getattr(sys.modules.get("tonic.transforms"), "__dict__", {})
    if isinstance(part, type):
        return f"is a class: pass an object, {part.__name__}(…)"
    kind = type(part)
    if kind is not known.get(kind.__name__):
        bases = [base.__name__ for base in kind.__mro__[1:] if base is known.get(base.__name__)]
        if bases:
            return f"is a subclass of tonic.transforms.{bases[0]}, and a subclass may compute anything: use {bases[0]}"
        if part is None:
            return "is not a transform: pass a tonic.transforms.Compose that ends in ToFrame"
        return "has no operation in spikestore: docs/tonic.md lists the transforms that have an operation; apply this transform during training"
    if kind.__name__ in RANDOM or _random_parameter(part):
        return f"is {_FROZEN}"
    return "has no operation in spikestore: docs/tonic.md lists the transforms that have an operation"


def _random_parameter(part: object) -> str | None:
    """Return the name of the parameter of `part` that is a random range, or None."""
    for parameter in _RANDOM_AS_TUPLE.get(type(part).__name__, ()):
        if isinstance(getattr(part, parameter), (list, tuple)):
            return parameter
    return None


def _downsample(part: Any) -> Downsample:
    if _random_parameter(part):
        raise unsupported(class_name(part), f"with a range as time_factor is {_FROZEN}")
    time_factor = _number(part, "time_factor", part.time_factor)
    if part.target_size is not None:  # Tonic then ignores spatial_factor
        if part.sensor_size is None:
            raise unsupported(class_name(part), "has target_size without sensor_size: pass sensor_size too")
        target, sensor = _sizes(part, "target_size"), _sizes(part, "sensor_size")
        return Downsample(time_factor=time_factor, target_size=target, sensor_size=sensor)  # type: ignore[call-arg]
    factor = part.spatial_factor
    pair = factor if isinstance(factor, tuple) else (factor, factor)
    factors: Any = tuple(_number(part, "spatial_factor", factor) for factor in pair)
    return Downsample(time_factor=time_factor, spatial_factor=factors)


def _crop_time(part: Any) -> CropTime:
    if part.max is None:
        why = "with max=None crops all recordings at the last time stamp of the first recording: pass max="
        raise unsupported(class_name(part), why)
    return CropTime(min=_number(part, "min", part.min), max=_number(part, "max", part.max))


def _to_frame(part: Any) -> ToFrame:
    if part.sensor_size is None or (hasattr(part.sensor_size, "__len__") and len(part.sensor_size) == 0):
        why = "without sensor_size makes frames of a different shape for each recording: pass sensor_size"
        raise unsupported(class_name(part), why)
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


def _decimation(part: Any) -> Decimation:
    return Decimation(n=_whole(part, "n", part.n))


def _denoise(part: Any) -> Denoise:
    return Denoise(filter_time=_number(part, "filter_time", part.filter_time))


def _drop_pixel(part: Any) -> DropPixel:
    if part.hot_pixel_frequency:
        why = (
            "with hot_pixel_frequency finds hot pixels in each recording separately, which no operation of spikestore "
            "does: pass coordinates= instead, or apply DropPixel during training"
        )
        raise unsupported(class_name(part), why)
    given = part.coordinates if part.coordinates is not None else ()
    try:
        pixels: Any = tuple(tuple(_whole(part, "coordinates", place) for place in pixel) for pixel in given)
    except TypeError:  # not iterable
        raise unsupported(class_name(part), f"needs pairs (x, y) as coordinates, got {given!r}") from None
    return DropPixel(coordinates=pixels)


def _merge_polarities(_: Any) -> MergePolarities:
    return MergePolarities()


def _refractory_period(part: Any) -> RefractoryPeriod:
    if _random_parameter(part):
        raise unsupported(class_name(part), f"is {_FROZEN}")
    return RefractoryPeriod(delta=_number(part, "delta", part.delta))


def _center_crop(part: Any) -> CenterCrop:
    size: Any = _sizes(part, "size")
    return CenterCrop(sensor_size=_sizes(part, "sensor_size"), size=size * 2 if len(size) == 1 else size)


def _event_downsampling(part: Any) -> EventDownsampling:
    bins = None
    if part.downsampling_method == "differentiator":
        bins = _whole(part, "differentiator_time_bins", part.differentiator_time_bins)
    return EventDownsampling(  # type: ignore[call-arg]
        sensor_size=_sizes(part, "sensor_size"),
        target_size=_sizes(part, "target_size"),
        downsampling_method=part.downsampling_method,
        dt=_number(part, "dt", part.dt),
        noise_threshold=_whole(part, "noise_threshold", part.noise_threshold),
        differentiator_time_bins=bins,
    )


def _time_alignment(_: Any) -> TimeAlignment:
    return TimeAlignment()


def _time_skew(part: Any) -> TimeSkew:
    if _random_parameter(part):
        raise unsupported(class_name(part), f"is {_FROZEN}")
    offset = _number(part, "offset", part.offset)
    return TimeSkew(coefficient=_number(part, "coefficient", part.coefficient), offset=offset)


def _to_image(part: Any) -> ToFrame:
    return ToFrame(sensor_size=_sizes(part, "sensor_size"), n_event_bins=1)


def _to_voxel_grid(part: Any) -> ToVoxelGrid:
    bins = _whole(part, "n_time_bins", part.n_time_bins)
    return ToVoxelGrid(sensor_size=_sizes(part, "sensor_size"), n_time_bins=bins)


def _to_timesurface(part: Any) -> ToTimesurface:
    dt, tau = (_number(part, name, getattr(part, name)) for name in ("dt", "tau"))
    return ToTimesurface(sensor_size=_sizes(part, "sensor_size"), dt=dt, tau=tau)


def _to_averaged_timesurface(part: Any) -> ToAveragedTimesurface:
    return ToAveragedTimesurface(
        sensor_size=_sizes(part, "sensor_size"),
        surface_size=_whole(part, "surface_size", part.surface_size),
        cell_size=_whole(part, "cell_size", part.cell_size),
        time_window=_number(part, "time_window", part.time_window),
        tau=_number(part, "tau", part.tau),
        decay=part.decay,
    )


def _to_bina_rep(part: Any) -> ToBinaRep:
    return ToBinaRep(
        n_frames=_whole(part, "n_frames", part.n_frames), n_bits=_whole(part, "n_bits", part.n_bits)
    )


_CONVERTERS: dict[str, Callable[[Any], Operation]] = {
    "Downsample": _downsample, "CropTime": _crop_time, "ToFrame": _to_frame, "Decimation": _decimation,
    "Denoise": _denoise, "DropPixel": _drop_pixel, "MergePolarities": _merge_polarities,
    "RefractoryPeriod": _refractory_period, "CenterCrop": _center_crop, "EventDownsampling": _event_downsampling,
    "TimeAlignment": _time_alignment, "TimeSkew": _time_skew, "ToImage": _to_image,
    "ToVoxelGrid": _to_voxel_grid, "ToTimesurface": _to_timesurface,
    "ToAveragedTimesurface": _to_averaged_timesurface, "ToBinaRep": _to_bina_rep,
}  # fmt: skip


def is_exactly(value: object, name: str) -> bool:
    """Return whether the class of `value` is exactly ``tonic.transforms.<name>``."""
    return type(value) is getattr(sys.modules.get("tonic.transforms"), name, None)


def _number(part: object, parameter: str, value: object) -> float:
    if isinstance(value, (float, np.floating)):
        return float(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        if abs(int(value)) > LARGEST_INTEGER:
            raise unsupported(
                class_name(part),
                f"needs {parameter} below 2^53, because larger floats are not exact, got {value!r}",
            )
        return float(value)
    raise unsupported(class_name(part), f"needs a number as {parameter}, got {value!r}")


def _whole(part: object, parameter: str, value: object) -> int:
    number = _number(part, parameter, value)
    if not number.is_integer():
        raise unsupported(class_name(part), f"needs a whole number as {parameter}, got {value!r}")
    return int(number)


def _sizes(part: object, parameter: str) -> Any:
    # The spec checks the number of sizes.
    value = getattr(part, parameter)
    sizes = value if isinstance(value, (list, tuple, np.ndarray)) else (value,)
    return tuple(_whole(part, parameter, size) for size in sizes)


def class_name(value: object) -> str:
    """Return the full name of a class or a function, or of the class of any other object. The name of a Python function is followed by its file and line."""
    named = value if hasattr(value, "__qualname__") else type(value)
    module = str(getattr(named, "__module__", None) or "")
    name = f"{module}.{named.__qualname__}" if module not in ("", "builtins") else named.__qualname__
    code = getattr(value, "__code__", None)
    return name if code is None else f"{name} ({Path(code.co_filename).name}, line {code.co_firstlineno})"


def unsupported(name: str, why: str, **details: Any) -> UnsupportedTransformError:
    """Return the error for an object without a spec, with its `name` and the reason."""
    return UnsupportedTransformError(f"{name} {why}", name=name, **details)
