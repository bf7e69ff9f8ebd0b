"""Functions that run a linear layer: together with the neurons after it, or with counts as its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from spikestore.train.neurons.linear.counts import Counts, Link
from spikestore.train.neurons.neuron import Neuron, NeuronOutput

if TYPE_CHECKING:
    from spikestore.train.neurons.gpu.passes import PackedSpikes


def pack(x: Tensor) -> Counts | None:
    """Return a float32 tensor as uint8 counts if it is on the CPU and all its values are integers from 0 to 254; otherwise None.

    A tensor on a GPU is not packed, because a check of its values would make the host wait for the GPU.
    """
    if x.device.type != "cpu":
        return None
    from spikestore.train.neurons.linear import cpu_passes

    return cpu_passes.pack(x)


def linear_integrate_and_fire(x: Tensor, v_mem: Tensor, neuron: Neuron, link: Link) -> NeuronOutput:
    """Return the `NeuronOutput` of neurons whose input is ``link.linear(x)``; differentiable w.r.t. `x`, weight, bias and `v_mem`.

    Parameters
    ----------
    x : Tensor
        Input of the linear layer, float32, shape (batch, time, inputs).
    v_mem : Tensor
        Membrane potentials before the first step, float32, shape (batch, neurons).
    neuron : Neuron
        Parameters of the neurons.
    link : Link
        The linear layer; ``link.counts`` holds `x` as spike counts, or None (see `Link`). The call replaces
        ``link.counts`` by the counts of the returned spikes.
    """
    fired: list[Counts | PackedSpikes | None] = []  # autograd functions return tensors only
    spikes, v_mem = _joint_functions(x)[0].apply(
        x, link.linear.weight, link.linear.bias, v_mem, neuron, link.counts, fired
    )
    (link.counts,) = fired
    return NeuronOutput(spikes, v_mem)


def linear_of_counts(x: Tensor, layer: nn.Linear, counts: Counts | PackedSpikes) -> Tensor:
    """Return ``layer(x)``; for the backward pass, `counts` are kept instead of `x`. They are the same numbers, packed."""
    output: Tensor = _joint_functions(x)[1].apply(x, layer.weight, layer.bias, counts)
    return output


def _joint_functions(x: Tensor) -> tuple[Any, Any]:
    """Return two autograd functions for the device of `x`: of a linear layer with its neurons, and of a linear layer alone."""
    if x.device.type == "cpu":
        from spikestore.train.neurons.linear import cpu_autograd

        return cpu_autograd.LinearIAF, cpu_autograd.LinearOfCounts
    from spikestore.train.neurons.gpu import linear_autograd

    return linear_autograd.LinearIAF, linear_autograd.LinearOfSpikes
