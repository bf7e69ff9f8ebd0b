"""Validates the content of a checkpoint before use, because the file may be edited or malicious."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from spikestore.store import FeatureSet
from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import SpecError
from spikestore.store_schemas.specs.model import AsTuple, Count, Name, Real, Size, Spec
from spikestore.store_schemas.specs.transform import Transform
from spikestore.train.runs.config import TrainConfig


class ShapeValues(Spec):
    """The arguments of `build_network` that depend on the training split: sizes of frames, and number of classes."""

    sites: Size
    classes: Size
    polarities: Size | None = None
    height: Size | None = None
    width: Size | None = None


class FrameValues(Spec):
    """Axes and transform of the training split's frames."""

    axes: Annotated[tuple[str, ...], AsTuple]
    """Axes of a sample's frames: time, polarity, y (if the events have it), x."""
    sites: Annotated[tuple[Size, ...], AsTuple]
    """Sizes of the axes after time."""
    transform: Transform
    """Transform from recordings to frames."""

    @classmethod
    def of(cls, features: FeatureSet) -> Self:
        """Return the axes and the transform of a feature set."""
        layout = features.layout
        return cls(axes=layout.axes, sites=layout.sites, transform=features.manifest.transform)


class PositionValues(Spec):
    """Fields of a `Position`."""

    epoch: Count
    batch: Count
    loss_sum: Real
    samples: Count
    best: Annotated[Real, Field(ge=-1, le=1)]
    spikes: dict[str, Annotated[tuple[Real, Real], AsTuple]] = Field(default_factory=dict)


class PlainValues(Spec):
    """All values of a checkpoint except weights, optimiser, random states and loss scale."""

    config: TrainConfig
    data: dict[Name, Pin]
    shape: ShapeValues
    position: PositionValues
    classes: Annotated[tuple[str, ...], AsTuple] = ()
    loader: dict[str, int | str] | None = None
    """Result of `FeatureLoader.state_dict`; `restore_position` compares it with the run."""
    frames: FrameValues | None = None
    """None in checkpoints of early versions."""


def plain_values(content: Mapping[str, Any]) -> PlainValues:
    """Return the plain values of a checkpoint, after a check of its values and its tensors.

    Raises
    ------
    ValueError, TypeError
        Values are missing, have another type, or contradict each other; the message is one line.
    """
    mapping = {name: content[name] for name in PlainValues.model_fields if name in content}
    try:
        values = PlainValues.from_mapping(mapping, origin="checkpoint")
    except SpecError as error:
        raise ValueError(
            "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems)
        ) from error
    _check(values, content)
    return values


def _check(values: PlainValues, content: Mapping[str, Any]) -> None:
    """Raise an error for the first value that is missing, has another type, or contradicts other values."""
    data, position = values.config.data, values.position
    for split in (data.train, data.valid):
        if split not in values.data:
            raise ValueError(f"data: the split {split!r} is missing")
    if position.samples != position.batch * data.batch_size:
        raise ValueError(
            f"position.samples is {position.samples:,}, but the batches before position.batch = {position.batch:,} have "
            f"{position.batch * data.batch_size:,} samples"
        )
    for part in ("weights", "optimiser", "random"):
        if not isinstance(content.get(part), dict) or not content[part]:
            raise ValueError(f"{part} must be a table, got {_short(content.get(part))}")
    for name, tensor in content["weights"].items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise ValueError(f"weights: {name} must be a tensor of real numbers, got {_short(tensor)}")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"weights: {name} has values that are not finite")
    for name, state in content["random"].items():
        if not isinstance(name, str) or not isinstance(state, Tensor) or state.dtype != torch.uint8:
            raise ValueError(f"random: {name} must be a tensor of bytes, got {_short(state)}")
    if "cpu" not in content["random"]:
        raise ValueError("random: the member 'cpu' is missing")
    scaler = content.get("scaler", {})  # checkpoints of early versions have none
    if not isinstance(scaler, dict):
        raise TypeError(f"scaler must be a table, got {_short(scaler)}")
    for name, number in scaler.items():
        if type(number) not in (int, float) or not math.isfinite(number):
            raise ValueError(f"scaler: {name} must be a finite number, got {_short(number)}")


def _short(value: object) -> str:
    return f"{value.dtype}" if isinstance(value, Tensor) else f"{value!r:.40}"
