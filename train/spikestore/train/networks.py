"""Networks of integrate-and-fire neurons, on Sinabs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from spikestore.store_schemas.model import AsTuple, Real, Size, Spec


class NetworkSpec(Spec):
    """A stack of ``Linear`` and ``IAF`` layers with a linear read-out, as in the seed."""

    hidden: Annotated[tuple[Size, ...], AsTuple, Field(min_length=1)] = (128, 128, 128)
    """Neurons of each hidden layer."""
    spike_threshold: Annotated[Real, Field(gt=0)] = 1.0
    """Membrane potential from which a neuron spikes."""
    min_v_mem: Real | None = None
    """Lower bound of the membrane potential; none by default."""
    input_scale: Annotated[Real, Field(gt=0)] = 1.0
    """Factor for the weights of the first layer at initialisation: counts are sparse, and a network whose first
    layer never spikes does not learn."""


def build_network(spec: NetworkSpec, *, sites: int, classes: int) -> nn.Sequential:
    """Build a network.

    Parameters
    ----------
    spec : NetworkSpec
        Its shape.
    sites : int
        Inputs: the product of the frame axes behind time.
    classes : int
        Outputs.

    Returns
    -------
    nn.Sequential
        From frames, float32 (batch, time, polarity, [y,] x), to outputs, float32 (batch, time, classes). Layers
        are called ``linear1``, ``iaf1`` …, ``readout``.
    """
    from sinabs.layers import IAF

    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten(start_dim=2))
    width = sites
    for place, neurons in enumerate(spec.hidden, 1):
        layers[f"linear{place}"] = nn.Linear(width, neurons)
        # A threshold of its own for each layer: Sinabs' default tensor is shared between all.
        layers[f"iaf{place}"] = IAF(
            spike_threshold=torch.tensor(spec.spike_threshold), min_v_mem=spec.min_v_mem
        )
        width = neurons
    layers["readout"] = nn.Linear(width, classes)
    with torch.no_grad():
        first: Any = layers["linear1"]
        first.weight.mul_(spec.input_scale)
    return nn.Sequential(layers)


def forget_states(network: nn.Module) -> None:
    """Let every neuron start from rest at the next call.

    Sinabs' own ``reset_states`` zeroes the states and keeps their shape; a smaller last batch then draws rows of
    them by torch's global random numbers. States without a shape are made anew, as zeros.
    """
    for layer in _stateful_layers(network).values():
        for name, state in list(layer.named_buffers(recurse=False)):
            layer.register_buffer(name, torch.zeros(0, device=state.device, dtype=state.dtype))


def weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the state dict without membrane states, whose shape is that of the last batch."""
    states = {
        f"{name}.{state}"
        for name, layer in _stateful_layers(network).items()
        for state, _ in layer.named_buffers()
    }
    return {name: value for name, value in network.state_dict().items() if name not in states}


def load_weights(network: nn.Module, values: dict[str, Tensor]) -> None:
    """Load what `weights` returned; every parameter must be there, and nothing else."""
    forget_states(network)
    missing, unexpected = network.load_state_dict(values, strict=False)
    absent = set(missing) & set(weights(network))
    if absent or unexpected:
        names = ", ".join(sorted(absent | set(unexpected)))
        raise ValueError(f"weights do not fit the network: {names}")


def spiking_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that spike, by name."""
    return {name: layer for name, layer in _stateful_layers(network).items() if layer.does_spike}


def _stateful_layers(network: nn.Module) -> dict[str, Any]:
    from sinabs.layers import StatefulLayer

    return {name: layer for name, layer in network.named_modules() if isinstance(layer, StatefulLayer)}
