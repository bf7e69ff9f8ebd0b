"""What a checkpoint must hold before anything in it is believed: somebody else's file, or an edited one, is told so."""

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
    """What `build_network` was told of the frames."""

    sites: Size
    classes: Size
    polarities: Size | None = None
    height: Size | None = None
    width: Size | None = None


class FrameValues(Spec):
    """Where the frames of the train split came from."""

    axes: Annotated[tuple[str, ...], AsTuple]
    """Axes of a sample's frames: time, polarity, y (where the events have it), x."""
    sites: Annotated[tuple[Size, ...], AsTuple]
    """Sizes of the axes behind time."""
    transform: Transform
    """From recordings to frames."""

    @classmethod
    def of(cls, features: FeatureSet) -> Self:
        """Return those of a feature set."""
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
    """All of a checkpoint but its tensors."""

    config: TrainConfig
    data: dict[Name, Pin]
    shape: ShapeValues
    position: PositionValues
    classes: Annotated[tuple[str, ...], AsTuple] = ()
    loader: dict[str, int | str] | None = None
    """What `FeatureLoader.state_dict` gave; `restore_position` compares it with the run."""
    frames: FrameValues | None = None
    """None in checkpoints of before there was one."""


def plain_values(content: Mapping[str, Any]) -> PlainValues:
    """Return the plain values of a checkpoint, and look at its tensors.

    Raises
    ------
    ValueError, TypeError
        What is wrong, in one line: values that are missing, of another type, or make no sense together.
    """
    mapping = {name: content[name] for name in PlainValues.model_fields if name in content}
    try:
        values = PlainValues.from_mapping(mapping, origin="checkpoint")
    except SpecError as error:
        raise ValueError(
            "; ".join(f"{problem.path}: {problem.message}" for problem in error.problems)
        ) from error
    _look_at(values, content)
    return values


def _look_at(values: PlainValues, content: Mapping[str, Any]) -> None:
    """Raise at the first thing that makes no sense."""
    data, position = values.config.data, values.position
    for split in (data.train, data.valid):
        if split not in values.data:
            raise ValueError(f"data: the split {split} is missing")
    if position.samples != position.batch * data.batch_size:
        raise ValueError(
            f"position: {position.samples} samples do not make {position.batch} batches of {data.batch_size}"
        )
    for part in ("weights", "optimiser", "random"):
        if not isinstance(content.get(part), dict) or not content[part]:
            raise ValueError(f"{part} should be a table, found {_short(content.get(part))}")
    for name, tensor in content["weights"].items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise ValueError(f"weights: {name} should be a tensor of real numbers, found {_short(tensor)}")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"weights: {name} has numbers that are not finite")
    for name, state in content["random"].items():
        if not isinstance(name, str) or not isinstance(state, Tensor) or state.dtype != torch.uint8:
            raise ValueError(f"random: {name} should be a tensor of bytes, found {_short(state)}")
    if "cpu" not in content["random"]:
        raise ValueError("random: cpu is missing")
    scaler = content.get("scaler", {})  # there was none before there were precisions
    if not isinstance(scaler, dict):
        raise TypeError(f"scaler should be a table, found {_short(scaler)}")
    for name, number in scaler.items():
        if type(number) not in (int, float) or not math.isfinite(number):
            raise ValueError(f"scaler: {name} should be a finite number, found {_short(number)}")


def _short(value: object) -> str:
    return f"{value.dtype}" if isinstance(value, Tensor) else f"{value!r:.40}"
