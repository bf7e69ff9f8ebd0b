"""Forward and backward passes over time on a GPU, compiled by Triton at first use.

One program computes all time steps of `_BLOCK` neighbouring neurons of the flattened (batch, neurons), and keeps their
membrane potentials in registers; neighbouring threads access neighbouring addresses. Inputs, spikes and their gradients may be half
precision, all else is float32. Products are not fused with sums, and divisions are rounded by IEEE 754, so spikes equal those of Sinabs
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
        "on a GPU, the backend 'fused' needs Triton, which is not installed here (CUDA builds of torch install it): pip install triton",
        extra="train",
    ) from error

_BLOCK = 128
_LEAST_LENGTH, _SPIKES_PER_ENTRY = 256, 512
"""The list for large counts has one entry for each 512 elements of the spikes, and at least 256 entries."""


# For these sizes, Triton compiles no variants: otherwise a new length of the batch would stop training for a second.
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


@triton.jit  # type: ignore[untyped-decorator]
def _step(
    v, x, offset, valid, spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at, odd_value_at,
    threshold, minimum, reset, list_length,
    to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    fire: tl.constexpr, keep: tl.constexpr, record: tl.constexpr, pack: tl.constexpr,
):  # fmt: skip
    before = v
    v += x.to(tl.float32)
    if keep:
        tl.store(kept_at + offset, v, mask=valid)
    spike = _fire(v, threshold, single)
    if fire:
        tl.store(spikes_at + offset, spike, mask=valid)
    if pack:
        plain = (spike >= 0.0) & (spike <= _MOST)  # false for NaN too
        tl.store(packed_at + offset, tl.where(plain, spike, _ODD).to(tl.int32).to(tl.uint8), mask=valid)
        odd = tl.where(plain, 0, valid.to(tl.int32)) != 0
        slot = tl.atomic_add(odd_count_at + offset * 0, 1, mask=odd, sem="relaxed")
        tl.store(odd_place_at + slot, offset, mask=odd & (slot < list_length))
        tl.store(odd_value_at + slot, spike, mask=odd & (slot < list_length))
    v = _reset(v, spike, reset, to_zero)
    if bounded:
        above = v - minimum
        v = tl.where(above <= 0.0, 0.0, above) + minimum
    if record:
        tl.store(record_at + offset, v, mask=valid)
    return tl.where(valid, v, before)


@triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
def _forward(
    x_at, state_at, last_at, spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at, odd_value_at,
    threshold_at, minimum_at, reset_amount, time, neurons, all_neurons, list_length,
    own_reset: tl.constexpr, to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    fire: tl.constexpr, keep: tl.constexpr, record: tl.constexpr, pack: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    neuron_index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron_index < all_neurons
    at0 = neuron_index // neurons * time * neurons + neuron_index % neurons
    end = (neuron_index // neurons + 1) * time * neurons + neuron_index % neurons
    threshold = tl.load(threshold_at)
    minimum = tl.load(minimum_at)
    reset = threshold
    if own_reset:
        reset = reset_amount
    v = tl.load(state_at + neuron_index, mask=inside, other=0.0)
    # Four steps at a time, and the inputs of the next four are loaded before: a step takes less time than a load. Outputs
    # may overwrite inputs, but only those of the same step.
    at1, at2, at3 = at0 + neurons, at0 + 2 * neurons, at0 + 3 * neurons
    x0 = tl.load(x_at + at0, mask=inside & (at0 < end), other=0.0)
    x1 = tl.load(x_at + at1, mask=inside & (at1 < end), other=0.0)
    x2 = tl.load(x_at + at2, mask=inside & (at2 < end), other=0.0)
    x3 = tl.load(x_at + at3, mask=inside & (at3 < end), other=0.0)
    for _ in range((time + 3) // 4):
        y0 = tl.load(x_at + at0 + 4 * neurons, mask=inside & (at0 + 4 * neurons < end), other=0.0)
        y1 = tl.load(x_at + at1 + 4 * neurons, mask=inside & (at1 + 4 * neurons < end), other=0.0)
        y2 = tl.load(x_at + at2 + 4 * neurons, mask=inside & (at2 + 4 * neurons < end), other=0.0)
        y3 = tl.load(x_at + at3 + 4 * neurons, mask=inside & (at3 + 4 * neurons < end), other=0.0)
        v = _step(
            v, x0, at0, inside & (at0 < end), spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at,
            odd_value_at, threshold, minimum, reset, list_length, to_zero, single, bounded, fire, keep, record, pack,
        )  # fmt: skip
        v = _step(
            v, x1, at1, inside & (at1 < end), spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at,
            odd_value_at, threshold, minimum, reset, list_length, to_zero, single, bounded, fire, keep, record, pack,
        )  # fmt: skip
        v = _step(
            v, x2, at2, inside & (at2 < end), spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at,
            odd_value_at, threshold, minimum, reset, list_length, to_zero, single, bounded, fire, keep, record, pack,
        )  # fmt: skip
        v = _step(
            v, x3, at3, inside & (at3 < end), spikes_at, kept_at, record_at, packed_at, odd_count_at, odd_place_at,
            odd_value_at, threshold, minimum, reset, list_length, to_zero, single, bounded, fire, keep, record, pack,
        )  # fmt: skip
        at0, at1, at2, at3 = at0 + 4 * neurons, at1 + 4 * neurons, at2 + 4 * neurons, at3 + 4 * neurons
        x0, x1, x2, x3 = y0, y1, y2, y3
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
def _slope(v, slope_at, offset, threshold, scale, rate, valid, given: tl.constexpr):
    if given:
        slope = tl.load(slope_at + offset, mask=valid, other=0.0)
    else:
        slope = scale * tl.exp(-tl.abs(v - threshold) * rate)
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
        kept = kept * tl.where(spike == 0.0, 1.0, 0.0) + gradient.to(tl.float32) * slope
    else:
        kept = kept + (gradient.to(tl.float32) - kept * reset) * slope
    return tl.where(valid, kept, later)


@triton.jit(do_not_specialize=_SIZES[:3])  # type: ignore[untyped-decorator]
def _backward(
    kept_at, gradient_at, slope_at, state_at, first_at, input_gradient_at, sum_at,
    threshold_at, minimum_at, reset_amount, scale_at, rate_at, time, neurons,
    all_neurons, own_reset: tl.constexpr, to_zero: tl.constexpr, single: tl.constexpr, bounded: tl.constexpr,
    given: tl.constexpr, add_up: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    neuron_index = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = neuron_index < all_neurons
    begin = neuron_index // neurons * time * neurons + neuron_index % neurons
    at0 = (neuron_index // neurons * time + time - 1) * neurons + neuron_index % neurons
    threshold = tl.load(threshold_at)
    minimum = tl.load(minimum_at)
    scale = tl.load(scale_at)
    rate = tl.load(rate_at)
    reset = threshold
    if own_reset:
        reset = reset_amount
    later = tl.load(state_at + neuron_index, mask=inside, other=0.0)
    total = tl.zeros_like(later)
    # As in the forward pass. Slopes are computed together, because they do not depend on each other.
    at1, at2, at3 = at0 - neurons, at0 - 2 * neurons, at0 - 3 * neurons
    v0 = tl.load(kept_at + at0, mask=inside & (at0 >= begin), other=0.0)
    v1 = tl.load(kept_at + at1, mask=inside & (at1 >= begin), other=0.0)
    v2 = tl.load(kept_at + at2, mask=inside & (at2 >= begin), other=0.0)
    v3 = tl.load(kept_at + at3, mask=inside & (at3 >= begin), other=0.0)
    g0 = tl.load(gradient_at + at0, mask=inside & (at0 >= begin), other=0.0)
    g1 = tl.load(gradient_at + at1, mask=inside & (at1 >= begin), other=0.0)
    g2 = tl.load(gradient_at + at2, mask=inside & (at2 >= begin), other=0.0)
    g3 = tl.load(gradient_at + at3, mask=inside & (at3 >= begin), other=0.0)
    for _ in range((time + 3) // 4):
        more0, more1 = inside & (at0 - 4 * neurons >= begin), inside & (at1 - 4 * neurons >= begin)
        more2, more3 = inside & (at2 - 4 * neurons >= begin), inside & (at3 - 4 * neurons >= begin)
        w0 = tl.load(kept_at + at0 - 4 * neurons, mask=more0, other=0.0)
        w1 = tl.load(kept_at + at1 - 4 * neurons, mask=more1, other=0.0)
        w2 = tl.load(kept_at + at2 - 4 * neurons, mask=more2, other=0.0)
        w3 = tl.load(kept_at + at3 - 4 * neurons, mask=more3, other=0.0)
        h0 = tl.load(gradient_at + at0 - 4 * neurons, mask=more0, other=0.0)
        h1 = tl.load(gradient_at + at1 - 4 * neurons, mask=more1, other=0.0)
        h2 = tl.load(gradient_at + at2 - 4 * neurons, mask=more2, other=0.0)
        h3 = tl.load(gradient_at + at3 - 4 * neurons, mask=more3, other=0.0)
        valid0, valid1 = inside & (at0 >= begin), inside & (at1 >= begin)
        valid2, valid3 = inside & (at2 >= begin), inside & (at3 >= begin)
        slope0 = _slope(v0, slope_at, at0, threshold, scale, rate, valid0, given)
        slope1 = _slope(v1, slope_at, at1, threshold, scale, rate, valid1, given)
        slope2 = _slope(v2, slope_at, at2, threshold, scale, rate, valid2, given)
        slope3 = _slope(v3, slope_at, at3, threshold, scale, rate, valid3, given)
        later = _before(later, v0, g0, slope0, threshold, minimum, reset, valid0, to_zero, single, bounded)
        tl.store(input_gradient_at + at0, later, mask=valid0)
        total += tl.where(valid0, later, 0.0)
        later = _before(later, v1, g1, slope1, threshold, minimum, reset, valid1, to_zero, single, bounded)
        tl.store(input_gradient_at + at1, later, mask=valid1)
        total += tl.where(valid1, later, 0.0)
        later = _before(later, v2, g2, slope2, threshold, minimum, reset, valid2, to_zero, single, bounded)
        tl.store(input_gradient_at + at2, later, mask=valid2)
        total += tl.where(valid2, later, 0.0)
        later = _before(later, v3, g3, slope3, threshold, minimum, reset, valid3, to_zero, single, bounded)
        tl.store(input_gradient_at + at3, later, mask=valid3)
        total += tl.where(valid3, later, 0.0)
        at0, at1, at2, at3 = at0 - 4 * neurons, at1 - 4 * neurons, at2 - 4 * neurons, at3 - 4 * neurons
        v0, v1, v2, v3 = w0, w1, w2, w3
        g0, g1, g2, g3 = h0, h1, h2, h3
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
        Int32, shape (1,): number of all counts that are marked with `UNPACKED`. If it exceeds the length of the list, the list
        lacks some of them.
    odd_place, odd_value : Tensor
        The list: positions in the flattened spikes, int64, and the counts at these positions, float32. Each count
        is above `MOST_PACKED`, infinite or NaN.
    """

    packed: Tensor
    odd_count: Tensor
    odd_place: Tensor
    odd_value: Tensor

    def unpacked(self) -> Tensor:
        """Return the spikes as float32. If `odd_count` exceeds the length of `odd_place`, counts are missing, and the first spike is NaN."""
        x, list_length = self.packed.to(torch.float32), len(self.odd_place)
        if x.numel():
            _restore_odd[(triton.cdiv(list_length, _BLOCK),)](
                x, self.odd_count, self.odd_place, self.odd_value, list_length, _BLOCK, enable_fp_fusion=False
            )
        return x


def forward(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool, record: bool
) -> tuple[NeuronOutput, Tensor | None]:
    """Return the result of the forward pass, and the membrane potentials that `backward` needs (None if `keep` is false).

    If `record` is true, the result has the membrane potentials of all steps (`NeuronOutput.v_record`).
    """
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
    """Return the result of `forward`, and its spikes as `PackedSpikes`. Overwrites `x`, which must be float32 and contiguous."""
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
    """Return the gradients w.r.t. the input and the initial potentials. `spikes` and `v_mem` are the gradients w.r.t. the spikes and the last potentials."""
    x, first, _ = _run_backward(kept, spikes, v_mem, neuron, add_up=False)
    return x, first


def backward_adding_up(
    kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result of `backward`, and the sum over time of the gradient w.r.t. input: shape (batch, neurons)."""
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
    scale = rate = neuron.threshold
    if exponential is not None:  # on the device: no synchronisation
        width = neuron.threshold * exponential.grad_width
        scale, rate = exponential.grad_scale / width, 1.0 / width
    threshold, minimum, reset = _parameters(neuron)
    if first.numel():
        _backward[_grid(first)](
            kept, spikes, _or(given, kept), v_mem, first, x, total, threshold, minimum, reset, scale, rate,
            time, neurons, batch * neurons, neuron.reset is not None, neuron.to_zero, neuron.single,
            neuron.minimum is not None, given is not None, add_up, _BLOCK, enable_fp_fusion=False,
        )  # fmt: skip
    return x, first, total


def _grid(states: Tensor) -> tuple[int]:
    return (triton.cdiv(states.numel(), _BLOCK),)


def _parameters(neuron: Neuron) -> tuple[Tensor, Tensor, float]:
    """Return threshold, minimum and reset of a neuron for a kernel. If minimum or reset is None, the result has another value instead, which the kernel does not use."""
    return neuron.threshold, _or(neuron.minimum, neuron.threshold), neuron.reset or 0.0


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """Return `tensor`, or `other` if `tensor` is None, because each argument of a kernel must be a tensor, even an unused one."""
    return other if tensor is None else tensor
