"""A linear layer and the neurons behind it as one step, which keeps a byte a spike for the backward pass.

Spikes are small integers and mostly 0. So a layer's input is kept as uint8, which is also the spikes of the layer
before, and membrane potentials are not kept at all: the backward pass adds up once more the few columns of the
weight that count. The forward pass is torch's own matrix product, so that outputs are those of the layers one by
one to the last bit, as far as torch repeats its own: on one processor, with one number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from spikestore.train.neurons.linear.counts import Counts, Link
from spikestore.train.neurons.neuron import Neuron, Pass
from spikestore.train.neurons.surrogates import as_single_exponential

if TYPE_CHECKING:
    from spikestore.train.neurons.gpu.passes import PackedSpikes

AGAIN, SPARSE = 0.15, 0.25
"""Shares of inputs that are not 0, up to which potentials are computed again rather than kept, and up to which the
weight's gradient is summed over what is not 0 rather than by a matrix product (measured)."""

FEWEST_STEPS, LARGEST = 50, 100_000
"""Time steps from which on, and elements of a weight up to which, the one or the other is worth it (measured): sums
have to fit into the second-level cache, and come from much more than they are."""


def pack(x: Tensor) -> Counts | None:
    """Return a float32 tensor as counts; None if it holds something else than integers from 0 to 254, or is on a GPU.

    To look what it holds would be to wait for the GPU.
    """
    if x.device.type != "cpu":
        return None
    from spikestore.train.neurons.linear import cpu_passes as cpu_linear

    return cpu_linear.pack(x)


def linear_integrate_and_fire(x: Tensor, v_mem: Tensor, neuron: Neuron, link: Link) -> Pass:
    """Let neurons integrate ``link.linear(x)``, and fire; gradients flow to `x`, weight, bias and `v_mem`.

    Parameters
    ----------
    x : Tensor
        Input of the linear layer, float32, shape (batch, time, inputs).
    v_mem : Tensor
        Membrane potentials before the first step, float32, shape (batch, neurons).
    neuron : Neuron
        Parameters of the neurons.
    link : Link
        The linear layer; its ``counts`` are read, and set to those of the spikes.
    """
    notes: list[Counts | PackedSpikes | None] = []
    spikes, v_mem = _joint_functions(x)[0].apply(
        x, link.linear.weight, link.linear.bias, v_mem, neuron, link.counts, notes
    )
    (link.counts,) = notes
    return Pass(spikes, v_mem)


def linear_of_counts(x: Tensor, layer: nn.Linear, counts: Counts | PackedSpikes) -> Tensor:
    """Return ``layer(x)``, keeping `counts`, which are those of `x`, for the backward pass."""
    output: Tensor = _joint_functions(x)[1].apply(x, layer.weight, layer.bias, counts)
    return output


def _joint_functions(x: Tensor) -> tuple[Any, Any]:
    """Return the functions of a linear layer with neurons, and of one that reads counts, for a device."""
    if x.device.type == "cpu":
        return _LinearIAF, _LinearOfCounts
    from spikestore.train.neurons.linear import gpu_autograd as gpu_linear

    return gpu_linear.LinearIAF, gpu_linear.LinearOfSpikes


class _LinearIAF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        v_mem: Tensor,
        neuron: Neuron,
        counts: Counts | None,
        notes: list[Counts | None],
    ) -> tuple[Tensor, Tensor]:
        from spikestore.train.neurons.linear import cpu_passes as cpu_linear

        current = linear(x, weight, bias)
        sparse = _are_summed(counts, weight)
        again = (
            counts is not None
            and sparse
            and counts.density <= AGAIN
            and as_single_exponential(neuron.surrogate) is not None
            and cpu_linear.is_repeatable(counts.packed, weight, bias, current)
        )
        done, kept, fired = cpu_linear.forward_counting(current, v_mem, neuron, keep=not again)
        if again and fired is None:  # a neuron that spiked more than 254 times in a step: rare
            current = linear(x, weight, bias)  # spikes stand in the place of the first one
            done, kept, fired = cpu_linear.forward_counting(current, v_mem, neuron, keep=True)
        ctx.neuron, ctx.has_bias, ctx.sparse = neuron, bias is not None, sparse
        source = x if counts is None else counts.packed
        saved = (v_mem, fired.packed) if kept is None and fired is not None else (kept,)
        ctx.save_for_backward(source, weight, bias, *saved)
        notes.append(fired)
        return done.spikes, done.v_mem

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, spikes: Tensor, v_mem: Tensor) -> tuple[Tensor | None, ...]:
        from spikestore.train.neurons.linear import cpu_passes as cpu_linear

        source, weight, bias, *saved = ctx.saved_tensors
        gradients, needs_x = (spikes, v_mem), ctx.needs_input_grad[0]
        if len(saved) == 1:
            found = cpu_linear.backward_kept(
                source, weight, saved[0], gradients, ctx.neuron, sparse=ctx.sparse, needs_x=needs_x
            )
        else:
            again = cpu_linear.Recomputed(*saved)
            found = cpu_linear.backward_again(
                source, (weight, bias), again, gradients, ctx.neuron, needs_x=needs_x
            )
        return found.x, found.weight, found.bias if ctx.has_bias else None, found.v_mem, None, None, None


class _LinearOfCounts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, counts: Counts) -> Tensor:
        ctx.save_for_backward(counts.packed, weight)
        ctx.has_bias, ctx.sparse = bias is not None, _are_summed(counts, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output: Tensor) -> tuple[Tensor | None, ...]:
        packed, weight = ctx.saved_tensors
        x = _input_gradient(weight, output) if ctx.needs_input_grad[0] else None
        by_bias = output.sum((0, 1)) if ctx.has_bias else None
        return x, _weight_gradient(packed, output, sparse=ctx.sparse), by_bias, None


def _are_summed(counts: Counts | None, weight: Tensor) -> bool:
    """Whether the weight's gradient is summed over what is not 0."""
    return (
        counts is not None
        and counts.density <= SPARSE
        and counts.packed.shape[1] >= FEWEST_STEPS
        and weight.numel() <= LARGEST
    )


def _input_gradient(weight: Tensor, output: Tensor) -> Tensor:
    return output.reshape(-1, len(weight)).mm(weight).view(*output.shape[:2], weight.shape[1])


def _weight_gradient(source: Tensor, output: Tensor, *, sparse: bool) -> Tensor:
    from spikestore.train.neurons.linear import cpu_passes as cpu_linear

    if sparse:
        return cpu_linear.weight_gradient(source, output)
    return output.reshape(-1, output.shape[2]).t().mm(source.reshape(-1, source.shape[2]).to(output.dtype))
