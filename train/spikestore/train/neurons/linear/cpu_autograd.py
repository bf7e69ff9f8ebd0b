"""Autograd functions of a linear layer with neurons on the CPU; they choose what to store for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from spikestore.train.neurons.linear import cpu_passes
from spikestore.train.neurons.linear.counts import Counts
from spikestore.train.neurons.neuron import Neuron
from spikestore.train.neurons.surrogates import as_single_exponential

RECOMPUTED, SPARSE = 0.15, 0.25
"""Largest shares of non-zero inputs (measured): up to the first share, potentials are recomputed instead of stored; up to
the second share, the weight's gradient is a sum over non-zeros instead of a matrix product."""

FEWEST_STEPS, LARGEST = 50, 100_000
"""Fewest time steps and most elements of a weight for which recomputing, or summing over non-zeros, is faster (measured). Each
row of the batch has one sum per element of the weight. These sums must fit into the L2 cache, so the weight must be small. Each
sum must have many terms, because adding it to the sum of the other rows takes time too, so there must be many time steps."""


class LinearIAF(torch.autograd.Function):
    """Autograd function of ``neurons(linear(x))``.

    The arguments are x, weight, bias, v_mem, neuron, counts and fired_counts. counts is x as
    `Counts`, or None. fired_counts is a list: `forward` appends the spikes as `Counts`, or None if a count is above 254 or NaN.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        v_mem: Tensor,
        neuron: Neuron,
        counts: Counts | None,
        fired_counts: list[Counts | None],
    ) -> tuple[Tensor, Tensor]:
        """Return spikes, and membrane potentials after the last step."""
        current = linear(x, weight, bias)
        sparse = _is_summed(counts, weight)
        recomputes = (
            counts is not None
            and sparse
            and counts.density <= RECOMPUTED
            and as_single_exponential(neuron.surrogate) is not None
            and cpu_passes.is_repeatable(counts.packed, weight, bias, current)
        )
        done, kept, fired = cpu_passes.forward_counting(current, v_mem, neuron, keep=not recomputes)
        if recomputes and fired is None:  # rare: a neuron spiked more than 254 times in a step
            current = linear(x, weight, bias)  # spikes have overwritten the first product
            done, kept, fired = cpu_passes.forward_counting(current, v_mem, neuron, keep=True)
        ctx.neuron, ctx.has_bias, ctx.sparse = neuron, bias is not None, sparse
        source = x if counts is None else counts.packed
        potentials = (v_mem, fired.packed) if kept is None and fired is not None else (kept,)
        ctx.save_for_backward(source, weight, bias, *potentials)
        fired_counts.append(fired)
        return done.spikes, done.v_mem

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, spikes: Tensor, v_mem: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients w.r.t. x, weight, bias and initial potentials."""
        source, weight, bias, *potentials = ctx.saved_tensors
        outputs, needs_x = (spikes, v_mem), ctx.needs_input_grad[0]
        if len(potentials) == 1:
            by = cpu_passes.backward_kept(
                source, weight, potentials[0], outputs, ctx.neuron, sparse=ctx.sparse, needs_x=needs_x
            )
        else:
            recomputed = cpu_passes.Recomputed(*potentials)
            by = cpu_passes.backward_recomputed(
                source, (weight, bias), recomputed, outputs, ctx.neuron, needs_x=needs_x
            )
        return by.x, by.weight, by.bias if ctx.has_bias else None, by.v_mem, None, None, None


class LinearOfCounts(torch.autograd.Function):
    """Autograd function of ``linear(x)`` for spike counts; arguments (x, weight, bias, `x` as `Counts`)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, counts: Counts) -> Tensor:
        """Return the layer's output."""
        ctx.save_for_backward(counts.packed, weight)
        ctx.has_bias, ctx.sparse = bias is not None, _is_summed(counts, weight)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients w.r.t. x, weight and bias."""
        source, weight = ctx.saved_tensors
        x = cpu_passes.input_gradient(weight, output) if ctx.needs_input_grad[0] else None
        by_bias = output.sum((0, 1)) if ctx.has_bias else None
        return x, cpu_passes.weight_gradient(source, output, sparse=ctx.sparse), by_bias, None


def _is_summed(counts: Counts | None, weight: Tensor) -> bool:
    """Return whether the weight's gradient is a sum over non-zeros."""
    return (
        counts is not None
        and counts.density <= SPARSE
        and counts.packed.shape[1] >= FEWEST_STEPS
        and weight.numel() <= LARGEST
    )
