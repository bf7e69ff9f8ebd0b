"""The content of a new recipe, from a few choices; all other values are those of the shipped recipe of the data set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from spikestore.pipeline.readers.folder.settings import FOLDER
from spikestore.pipeline.recipes.recipe import load_recipe
from spikestore.pipeline.recipes.shipped import shipped_recipes
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.operations import CropTime, Downsample, ToFrame

_US_PER_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChoices:
    """Choices about the frames; what is not chosen has a default.

    Attributes
    ----------
    sensor_size : tuple of int, optional
        Size (x, y, polarity) of the recordings; needed if there is no shipped recipe for the data set.
    size : tuple of int, optional
        Size (x) or (x, y) of the frames; by default the size of the sensor if `sensor_size` is given, else the size in the
        shipped recipe. If only x is given, y is equal to x, or 1 if the sensor has no y.
    bin_ms, bins, bin_events : float, int and int, optional
        Length of a time bin in ms, number of time bins of a recording, and number of events of a time bin. At most one of the
        three may be given.
    max_ms : float, optional
        Events after this time of a recording, in ms, are dropped; 0 keeps all.
    merge_polarities : bool
        Count both polarities together.
    binary : bool
        Limit counts to 1.
    """

    sensor_size: tuple[int, ...] | None = None
    size: tuple[int, ...] | None = None
    bin_ms: float | None = None
    bins: int | None = None
    bin_events: int | None = None
    max_ms: float | None = None
    merge_polarities: bool = False
    binary: bool = False

    @property
    def has_bins(self) -> bool:
        """Whether the time bins are chosen."""
        return not (self.bin_ms is None and self.bins is None and self.bin_events is None)


def default_choices(dataset: str) -> FrameChoices:
    """Return the choices with which the shipped recipe of a data set was made; if there is no shipped recipe, bins of 10 ms."""
    path = shipped_recipes().get(dataset.lower())
    recipe = None if path is None else load_recipe(path)
    # A package may have a data set with the name of another recipe, such as the demo.
    if recipe is None or recipe.source.dataset.lower() != dataset.lower():
        return FrameChoices(bin_ms=10.0, max_ms=0.0)
    transform = recipe.transform_spec()
    frame = transform.to_frame
    x, y, p = frame.sensor_size
    window = frame.time_window if isinstance(frame, ToFrame) else None
    factors = next(
        (step.spatial_factor for step in transform.operations if isinstance(step, Downsample)), (1, 1)
    )
    latest = next((step.max for step in transform.operations if isinstance(step, CropTime)), 0.0)
    return FrameChoices(
        # A cochlea has no y: the factor has no effect on it.
        sensor_size=(round(x / factors[0]), 1 if y == 1 else round(y / factors[1]), p),
        size=(x, y),
        bin_ms=None if window is None else window / _US_PER_MS,
        max_ms=latest / _US_PER_MS,
    )


def transform_of(chosen: FrameChoices, defaults: FrameChoices) -> list[dict[str, Any]]:
    """Return the ``[[transform]]`` tables of some choices.

    Raises
    ------
    UsageError
        The time bins are chosen in more than one way, a number is out of range, the size of the sensor is not known, or the
        frames are larger than the sensor.
    """
    (x, y), (sensor_x, sensor_y, polarities) = _sizes(chosen, defaults)
    operations: list[dict[str, Any]] = []
    if (x, y) != (sensor_x, sensor_y):
        factors = [f"{x}/{sensor_x}", f"{y}/{sensor_y}"]
        same = sensor_y == 1 or x * sensor_y == y * sensor_x
        operations.append({"op": "downsample", "spatial_factor": factors[0] if same else factors})
    if chosen.merge_polarities:
        operations.append({"op": "merge_polarities"})
    max_ms = defaults.max_ms if chosen.max_ms is None else chosen.max_ms
    if max_ms is not None:
        _refuse_infinite("--max-ms", max_ms)
        if max_ms < 0:
            raise UsageError(f"--max-ms must be 0 or greater, got {max_ms:g}")
    if max_ms:
        operations.append({"op": "crop_time", "max": _us(max_ms)})
    size = [x, y, 1 if chosen.merge_polarities else polarities]
    operations.append(
        {"op": "to_frame", "sensor_size": size, **_bins(chosen if chosen.has_bins else defaults)}
    )
    if chosen.binary:
        operations.append({"op": "clip_counts", "max": 1})
    return operations


def default_name(dataset: str, chosen: FrameChoices, defaults: FrameChoices) -> str:
    """Return a name that contains the data set, the size of the frames and the time bins, such as ``shd-100ch-4ms``.

    Raises the errors of `transform_of`.
    """
    (x, y), _ = _sizes(chosen, defaults)
    bins = _bins(chosen if chosen.has_bins else defaults)
    length = (
        f"{bins['time_window'] / _US_PER_MS:g}ms"
        if "time_window" in bins
        else f"{bins['n_time_bins']}bins"
        if "n_time_bins" in bins
        else f"{bins['event_count']}events"
    )
    prefix = "recordings" if dataset == FOLDER else dataset.lower()
    return f"{prefix}-{f'{x}ch' if y == 1 else f'{x}x{y}'}-{length}"


def _sizes(chosen: FrameChoices, defaults: FrameChoices) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """Return the sizes (x, y) of the frames and (x, y, polarity) of the sensor."""
    if chosen.sensor_size is not None:
        defaults = FrameChoices(sensor_size=chosen.sensor_size)
    if defaults.sensor_size is None:
        raise UsageError(
            "the size of the sensor is not known: pass --sensor-size X,Y,P, or --sensor-size CHANNELS,1,1 if the recordings have channels instead of pixels"
        )
    sensor_x, sensor_y, polarities = defaults.sensor_size
    x, *others = chosen.size or defaults.size or (sensor_x, sensor_y)
    y = others[0] if others else 1 if sensor_y == 1 else x
    if x > sensor_x or y > sensor_y:
        raise UsageError(
            f"frames of {x} x {y} are larger than the sensor, {sensor_x} x {sensor_y}: pass a smaller --size"
        )
    return (x, y), (sensor_x, sensor_y, polarities)


def _refuse_infinite(flag: str, number: float) -> None:
    if not math.isfinite(number):
        raise UsageError(f"{flag} must be a finite number, got {number:g}")
    if not math.isfinite(number * _US_PER_MS):
        raise UsageError(f"{flag} is too large, got {number:g}")


def _bins(choices: FrameChoices) -> dict[str, Any]:
    """Return the fields of ``to_frame`` that divide a recording into bins."""
    flags = {"--bin-ms": choices.bin_ms, "--bins": choices.bins, "--bin-events": choices.bin_events}
    for flag, length in flags.items():
        if length is not None:
            if isinstance(length, float):  # math.isfinite cannot convert large whole numbers
                _refuse_infinite(flag, length)
            if length <= 0:
                raise UsageError(f"{flag} must be greater than 0, got {length:g}")
    fields: dict[str, dict[str, Any]] = {}
    if choices.bin_ms is not None:
        fields["--bin-ms"] = {"time_window": _us(choices.bin_ms), "include_incomplete": True}
    if choices.bins is not None:
        fields["--bins"] = {"n_time_bins": choices.bins}
    if choices.bin_events is not None:
        fields["--bin-events"] = {"event_count": choices.bin_events, "include_incomplete": True}
    if len(fields) > 1:
        raise UsageError(f"{' and '.join(fields)} cannot be combined: pass one of them")
    (bins,) = fields.values()
    return bins


def _us(milliseconds: float) -> int | float:
    """Convert ms to µs, without the rounding error of the multiplication."""
    time = round(milliseconds * _US_PER_MS, 6)
    return int(time) if time.is_integer() else time
