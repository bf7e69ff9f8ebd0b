"""Equations of integrate-and-fire neurons, and a differentiable torch function that computes them over time.

For each neuron, with threshold θ, amount b that a spike subtracts, Sinabs' ``reset_value`` e, minimum m and gradient g w.r.t. the
spikes::

    v(t)  = v'(t-1) + x(t)
    s(t)  = [v(t) > 0] · trunc(v(t) / θ)      for several spikes a step; [v(t) ≥ θ] for at most one
    r(t)  = v(t) - b · s(t)                   for reset by subtraction; [s(t) = 0] · v(t) + e for reset to zero
    v'(t) = r(t)                              without a minimum; max(r(t) - m, 0) + m with a minimum

    c(t)  = [r(t) > m]                                            with a minimum; 1 without a minimum
    d(t)  = c(t) · d(t+1) + sg(t) · (g(t) - b · c(t) · d(t+1))    for reset by subtraction
    d(t)  = [s(t) = 0] · c(t) · d(t+1) + sg(t) · g(t)             for reset to zero

where sg is the surrogate at v(t), and d(t) the gradient w.r.t. x(t). Everything is computed in float32 and in the order of Sinabs, so
spikes equal those of Sinabs to the last bit. By default, e is 0. Like Sinabs 3.1.3, this package adds e to the potential of every
neuron in every step, whether the neuron spiked or not. The backward pass needs only v(t) of the forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

from spikestore.store_schemas.errors import UsageError
from spikestore.train.neurons.neuron import Neuron, NeuronOutput


def integrate_and_fire(x: Tensor, v_mem: Tensor, neuron: Neuron, *, record: bool = False) -> NeuronOutput:
    """Return the spikes and membrane potentials of neurons that integrate an input over time.

    Parameters
    ----------
    x : Tensor
        Input, shape (batch, time, neurons); float32 or half precision. Membrane potentials are float32 in any case.
    v_mem : Tensor
        Membrane potentials before the first step, float32, shape (batch, neurons).
    neuron : Neuron
        Parameters.
    record : bool
        Whether to return the membrane potentials of all steps.

    Returns
    -------
    NeuronOutput
        Spikes and last membrane potentials are differentiable once w.r.t. `x` and `v_mem`.

    Raises
    ------
    UsageError
        No kernel supports this dtype or device; or, on a CPU, the threshold is not above 0.
    MissingExtraError
        The input is on a GPU, and Triton is not installed.
    """
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise UsageError(f"the input of IAF must be float32 or half precision, got {x.dtype}: use .float()")
    if v_mem.dtype != torch.float32:
        raise UsageError(
            f"membrane potentials of IAF must be float32, got {v_mem.dtype}: use layer.v_mem.float()"
        )
    if x.device.type == "cpu" and x.dtype != torch.float32:
        wide = integrate_and_fire(x.float(), v_mem, neuron, record=record)
        return wide._replace(spikes=wide.spikes.to(x.dtype))
    if torch.is_grad_enabled() and (x.requires_grad or v_mem.requires_grad or _has_tangent(x, v_mem)):
        return NeuronOutput(*_IntegrateAndFire.apply(x, v_mem, neuron, record))  # type: ignore[no-untyped-call]
    done: NeuronOutput = _kernels(x).forward(x.detach(), v_mem.detach(), neuron, keep=False, record=record)[0]
    return done


def _has_tangent(*tensors: Tensor) -> bool:
    """Return whether any of the tensors has a tangent (`torch.autograd.forward_ad`); `torch.autograd.Function` rejects such tensors."""
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def _kernels(x: Tensor) -> Any:
    """Return the module whose ``forward`` and ``backward`` run on the device of `x`; raise `UsageError` if no module does."""
    if x.device.type == "cpu":
        from spikestore.train.neurons.cpu import passes as cpu

        return cpu
    if x.device.type == "cuda":
        from spikestore.train.neurons.gpu import passes as triton_kernels

        return triton_kernels
    raise UsageError(
        f"the backend 'fused' runs on cpu and cuda, not on {x.device.type}: use the backend 'sinabs'",
        device=x.device.type,
    )


class _IntegrateAndFire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, v_mem: Tensor, neuron: Neuron, record: bool) -> NeuronOutput:
        done, kept = _kernels(x).forward(x, v_mem, neuron, keep=True, record=record)
        ctx.save_for_backward(kept)
        ctx.neuron, ctx.dtype = neuron, x.dtype
        if done.v_record is not None:
            ctx.mark_non_differentiable(done.v_record)
        return done  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, spikes: Tensor, v_mem: Tensor, _record: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        x, first = _kernels(kept).backward(kept, spikes, v_mem, ctx.neuron)
        return x, first, None, None
