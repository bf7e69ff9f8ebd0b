"""Forward and backward passes over time on a GPU, compiled by Triton at first use.

One program runs `_BLOCK` neighbouring neurons of the flattened (batch, neurons) through all time steps with membrane
potentials in registers; neighbouring threads access neighbouring addresses. Inputs and spikes may be half precision, all
else is float32. Products are not fused with sums, and divisions are rounded by IEEE 754, so spikes equal those of Sinabs
and of the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spikestore.store_schemas.errors import MissingExtraError
from spikestore.train.neurons.neuron import Neuron, NeuronOutput
from spikestore.train.neurons.surrogates import as_single_exponential

try:
    import triton
    import triton.language as tl
except ImportError as error:  # CPU builds of torch do not install it
    raise MissingExtraError(
        "the backend fused needs Triton on a GPU, which CUDA builds of torch install: pip install triton",
        extra="train",
    ) from error

_BLOCK = 128
_LEAST_LENGTH, _SPIKES_PER_ENTRY = 256, 512
"""Length of the list for large counts: at least the first, or the number of spikes divided by the second."""


# Sizes without compiled variants: otherwise a new length of the batch would stop training for a second.
_SIZES = ["time", "neurons", "all_neurons", "list_length"]

MOST_PACKED, UNPACKED = 254, 255
"""Largest count that is stored as a byte, and the byte that marks a count in the list."""

_MOST = tl.constexpr(float(MOST_PACKED))
_ODD = tl.constexpr(float(UNPACKED))

# Kernels have no annotations except constexpr: Triton would treat `Any` as a global variable.


@triton.jit  # type: ignore[untyped-decorator]
def _fire(v, threshold, single: tl.constexpr):
    if single:
        spike = tl.where(v - threshold >= 0.0, 1.0, 0.0)
    else:
        ratio = tl.div_rn(v, threshold)
        whole = tl.where(ratio < 0.0, tl.ceil(ratio), tl.floor(ratio))
        # A product instead of a branch: NaN and -inf must propagate as in Sinabs.
        spike = tl.where(v > 0.0, 1.0, 0.0) * whole
    return spike


@triton.jit  # type: ignore[untyped-decorator]
def _reset(v, spike, reset, to_zero: tl.constexpr):
    return v * tl.where(spike == 0.0, 1.0, 0.0) + reset if to_zero else v - spike * reset


@triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
def _forward(
    x_at, state_at, last_at, spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at, odd_value_at,
    threshold_at, minimum_at, reset_amount, time, neurons, all_neurons, list_length,
    own_reset: tl.constexpr, to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    fire: tl.constexpr, keep: tl.constexpr, record: tl.constexpr, pack: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    neuron_index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron_index < all_neurons
    offset = neuron_index // neurons * time * neurons + neuron_index % neurons
    threshold = tl.load(threshold_at)
    reset = threshold
    if own_reset:
        reset = reset_amount
    if bounded:
        minimum = tl.load(minimum_at)
    v = tl.load(state_at + neuron_index, mask=inside, other=0.0)
    # Inputs are loaded three steps ahead: a step takes less time than a load. They may be overwritten by outputs of this
    # program, but only those of earlier steps.
    end = (neuron_index // neurons + 1) * time * neurons + neuron_index % neurons
    x0 = tl.load(x_at + offset, mask=inside & (offset < end), other=0.0)
    x1 = tl.load(x_at + offset + neurons, mask=inside & (offset + neurons < end), other=0.0)
    x2 = tl.load(x_at + offset + 2 * neurons, mask=inside & (offset + 2 * neurons < end), other=0.0)
    for _ in range(time):
        x3 = tl.load(x_at + offset + 3 * neurons, mask=inside & (offset + 3 * neurons < end), other=0.0)
        v += x0.to(tl.float32)
        if keep:
            tl.store(kept_at + offset, v, mask=inside)
        spike = _fire(v, threshold, single)
        if fire:
            tl.store(spikes_at + offset, spike, mask=inside)
        if pack:
            plain = (spike >= 0.0) & (spike <= _MOST)  # false for NaN too
            tl.store(packed_at + offset, tl.where(plain, spike, _ODD).to(tl.int32).to(tl.uint8), mask=inside)
            odd = tl.where(plain, 0, inside.to(tl.int32)) != 0
            slot = tl.atomic_add(odd_count_at + neuron_index * 0, 1, mask=odd, sem="relaxed")
            tl.store(odd_place_at + slot, offset, mask=odd & (slot < list_length))
            tl.store(odd_value_at + slot, spike, mask=odd & (slot < list_length))
        v = _reset(v, spike, reset, to_zero)
        if bounded:
            above = v - minimum
            v = tl.where(above <= 0.0, 0.0, above) + minimum
        if record:
            tl.store(record_at + offset, v, mask=inside)
        offset += neurons
        x0, x1, x2 = x1, x2, x3
    tl.store(last_at + neuron_index, v, mask=inside)


@triton.jit(do_not_specialize=["list_length"])  # type: ignore[untyped-decorator]
def _restore_odd(x_at, odd_count_at, odd_place_at, odd_value_at, list_length, block: tl.constexpr):
    slot = tl.program_id(0) * block + tl.arange(0, block)
    count = tl.load(odd_count_at)
    listed = slot < tl.minimum(count, list_length)
    offset = tl.load(odd_place_at + slot, mask=listed, other=0)
    tl.store(x_at + offset, tl.load(odd_value_at + slot, mask=listed, other=0.0), mask=listed)
    # NaN is written here and not as a global: Triton refuses a second launch if a global is not equal to itself.
    tl.store(x_at + slot, float("nan"), mask=tl.where(count > list_length, slot, 1) == 0)


@triton.jit  # type: ignore[untyped-decorator]
def _slope(v, slope_at, offset, threshold, scale, width, valid, given: tl.constexpr):
    if given:
        slope = tl.load(slope_at + offset, mask=valid, other=0.0)
    else:
        slope = scale * tl.exp(-tl.div_rn(tl.abs(v - threshold), width))
    return slope


@triton.jit  # type: ignore[untyped-decorator]
def _before(
    later, v, gradient, slope, threshold, minimum, reset, valid,
    to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
):  # fmt: skip
    spike = _fire(v, threshold, single)
    kept = later
    if bounded:
        above = _reset(v, spike, reset, to_zero) - minimum
        kept = tl.where(above <= 0.0, 0.0, later)
    if to_zero:
        kept = kept * tl.where(spike == 0.0, 1.0, 0.0) + gradient * slope
    else:
        kept = kept + (gradient - kept * reset) * slope
    return tl.where(valid, kept, later)


@triton.jit(do_not_specialize=_SIZES[:3])  # type: ignore[untyped-decorator]
def _backward(
    kept_at, gradient_at, slope_at, state_at, first_at, input_gradient_at, sum_at,
    threshold_at, minimum_at, reset_amount, scale_at, width_at, time, neurons,
    all_neurons, own_reset: tl.constexpr, to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    given: tl.constexpr, add_up: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    neuron_index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron_index < all_neurons
    begin = neuron_index // neurons * time * neurons + neuron_index % neurons
    offset = (neuron_index // neurons * time + time - 1) * neurons + neuron_index % neurons
    threshold = tl.load(threshold_at)
    minimum = tl.load(minimum_at)
    scale = tl.load(scale_at)
    width = tl.load(width_at)
    reset = threshold
    if own_reset:
        reset = reset_amount
    later = tl.load(state_at + neuron_index, mask=inside, other=0.0)
    total = tl.zeros_like(later)
    # Two steps at a time, loaded two steps ahead: slopes do not depend on each other, and a step takes less time than a load.
    some, more = inside & (offset >= begin), inside & (offset - neurons >= begin)
    v0 = tl.load(kept_at + offset, mask=some, other=0.0)
    v1 = tl.load(kept_at + offset - neurons, mask=more, other=0.0)
    g0 = tl.load(gradient_at + offset, mask=some, other=0.0)
    g1 = tl.load(gradient_at + offset - neurons, mask=more, other=0.0)
    for _ in range((time + 1) // 2):
        second = inside & (offset - neurons >= begin)
        some, more = inside & (offset - 2 * neurons >= begin), inside & (offset - 3 * neurons >= begin)
        v2 = tl.load(kept_at + offset - 2 * neurons, mask=some, other=0.0)
        v3 = tl.load(kept_at + offset - 3 * neurons, mask=more, other=0.0)
        g2 = tl.load(gradient_at + offset - 2 * neurons, mask=some, other=0.0)
        g3 = tl.load(gradient_at + offset - 3 * neurons, mask=more, other=0.0)
        slope0 = _slope(v0, slope_at, offset, threshold, scale, width, inside, given)
        slope1 = _slope(v1, slope_at, offset - neurons, threshold, scale, width, second, given)
        later = _before(
            later, v0, g0.to(tl.float32), slope0, threshold, minimum, reset, inside, to_zero, single, bounded
        )
        tl.store(input_gradient_at + offset, later, mask=inside)
        if add_up:
            total += later
        later = _before(
            later, v1, g1.to(tl.float32), slope1, threshold, minimum, reset, second, to_zero, single, bounded
        )
        tl.store(input_gradient_at + offset - neurons, later, mask=second)
        if add_up:
            total += tl.where(second, later, 0.0)
        offset -= 2 * neurons
        v0, v1, g0, g1 = v2, v3, g2, g3
    tl.store(first_at + neuron_index, later, mask=inside)
    if add_up:
        tl.store(sum_at + neuron_index, total, mask=inside)


class PackedSpikes(NamedTuple):
    """Spike counts as bytes, with a list of counts that do not fit.

    Attributes
    ----------
    packed : Tensor
        Uint8, shape (batch, time, neurons); `UNPACKED` if the count is in the list.
    odd_count : Tensor
        Int32, shape (1,): number of counts for the list, which may exceed its length.
    odd_place, odd_value : Tensor
        Int64 and float32: positions in the flattened spikes, and values: above `MOST_PACKED`, infinite or NaN.
    """

    packed: Tensor
    odd_count: Tensor
    odd_place: Tensor
    odd_value: Tensor

    def unpacked(self) -> Tensor:
        """Return the spikes as float32. If the list has overflowed, the first spike is NaN."""
        x, list_length = self.packed.to(torch.float32), len(self.odd_place)
        if x.numel():
            _restore_odd[(triton.cdiv(list_length, _BLOCK),)](
                x, self.odd_count, self.odd_place, self.odd_value, list_length, _BLOCK, enable_fp_fusion=False
            )
        return x


def forward(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool, record: bool
) -> tuple[NeuronOutput, Tensor | None]:
    """Return the result of the forward pass and, if `keep` is true, the membrane potentials that `backward` needs."""
    x, v_mem = x.contiguous(), v_mem.contiguous()
    done = NeuronOutput(
        torch.empty_like(x),
        torch.empty_like(v_mem),
        torch.empty_like(x, dtype=torch.float32) if record else None,
    )
    kept = torch.empty_like(x, dtype=torch.float32) if keep else None
    _run_forward(x, v_mem, neuron, done.v_mem, spikes=done.spikes, kept=kept, record=done.v_record)
    return done, kept


def forward_packing(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool
) -> tuple[NeuronOutput, Tensor | None, PackedSpikes]:
    """Return the result of `forward`, and the spikes as bytes. Overwrites `x`, which must be float32 and contiguous."""
    # The output of a linear layer may be a view, which autograd does not let be changed in place; this is not a view.
    spikes = x.new_empty(0).set_(x)  # type: ignore[call-overload]
    v_mem, last = v_mem.contiguous(), torch.empty_like(v_mem, memory_format=torch.contiguous_format)
    kept = torch.empty_like(x) if keep else None
    list_length = max(_LEAST_LENGTH, x.numel() // _SPIKES_PER_ENTRY)
    packed = PackedSpikes(
        torch.empty_like(x, dtype=torch.uint8),
        torch.zeros(1, dtype=torch.int32, device=x.device),
        torch.empty(list_length, dtype=torch.int64, device=x.device),
        torch.empty(list_length, dtype=torch.float32, device=x.device),
    )
    _run_forward(spikes, v_mem, neuron, last, spikes=spikes, kept=kept, packed=packed)
    return NeuronOutput(spikes, last), kept, packed


def potentials(x: Tensor, v_mem: Tensor, neuron: Neuron) -> Tensor:
    """Return membrane potentials before resets, for `backward`. Overwrites `x`, which must be float32 and contiguous."""
    v_mem = v_mem.contiguous()
    _run_forward(x, v_mem, neuron, torch.empty_like(v_mem), kept=x)
    return x


def _run_forward(
    x: Tensor,
    v_mem: Tensor,
    neuron: Neuron,
    last: Tensor,
    *,
    spikes: Tensor | None = None,
    kept: Tensor | None = None,
    record: Tensor | None = None,
    packed: PackedSpikes | None = None,
) -> None:
    """Run the forward kernel; write the outputs that are not None. An output may share memory with `x`."""
    _, time, neurons = x.shape
    if last.numel():
        odd = (x, x, x, x) if packed is None else tuple(packed)
        _forward[_grid(last)](
            x, v_mem, last, _or(spikes, x), _or(kept, x), _or(record, x), *odd, *_parameters(neuron),
            time, neurons, last.numel(), 0 if packed is None else len(packed.odd_place),
            neuron.reset is not None, neuron.to_zero, neuron.single, neuron.minimum is not None,
            spikes is not None, kept is not None, record is not None, packed is not None, _BLOCK,
            enable_fp_fusion=False,
        )  # fmt: skip


def backward(kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Return the gradients w.r.t. input and initial potentials, given those w.r.t. spikes and last potentials."""
    x, first, _ = _run_backward(kept, spikes, v_mem, neuron, add_up=False)
    return x, first


def backward_adding_up(
    kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result of `backward`, and the gradient w.r.t. input added up over time, shape (batch, neurons)."""
    return _run_backward(kept, spikes, v_mem, neuron, add_up=True)


def _run_backward(
    kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron, *, add_up: bool
) -> tuple[Tensor, Tensor, Tensor]:
    spikes, v_mem = spikes.contiguous(), v_mem.contiguous()
    batch, time, neurons = kept.shape
    x, first = torch.empty_like(spikes), torch.empty_like(v_mem)
    total = torch.empty_like(v_mem) if add_up else first
    exponential = as_single_exponential(neuron.surrogate)
    given = neuron.surrogate(kept, neuron.threshold) if exponential is None else None
    scale = width = neuron.threshold
    if exponential is not None:  # on the device: no synchronisation
        width = neuron.threshold * exponential.grad_width
        scale = exponential.grad_scale / width
    threshold, minimum, reset = _parameters(neuron)
    if first.numel():
        _backward[_grid(first)](
            kept, spikes, _or(given, kept), v_mem, first, x, total, threshold, minimum, reset, scale, width,
            time, neurons, batch * neurons, neuron.reset is not None, neuron.to_zero, neuron.single,
            neuron.minimum is not None, given is not None, add_up, _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return x, first, total


def _grid(states: Tensor) -> tuple[int]:
    return (triton.cdiv(states.numel(), _BLOCK),)


def _parameters(neuron: Neuron) -> tuple[Tensor, Tensor, float]:
    """Return threshold and minimum as tensors, which kernels read on the device, and a reset other than the threshold."""
    return neuron.threshold, _or(neuron.minimum, neuron.threshold), neuron.reset or 0.0


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return `tensor`; if it is None, return `other`, because a kernel needs some tensor even if it does not use it."""
    return other if tensor is None else tensor
