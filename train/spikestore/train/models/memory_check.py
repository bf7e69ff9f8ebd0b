"""Builds networks and checks that they fit into memory; errors name the field of the configuration."""

from __future__ import annotations

import torch
from torch import nn

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import SpikestoreError, UsageError
from spikestore.store_schemas.wording import size_text
from spikestore.train.data.placement import free_device_bytes, free_host_bytes
from spikestore.train.models.networks import NetworkSpec, build_network

TRAINING = 4
"""Copies of weights in training: weights, gradients, and AdamW's two moments."""


def fitting_network(
    spec: NetworkSpec, shape: dict[str, int], device: torch.device, origin: str, copies: int = TRAINING
) -> nn.Sequential:
    """Return a network on a device; errors name the file that contains the spec.

    Parameters
    ----------
    spec : NetworkSpec
        Layers and parameters of the network.
    shape : dict of str to int
        Result of `network_shape`.
    device : torch.device
        Device of the network.
    origin : str
        Configuration or checkpoint, for messages.
    copies : int
        Number of copies of the weights that must fit into memory: 1 for the weights alone, or `TRAINING` for the weights, their gradients and AdamW's moments.

    Raises
    ------
    UsageError
        A field of `spec` does not fit the frames, or its value cannot be used in float32; or the network does not fit into
        memory; or a backend is not installed (`MissingExtraError`).
    """
    _refuse_more_than_memory(spec, shape, device, origin, copies)
    try:
        return build_network(spec, **shape).to(device)
    except SpikestoreError as error:
        raise type(error)(f"{origin}: network: {error.message}", **error.details) from error
    except (RuntimeError, MemoryError) as error:  # convolutions may need more than the estimate
        reason = str(error).splitlines()[0] if str(error) else "no memory"
        raise UsageError(f"{origin}: network: can't be built: {reason}", path=origin) from error


def _refuse_more_than_memory(
    spec: NetworkSpec, shape: dict[str, int], device: torch.device, origin: str, copies: int
) -> None:
    """Raise `UsageError` if the network needs more than the free memory of the host or the device. The message names the largest layer.

    Without this check, the system might grant an allocation that is too large, and kill the process later.
    """
    sizes: dict[str, int] = {}
    channels = shape.get("polarities", 1)
    for number, convolution in enumerate(spec.convolutions):
        sizes[f"convolutions[{number}]"] = channels * convolution.channels * convolution.kernel**2
        channels = convolution.channels
    # Pixels after convolutions are not counted: this finds layers that are far too large.
    inputs = channels if spec.convolutions else shape["sites"]
    for number, neurons in enumerate(spec.hidden):
        sizes[f"hidden[{number}]"] = inputs * neurons
        inputs = neurons
    weights = 4 * sum(sizes.values())
    free = {"host": (weights, free_host_bytes())}  # weights are created on the host
    free["host" if device.type == "cpu" else str(device)] = (copies * weights, free_device_bytes(device))
    largest = max(sizes, key=lambda name: sizes[name])
    # The layers of a trained network are those of its checkpoint.
    advice = (
        "make this layer smaller"
        if copies == TRAINING
        else "end other programs that use this memory, or use another device"
    )
    for memory, (needed, free_bytes) in free.items():
        if needed > free_bytes:
            raise UsageError(
                f"{origin}: network.{largest} is too large, because the network needs {size_text(needed)} on the {memory} for "
                f"{'weights, gradients and the optimiser' if needed > weights else 'weights'}, but only {size_text(free_bytes)} are free: "
                + advice,
                path=origin,
                field=f"network.{largest}",
            )


def network_shape(features: FeatureSet, spec: NetworkSpec) -> dict[str, int]:
    """Return the arguments of `build_network` that depend on a feature set: sites, classes, and for convolutions the frame axes."""
    shape = {"sites": features.layout.site_count, "classes": len(features.classes)}
    if spec.convolutions and len(features.layout.sites) == 3:
        shape |= dict(zip(("polarities", "height", "width"), features.layout.sites, strict=True))
    return shape
