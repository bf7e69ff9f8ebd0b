"""A linear layer and its neurons as one step on a GPU. For the backward pass, this step stores spike counts as bytes.

As on the CPU, spikes that one layer passes to the next layer are stored once for the two layers. Membrane potentials
are not stored. For one layer at a time, the backward pass repeats the matrix product, and recomputes the potentials
from it. The product has the same bits on the same device.

Only the device knows how many counts do not fit a byte, and to read this number, the host would have to wait. So counts
above 254 are written to a list of fixed length; in the bytes, 255 marks these counts. The list can overflow only if more
than one in 512 counts is above 254.
If the list overflows, gradients contain NaN, so they are never silently wrong.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from spikestore.train.neurons.gpu import passes as triton_kernels
from spikestore.train.neurons.gpu.passes import PackedSpikes

RECOMPUTE = True
"""Whether to recompute potentials instead of storing them: this needs 1 byte per neuron and time bin instead of 5, but one more pass."""


class LinearIAF(torch.autograd.Function):
    """Autograd function of ``neurons(linear(x))``.

    Arguments are x, weight, bias, v_mem, neuron, the packed x or None, and a list. The packed output spikes are appended to the list.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        v_mem: Tensor,
        neuron: Any,
        source: PackedSpikes | None,
        notes: list[PackedSpikes | None],
    ) -> tuple[Tensor, Tensor]:
        """Return spikes, and membrane potentials after the last step."""
        x = x.contiguous()
        current = linear(x, weight, bias).contiguous()
        done, kept, packed = triton_kernels.forward_packing(current, v_mem, neuron, keep=not RECOMPUTE)
        notes.append(packed)
        ctx.neuron = neuron
        ctx.save_for_backward(weight, bias, v_mem if kept is None else None, kept, *_kept_source(x, source))
        return done.spikes, done.v_mem

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, spikes: Tensor, v_mem: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients w.r.t. x, weight, bias and initial potentials."""
        weight, bias, initial, kept, *saved = ctx.saved_tensors
        source = _source(saved)
        if kept is None:
            kept = triton_kernels.potentials(linear(source, weight, bias).contiguous(), initial, ctx.neuron)
        current, first, over_time = triton_kernels.backward_adding_up(kept, spikes, v_mem, ctx.neuron)
        return (*_linear_gradients(ctx, source, weight, bias, current, over_time), first, None, None, None)


class LinearOfSpikes(torch.autograd.Function):
    """Autograd function of ``linear(x)`` for packed spikes; arguments (x, weight, bias, packed x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, source: PackedSpikes) -> Tensor:
        """Return the layer's output."""
        ctx.save_for_backward(weight, bias, *source)
        return linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output: Tensor) -> tuple[Tensor | None, ...]:
        """Return gradients w.r.t. x, weight and bias."""
        weight, bias, *saved = ctx.saved_tensors
        return (*_linear_gradients(ctx, _source(saved), weight, bias, output), None)


def _kept_source(x: Tensor, source: PackedSpikes | None) -> tuple[Tensor, ...]:
    return (x,) if source is None else tuple(source)


def _source(saved: list[Tensor]) -> Tensor:
    return saved[0] if len(saved) == 1 else PackedSpikes(*saved).unpacked()


def _linear_gradients(
    ctx: Any,
    source: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    output: Tensor,
    over_time: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return gradients w.r.t. input, weight and bias, each None if not needed.

    `output` is the gradient w.r.t. the layer's output. `over_time` is the sum of this gradient over time, or None if no kernel
    has computed the sum. The gradient w.r.t. the bias is computed from the sum in less time than from `output`.
    """
    by_x, by_weight, by_bias = ctx.needs_input_grad[:3]
    flat = output.reshape(-1, output.shape[2])
    return (
        flat.mm(weight).view(source.shape) if by_x else None,
        flat.t().mm(source.view(-1, source.shape[2])) if by_weight else None,
        (flat if over_time is None else over_time).sum(0) if by_bias and bias is not None else None,
    )
