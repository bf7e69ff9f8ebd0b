"""Linear layers and the neurons after them on the CPU. This module calls the compiled kernels with tensors.

The docstring of `spikestore.train.neurons.linear` lists the names, shapes and dtypes of arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikestore.train.neurons.cpu import passes as cpu
from spikestore.train.neurons.cpu.kernels import forward_task
from spikestore.train.neurons.cpu.openmp import run_task
from spikestore.train.neurons.cpu.simd import PAD
from spikestore.train.neurons.linear import cpu_kernels
from spikestore.train.neurons.linear.counts import Counts
from spikestore.train.neurons.neuron import Neuron, NeuronOutput
from spikestore.train.neurons.surrogates import SingleExponential, as_single_exponential

_MOST_GROUPS = 64
_SLICE_ELEMENTS = 1 << 21
"""Elements of a gradient per slice, which a kernel writes and torch's matrix product then reads (measured).
Larger slices need fresh memory, which is slow; smaller slices have more overhead."""
_EDGE, _MIDDLE = 32, 64
"""Number of rows of a matrix product that are compared at either end, and in between."""


class Recomputed(NamedTuple):
    """Arrays from which the backward pass recomputes membrane potentials, so that these are not stored.

    Attributes
    ----------
    initial : Tensor
        Potentials before the first step, float32, shape (batch, neurons).
    fired : Tensor
        Spikes, uint8, shape (batch, time, neurons).
    """

    initial: Tensor
    fired: Tensor


class Gradients(NamedTuple):
    """Gradients of a linear layer and the neurons after it.

    Attributes
    ----------
    x : Tensor or None
        Gradient w.r.t. the layer's input, shape (batch, time, inputs); None if not needed.
    weight, bias : Tensor
        Gradients w.r.t. the layer's weight, shape (neurons, inputs), and bias, shape (neurons,).
    v_mem : Tensor
        Gradient w.r.t. the initial potentials, shape (batch, neurons).
    """

    x: Tensor | None
    weight: Tensor
    bias: Tensor
    v_mem: Tensor


def pack(x: Tensor) -> Counts | None:
    """Return a float32 tensor as counts; None unless all values are integers from 0 to 254."""
    x = x.detach().contiguous()
    packed = torch.empty_like(x, dtype=torch.uint8)
    job = cpu.new_job(x.shape, x=x, packed=packed)
    run_task(cpu_kernels.pack_task(), job.ctypes.data, len(x))
    return _counts(job, packed)


def forward_counting(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool
) -> tuple[NeuronOutput, Tensor | None, Counts | None]:
    """Return the results of `cpu.forward`, and the spikes as `Counts`; no counts (None) if a neuron spiked more than 254 times in a step, or if spikes are NaN.

    The spikes may overwrite `x`, because fresh memory would cost as much time as the pass itself.
    """
    # The output of a linear layer may be a view, which autograd does not let be changed in place; this is not a view.
    spikes = x.new_empty(0).set_(x.contiguous())  # type: ignore[call-overload]
    v_mem = v_mem.clone(memory_format=torch.contiguous_format)
    packed = torch.empty_like(spikes, dtype=torch.uint8)
    kept = torch.empty_like(spikes) if keep else None
    tensors: dict[str, Any] = {"x": spikes, "state": v_mem, "spikes": spikes, "kept": kept, "packed": packed}
    job = cpu.run_job(forward_task(*cpu.modes_of(neuron)), x.shape, neuron, {}, **tensors)
    return NeuronOutput(spikes, v_mem), kept, _counts(job, packed)


def _counts(job: Any, packed: Tensor) -> Counts | None:
    if cpu.word(job, "unpackable"):
        return None
    return Counts(packed, cpu.word(job, "fired") / max(1, packed.numel()))


def is_repeatable(source: Tensor, weight: Tensor, bias: Tensor | None, output: Tensor) -> bool:
    """Return whether sums over non-zero counts equal torch's matrix product to the last bit.

    The sums and the product are equal if the matrix library that torch uses adds products in order. This depends on the
    library's version, the processor and the layer's size. So some rows of the product are compared (a row is a time bin of a
    sample): rows at both ends and in between. If the product has few rows, all rows are compared.

    Parameters
    ----------
    source : Tensor
        Input of the linear layer, uint8, shape (batch, time, inputs).
    weight, bias : Tensor or None
        Weight and bias of the layer.
    output : Tensor
        Output of the layer, shape (batch, time, neurons).
    """
    source, output = source.view(-1, source.shape[2]), output.view(-1, output.shape[2])
    if len(source) > 2 * _EDGE + _MIDDLE:
        rows = _compared_rows(len(source))
        source, output = source[rows], output[rows]
    columns, biases = _columns(weight), _bias(bias, weight)
    summed = output.new_empty(len(source), columns.shape[1])
    job = cpu.new_job(
        torch.Size([len(source), 1, output.shape[1]]),
        inputs=source.shape[1],
        source=source,
        weight=columns,
        bias=biases,
        x=summed,
    )
    cpu_kernels.linear_task().ctypes(job.ctypes.data)
    return torch.equal(summed[:, : output.shape[1]], output)


@lru_cache(maxsize=64)
def _compared_rows(rows: int) -> Tensor:
    between = torch.linspace(_EDGE, rows - 1 - _EDGE, _MIDDLE).long()
    return torch.cat([torch.arange(_EDGE), between, torch.arange(rows - _EDGE, rows)])


def backward_recomputed(
    source: Tensor,
    layer: tuple[Tensor, Tensor | None],
    recomputed: Recomputed,
    gradients: tuple[Tensor, Tensor],
    neuron: Neuron,
    *,
    needs_x: bool,
) -> Gradients:
    """Return the gradients of a linear layer and its neurons; membrane potentials are recomputed.

    Parameters
    ----------
    source : Tensor
        The linear layer's input, uint8, shape (batch, time, inputs).
    layer : tuple of Tensor
        Weight of the layer, and its bias or None.
    recomputed : Recomputed
        Arrays to compute potentials from.
    gradients : tuple of Tensor
        Gradients w.r.t. the spikes, shape (batch, time, neurons), and w.r.t. the last potentials.
    neuron : Neuron
        Parameters; the surrogate is a single exponential.
    needs_x : bool
        Whether the gradient w.r.t. the layer's input is needed.
    """
    (weight, bias), (spikes, v_mem) = layer, gradients
    numbers, by_width = cpu.exponential_numbers(
        neuron, as_single_exponential(neuron.surrogate) or SingleExponential()
    )
    task = cpu_kernels.linear_backward_task(neuron.minimum is not None, neuron.to_zero, by_width)
    v_mem = v_mem.clone(memory_format=torch.contiguous_format)
    slices = _BatchSlices(source, spikes)
    by_row = {
        "source": source,
        "kept": recomputed.initial.contiguous(),
        "packed": recomputed.fired,
        "gradient": spikes.contiguous(),
        "state": v_mem,
        "sums": torch.empty_like(v_mem),
    }
    shared = {
        "inputs": source.shape[2],
        "weight": _columns(weight),
        "bias": _bias(bias, weight),
        "group": slices.group,
    }
    weights, x = slices.weights(), weight.new_empty(source.shape) if needs_x else None
    for rows, groups, current in slices:
        cpu.run_job(
            task,
            current.shape,
            neuron,
            numbers,
            input_gradient=current,
            weight_gradient=weights[groups],
            **{name: tensor[rows] for name, tensor in by_row.items()},
            **shared,
        )
        if x is not None:
            torch.mm(_flat(current), weight, out=x[rows].view(-1, x.shape[2]))
    return Gradients(x, _unpadded(weights, len(weight)), by_row["sums"].sum(0), v_mem)


def backward_kept(
    source: Tensor,
    weight: Tensor,
    kept: Tensor,
    gradients: tuple[Tensor, Tensor],
    neuron: Neuron,
    *,
    sparse: bool,
    needs_x: bool,
) -> Gradients:
    """Return the gradients of a linear layer and its neurons; membrane potentials were stored by the forward pass.

    Parameters
    ----------
    source : Tensor
        The linear layer's input, shape (batch, time, inputs), uint8 or float32.
    weight : Tensor
        Weight of the linear layer.
    kept : Tensor
        Potentials before resets, shape (batch, time, neurons).
    gradients, neuron, needs_x
        As for `backward_recomputed`, but the neuron may have any surrogate.
    sparse : bool
        The input is uint8 and mostly 0: the weight's gradient is a sum over non-zeros.
    """
    spikes, v_mem = gradients
    first, sums = torch.empty_like(v_mem), torch.empty_like(v_mem)
    slices = _BatchSlices(source, kept)
    weights = slices.weights() if sparse else torch.zeros_like(weight)
    x = weight.new_empty(source.shape) if needs_x else None
    for rows, groups, current in slices:
        first[rows] = cpu.backward(kept[rows], spikes[rows], v_mem[rows], neuron, current)[1]
        sums[rows] = current.sum(1)
        if sparse:
            _add_weights(source[rows], current, slices.group, weights[groups])
        else:
            weights.addmm_(_flat(current).t(), _flat(source[rows]).to(weight.dtype))
        if x is not None:
            torch.mm(_flat(current), weight, out=x[rows].view(-1, x.shape[2]))
    return Gradients(x, _unpadded(weights, len(weight)) if sparse else weights, sums.sum(0), first)


def input_gradient(weight: Tensor, output: Tensor) -> Tensor:
    """Return the gradient w.r.t. a linear layer's input. `output` is the gradient w.r.t. the layer's output, shape (batch, time, neurons)."""
    return _flat(output).mm(weight).view(*output.shape[:2], weight.shape[1])


def weight_gradient(source: Tensor, output: Tensor, *, sparse: bool) -> Tensor:
    """Return the gradient w.r.t. a linear layer's weight, shape (neurons, inputs).

    Parameters
    ----------
    source : Tensor
        Input of the layer, uint8, shape (batch, time, inputs).
    output : Tensor
        Gradient w.r.t. the layer's output, float32, shape (batch, time, neurons).
    sparse : bool
        Whether to sum over the non-zeros of the input; if false, matrices are multiplied.
    """
    if not sparse:
        return _flat(output).t().mm(_flat(source).to(output.dtype))
    slices = _BatchSlices(source, output)
    weights = slices.weights()
    _add_weights(source, output.contiguous(), slices.group, weights)
    return _unpadded(weights, output.shape[2])


class _BatchSlices:
    """Divides a batch into slices, so that a gradient is still in the processor's cache when it is read.

    For each slice, a kernel computes the gradient w.r.t. the layer's output. Then a matrix product reads this gradient.

    The gradient w.r.t. the weight is first summed within groups of samples. A slice has one or more whole groups. The groups do
    not depend on the number of threads, so the bits of the sums do not either.

    Parameters
    ----------
    source : Tensor
        The linear layer's input, shape (batch, time, inputs).
    output : Tensor
        Any tensor with the shape and dtype of the layer's output, (batch, time, neurons).
    """

    def __init__(self, source: Tensor, output: Tensor) -> None:
        self.group = max(1, -(-len(source) // _MOST_GROUPS))
        self._inputs, self._like = source.shape[2], output
        row = output.shape[1] * max(self._inputs, output.shape[2])
        rows = max(_SLICE_ELEMENTS // max(1, row), 2 * torch.get_num_threads())
        self._rows = -(-rows // self.group) * self.group

    def weights(self) -> Tensor:
        """Return zeros to which gradients w.r.t. the weight are added, a sum for each group of samples: shape (groups, inputs, padded outputs)."""
        batch, _, neurons = self._like.shape
        return self._like.new_zeros(-(-batch // self.group), self._inputs, -(-neurons // PAD) * PAD)

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield three things for each part of the batch: the slice of its samples; the slice of `weights` for the groups of these samples; and memory for the gradient w.r.t. the layer's output."""
        memory = torch.empty_like(self._like[: self._rows], memory_format=torch.contiguous_format)
        for start in range(0, len(self._like), self._rows):
            rows = slice(start, min(start + self._rows, len(self._like)))
            yield rows, slice(start // self.group, -(-rows.stop // self.group)), memory[: rows.stop - start]


def _add_weights(source: Tensor, output: Tensor, group: int, weights: Tensor) -> None:
    job = cpu.new_job(
        output.shape,
        inputs=source.shape[2],
        source=source,
        gradient=output,
        group=group,
        weight_gradient=weights,
    )
    run_task(cpu_kernels.weight_gradient_task(), job.ctypes.data, len(weights))


def _unpadded(weights: Tensor, neurons: int) -> Tensor:
    return weights.sum(0).t()[:neurons]


def _columns(weight: Tensor) -> Tensor:
    """Return a weight in the layout of the kernels: (inputs, outputs), padded."""
    return torch.nn.functional.pad(weight.t(), (0, -len(weight) % PAD)).contiguous()


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias.contiguous()


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[2])
