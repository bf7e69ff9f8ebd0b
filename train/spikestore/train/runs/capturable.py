"""Checks whether a training step can be replayed as a CUDA graph.

A replay starts the same kernels on the same memory and runs no Python. So a step can be replayed if it consists of
kernels only, and if every value that Python passed to them stays the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from spikestore.train.data.batch import Batch
from spikestore.train.models.folded import FoldedConv2d, SumPool2d
from spikestore.train.neurons import IAF
from spikestore.train.neurons.sequential import SpikingSequential, is_replayable
from spikestore.train.neurons.surrogates import is_known

_KNOWN = (
    nn.Linear,
    nn.Conv2d,
    nn.Flatten,
    nn.Identity,
    nn.Sequential,
    IAF,
    FoldedConv2d,
    SumPool2d,
    SpikingSequential,
)
"""Layers that run nothing but kernels."""


def why_not_network(network: nn.Module) -> str | None:
    """Return the reason why the passes of a network can't be replayed as a CUDA graph; None if they can be."""
    for name, layer in network.named_modules():
        label = f"layer {name}" if name else "the network"
        if hasattr(layer, "_orig_mod") or layer._compiled_call_impl is not None:
            return f"{label} is compiled by torch.compile, which may recompile at any step"
        if type(layer) not in _KNOWN:
            return f"{label} is a {type(layer).__name__}, which is not known to be safe to replay as a CUDA graph"
        if not is_replayable(layer):
            return f"{label} has hooks or its own forward(), which the replay of a CUDA graph would not call"
        if isinstance(layer, IAF) and layer.record_states:
            return f"{label} records its states"
        if isinstance(layer, IAF) and not is_known(layer.surrogate_grad_fn):
            return f"{label} has a custom surrogate"
    for name, parameter in network.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"the parameter {name} has hooks, which the replay of a CUDA graph would not call"
    return None


def why_not_optimiser(optimiser: torch.optim.Optimizer) -> str | None:
    """Return the reason why an optimiser's steps can't be replayed; None if steps can be replayed."""
    if not all(group.get("capturable") for group in optimiser.param_groups):
        return f"{type(optimiser).__name__} was created without capturable=True"
    if optimiser._optimizer_step_pre_hooks or optimiser._optimizer_step_post_hooks:
        return f"{type(optimiser).__name__} has hooks, which the replay of a CUDA graph would not call"
    return None


def frozen_by_network(network: nn.Module, batch: Batch) -> tuple[Any, ...]:
    """Return the values that a CUDA graph of a forward and a backward pass depends on: if a value changes, a new graph is needed."""
    parameters = tuple((parameter.data_ptr(), parameter.requires_grad) for parameter in network.parameters())
    return batch.frames.shape, batch.frames.dtype, batch.labels.shape, network.training, parameters


def frozen_by_optimiser(optimiser: torch.optim.Optimizer) -> tuple[Any, ...]:
    """Return what a CUDA graph of the optimiser's step fixes: settings of the parameter groups, and addresses of tensors.

    If one of these values changes, a new graph is needed.
    """
    numbers = tuple(
        (name, value.data_ptr() if isinstance(value, torch.Tensor) else value)
        for group in optimiser.param_groups
        for name, value in group.items()
        if name != "params"
    )
    states = [state for tensors in optimiser.state.values() for state in tensors.values()]
    return *numbers, *(state.data_ptr() for state in states if isinstance(state, torch.Tensor))
