"""Networks of integrate-and-fire neurons: linear and convolutional stacks, on any backend."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.specs.model import AsTuple, Count, Real, Size, Spec
from spikestore.train.models.backends import (
    SURROGATES,
    Backend,
    ResetMode,
    SpikeMode,
    SurrogateName,
    make_neurons,
    sequence_of,
)
from spikestore.train.models.folded import FoldedConv2d, SumPool2d
from spikestore.train.neurons import IAF


class ConvolutionSpec(Spec):
    """Parameters of a ``Conv2d``, an ``IAF`` layer and an optional pooling layer."""

    channels: Size
    """Output channels."""
    kernel: Size = 3
    """Side of the square kernel."""
    stride: Size = 1
    padding: Count = 0
    pool: Literal["sum", "average"] | None = None
    """Pooling of the spikes; none by default."""
    pool_size: Size = 2
    """Side and stride of the pooling window."""


class NetworkSpec(Spec):
    """Parameters of a network: ``Linear`` and ``IAF`` layers with a linear read-out, optionally after convolutions."""

    backend: Backend = "fused"
    """Implementation of the neurons. All backends have the same spikes and parameters, and the same gradients up to rounding."""
    convolutions: Annotated[tuple[ConvolutionSpec, ...], AsTuple] = ()
    """Convolutional layers; frames must have the axis y."""
    hidden: Annotated[tuple[Size, ...], AsTuple, Field(min_length=1)] = (128, 128, 128)
    """Number of neurons of each hidden layer."""
    spike_threshold: Annotated[Real, Field(gt=0)] = 1.0
    """Membrane potential from which a neuron spikes."""
    min_v_mem: Real | None = None
    """Lower bound of the membrane potential; none by default."""
    spikes: SpikeMode = "multi"
    """``multi``: a spike for each threshold that fits into the membrane potential; ``single``: at most one spike per time bin."""
    reset: ResetMode = "subtract"
    """``subtract``: each spike subtracts the threshold from the membrane potential; ``zero``: spikes set the potential to zero."""
    surrogate: SurrogateName = "single_exponential"
    """Derivative of spikes w.r.t. the membrane potential, with Sinabs' defaults."""
    input_scale: Annotated[Real, Field(gt=0)] = 1.0
    """Factor for the initial weights of the first layer: counts are sparse, and a network whose first
    layer never spikes does not learn."""


def build_network(
    spec: NetworkSpec,
    *,
    sites: int,
    classes: int,
    polarities: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> nn.Sequential:
    """Return a new network; its parameters and its ``state_dict`` do not depend on the backend.

    Parameters
    ----------
    spec : NetworkSpec
        Layers and parameters.
    sites : int
        Inputs: the product of the frame axes after time.
    classes : int
        Outputs.
    polarities, height, width : int, optional
        Frame axes after time; used by convolutions only.

    Returns
    -------
    nn.Sequential
        Maps frames, float32 (batch, time, polarity, [y,] x), to outputs, float32 (batch, time, classes). With one
        convolution, for example, the layers are named ``conv1``, ``iaf1``, ``pool1``, ``flatten``, ``linear2``, ``iaf2``, …,
        ``readout``: linear layers continue the numbers of convolutions. Without convolutions, they start with ``linear1``.

    Raises
    ------
    UsageError
        The spec has convolutions, but the frames have no y; or a kernel or pooling window is larger than the frame at its layer; or the
        backend does not support the spec.
    MissingExtraError
        The backend is not installed; the message explains how to install it.
    """

    def neurons() -> nn.Module:
        return make_neurons(
            spec.backend,
            spec.spike_threshold,
            spec.min_v_mem,
            spec.spikes,
            spec.reset,
            SURROGATES[spec.surrogate](),
        )

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = sites
    if spec.convolutions:
        if polarities is None or height is None or width is None:
            raise UsageError(
                "convolutions need frames of (time, polarity, y, x), but these frames have no y: omit convolutions"
            )
        inputs = _convolutions(layers, spec, neurons, (polarities, height, width))
    layers["flatten"] = nn.Flatten(start_dim=2)
    for number, outputs in enumerate(spec.hidden, len(spec.convolutions) + 1):
        layers[f"linear{number}"] = nn.Linear(inputs, outputs)
        layers[f"iaf{number}"] = neurons()
        inputs = outputs
    layers["readout"] = nn.Linear(inputs, classes)
    with torch.no_grad():
        first: Any = next(layer for name, layer in layers.items() if name != "flatten")
        first.weight.mul_(spec.input_scale)
    return sequence_of(spec.backend, layers)


def _convolutions(
    layers: OrderedDict[str, nn.Module], spec: NetworkSpec, neurons: Any, frame: tuple[int, int, int]
) -> int:
    """Append convolutional layers to `layers`; return the number of their outputs."""
    channels, *sides = frame
    for number, convolution in enumerate(spec.convolutions, 1):
        sides = [
            (side + 2 * convolution.padding - convolution.kernel) // convolution.stride + 1 for side in sides
        ]
        if convolution.pool is not None:
            sides = [side // convolution.pool_size for side in sides]
        if min(sides) < 1:
            raise UsageError(
                f"convolutions[{number - 1}] is too large for frames of {frame[1]} × {frame[2]}: "
                "use fewer layers, smaller kernels or more padding"
            )
        layers[f"conv{number}"] = FoldedConv2d(
            channels,
            convolution.channels,
            convolution.kernel,
            stride=convolution.stride,
            padding=convolution.padding,
        )
        layers[f"iaf{number}"] = neurons()
        if convolution.pool is not None:
            layers[f"pool{number}"] = SumPool2d(convolution.pool_size, average=convolution.pool == "average")
        channels = convolution.channels
    return channels * sides[0] * sides[1]


def forget_states(network: nn.Module) -> None:
    """Reset all membrane potentials: every neuron starts from rest at the next call.

    Sinabs' ``reset_states`` zeroes states but keeps their shape; for a smaller last batch, Sinabs then picks rows of
    the old states at random, with torch's global generator. This function makes states empty, and the next call of the
    network creates states of zeros.
    """
    for layer in _stateful_layers(network).values():
        for name in _state_names(layer):
            state = getattr(layer, name)
            setattr(layer, name, torch.zeros(0, device=state.device, dtype=state.dtype))


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict without membrane states, whose shape depends on the last batch."""
    states = {
        f"{name}.{state}"
        for name, layer in _stateful_layers(network).items()
        for state in _state_names(layer)
    }
    return {name: value for name, value in network.state_dict().items() if name not in states}


def load_weights(network: nn.Module, values: dict[str, Tensor]) -> None:
    """Load a result of `weights` into a network, and forget its states.

    Raises
    ------
    ValueError
        `values` does not have exactly the network's parameters.
    RuntimeError
        A parameter has another shape.
    """
    forget_states(network)
    missing, unexpected = network.load_state_dict(values, strict=False)
    absent = set(missing) & set(weights(network))
    if absent or unexpected:
        names = ", ".join(sorted(absent | set(unexpected)))
        raise ValueError(f"weights are missing, or do not belong to this network: {names}")


def spiking_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that spike, by name."""
    return {name: layer for name, layer in _stateful_layers(network).items() if layer.does_spike}


def _state_names(layer: nn.Module) -> list[str]:
    """Return the names of a layer's membrane states; Sinabs' layers list them in ``named_buffers()``."""
    return ["v_mem"] if isinstance(layer, IAF) else [name for name, _ in layer.named_buffers(recurse=False)]


def _stateful_layers(network: nn.Module) -> dict[str, Any]:
    kinds: tuple[type, ...] = (IAF,)
    if "sinabs.layers" in sys.modules:  # otherwise no layer can be Sinabs'
        kinds = (IAF, sys.modules["sinabs.layers"].StatefulLayer)
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}
