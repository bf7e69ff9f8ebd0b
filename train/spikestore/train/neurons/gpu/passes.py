"""Passes over time on a GPU: Triton compiles them when they are first run, there is nothing to build.

One program takes `_BLOCK` neighbouring neurons of the flattened (batch, neurons) through all time steps, membrane
potentials in registers; neighbouring threads touch neighbouring addresses. Inputs and spikes may be half precision,
everything in between is float32. Products are not fused with sums, and divisions are rounded as IEEE 754 says: so
spikes are those of Sinabs, and of the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikestore.store_schemas.errors import MissingExtraError
from spikestore.train.neurons.neuron import Neuron, Pass
from spikestore.train.neurons.surrogates import as_single_exponential

try:
    import triton
    import triton.language as tl
except ImportError as error:  # CPU builds of torch bring none
    raise MissingExtraError(
        "the fused IAF needs Triton on a GPU; CUDA builds of torch bring it: pip install triton",
        extra="train",
    ) from error

_BLOCK = 128


# No annotations but constexpr in kernels: Triton would take `Any` for a global variable.


@triton.jit  # type: ignore[untyped-decorator]
def _fire(v, threshold, single: tl.constexpr):
    if single:
        spike = tl.where(v - threshold >= 0.0, 1.0, 0.0)
    else:
        ratio = tl.div_rn(v, threshold)
        whole = tl.where(ratio < 0.0, tl.ceil(ratio), tl.floor(ratio))
        # A product and no choice: NaN and -inf must come through as they do in Sinabs.
        spike = tl.where(v > 0.0, 1.0, 0.0) * whole
    return spike


@triton.jit  # type: ignore[untyped-decorator]
def _reset(v, spike, reset, to_zero: tl.constexpr):
    return v * tl.where(spike == 0.0, 1.0, 0.0) + reset if to_zero else v - spike * reset


@triton.jit  # type: ignore[untyped-decorator]
def _forward(
    x_at, state_at, last_at, spikes_at, kept_at, record_at,
    threshold_at, minimum_at, reset_amount, time, neurons, all_neurons,
    own_reset: tl.constexpr, to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    keep: tl.constexpr, record: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    one = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = one < all_neurons
    place = one // neurons * time * neurons + one % neurons
    threshold = tl.load(threshold_at)
    reset = threshold
    if own_reset:
        reset = reset_amount
    v = tl.load(state_at + one, mask=inside, other=0.0)
    for _ in range(time):
        v += tl.load(x_at + place, mask=inside, other=0.0).to(tl.float32)
        if keep:
            tl.store(kept_at + place, v, mask=inside)
        spike = _fire(v, threshold, single)
        tl.store(spikes_at + place, spike, mask=inside)
        v = _reset(v, spike, reset, to_zero)
        if bounded:
            minimum = tl.load(minimum_at)
            above = v - minimum
            v = tl.where(above <= 0.0, 0.0, above) + minimum
        if record:
            tl.store(record_at + place, v, mask=inside)
        place += neurons
    tl.store(last_at + one, v, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _backward(
    kept_at, gradient_at, slope_at, state_at, first_at, input_gradient_at,
    threshold_at, minimum_at, reset_amount, scale_at, width_at, time, neurons,
    all_neurons, own_reset: tl.constexpr, to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    given: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    one = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = one < all_neurons
    place = one // neurons * time * neurons + one % neurons + (time - 1) * neurons
    threshold = tl.load(threshold_at)
    reset = threshold
    if own_reset:
        reset = reset_amount
    later = tl.load(state_at + one, mask=inside, other=0.0)
    for _ in range(time):
        v = tl.load(kept_at + place, mask=inside, other=0.0)
        gradient = tl.load(gradient_at + place, mask=inside, other=0.0).to(tl.float32)
        if given:
            slope = tl.load(slope_at + place, mask=inside, other=0.0)
        else:
            slope = tl.load(scale_at) * tl.exp(-tl.div_rn(tl.abs(v - threshold), tl.load(width_at)))
        spike = _fire(v, threshold, single)
        if bounded:
            above = _reset(v, spike, reset, to_zero) - tl.load(minimum_at)
            later = tl.where(above <= 0.0, 0.0, later)
        if to_zero:
            later = later * tl.where(spike == 0.0, 1.0, 0.0) + gradient * slope
        else:
            later = later + (gradient - later * reset) * slope
        tl.store(input_gradient_at + place, later, mask=inside)
        place -= neurons
    tl.store(first_at + one, later, mask=inside)


def forward(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool, record: bool
) -> tuple[Pass, Tensor | None]:
    """Return spikes and potentials, and what `backward` needs if `keep`; arguments as `integrate_and_fire`."""
    x, v_mem = x.contiguous(), v_mem.contiguous()
    batch, time, neurons = x.shape
    spikes, last = torch.empty_like(x), torch.empty_like(v_mem)
    kept = torch.empty_like(x, dtype=torch.float32) if keep else None
    v_record = torch.empty_like(x, dtype=torch.float32) if record else None
    if last.numel():
        _forward[_grid(last)](
            x, v_mem, last, spikes, _or(kept, x), _or(v_record, x), *_parameters(neuron),
            time, neurons, batch * neurons, neuron.reset is not None, neuron.to_zero, neuron.single,
            neuron.minimum is not None, keep, record, _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return Pass(spikes, last, v_record), kept


def backward(kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Return gradients by input and first potentials, from those by spikes and last potentials."""
    spikes, v_mem = spikes.contiguous(), v_mem.contiguous()
    batch, time, neurons = kept.shape
    x, first = torch.empty_like(spikes), torch.empty_like(v_mem)
    exponential = as_single_exponential(neuron.surrogate)
    given = neuron.surrogate(kept, neuron.threshold) if exponential is None else None
    scale = width = neuron.threshold
    if exponential is not None:  # on the device: nothing waits for it
        width = neuron.threshold * exponential.grad_width
        scale = exponential.grad_scale / width
    threshold, minimum, reset = _parameters(neuron)
    if first.numel():
        _backward[_grid(first)](
            kept, spikes, _or(given, kept), v_mem, first, x, threshold, minimum, reset, scale, width,
            time, neurons, batch * neurons, neuron.reset is not None, neuron.to_zero, neuron.single,
            neuron.minimum is not None, given is not None, _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return x, first


def _grid(states: Tensor) -> tuple[int]:
    return (triton.cdiv(states.numel(), _BLOCK),)


def _parameters(neuron: Neuron) -> tuple[Tensor, Tensor, float]:
    """Return threshold and minimum as tensors, which are read on the device, and a reset that is not the threshold."""
    return neuron.threshold, _or(neuron.minimum, neuron.threshold), neuron.reset or 0.0


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return an address for a tensor that is not there; it is not used."""
    return other if tensor is None else tensor
