"""Downsample: multiply time stamps and coordinates by factors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from spikestore.store_schemas.specs.model import AsTuple, Real, Spec, fraction

_Factor = Annotated[Real, Field(gt=0)]


class Downsample(Spec):
    """Multiply time stamps and coordinates by factors, like ``tonic.transforms.Downsample``; integer results are truncated.

    In Tonic, a tuple as ``time_factor`` means a random factor. This operation rejects a tuple, because random operations belong
    in training. Instead of ``spatial_factor``, a recipe may contain ``sensor_size`` (x, y, p) and ``target_size`` (x, y). Then
    ``target_size`` divided by ``sensor_size`` is stored as ``spatial_factor``, so both forms have the same key.
    """

    op: Literal["downsample"] = "downsample"
    version: Literal[1] = 1
    """Version of the results, the same for all executors."""
    time_factor: _Factor = 1.0
    """Factor for time stamps."""
    spatial_factor: Annotated[tuple[_Factor, _Factor], AsTuple] = (1.0, 1.0)
    """Factors for x and y; a single number applies to both."""

    @field_validator("spatial_factor", mode="before")
    @classmethod
    def _one_for_both(cls, factor: Any) -> Any:
        factor = fraction(factor)  # before it is repeated, so that one wrong number is one problem
        if isinstance(factor, (int, float)) and not isinstance(factor, bool):
            if not factor > 0:
                raise ValueError(f"must be greater than 0, got {factor}")
            return (factor, factor)
        return factor

    @model_validator(mode="before")
    @classmethod
    def _effective_factor(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        fields = dict(fields)
        factor = fields.get("spatial_factor")
        if "target_size" in fields or "sensor_size" in fields:
            target, sensor = fields.pop("target_size", None), fields.pop("sensor_size", None)
            if factor is not None:
                raise ValueError(
                    "spatial_factor cannot be combined with target_size and sensor_size: remove either spatial_factor, or "
                    "target_size and sensor_size"
                )
            fields["spatial_factor"] = _quotient(target, sensor)
        return fields


def _quotient(target: object, sensor: object) -> tuple[float, float]:
    message = "target_size must be 2 positive integers (x, y), and sensor_size must be 3 positive integers (x, y, p): set both"
    if not isinstance(target, (list, tuple)) or not isinstance(sensor, (list, tuple)):
        raise ValueError(message)  # noqa: TRY004 pydantic reports ValueError, not TypeError
    if len(target) != 2 or len(sensor) != 3 or not all(type(n) is int and n > 0 for n in (*target, *sensor)):
        raise ValueError(message)
    return target[0] / sensor[0], target[1] / sensor[1]
