"""Linear layers and the neurons behind them on the CPU: hands tensors to the compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spikestore.train.neurons.cpu import kernels as cpu_kernels
from spikestore.train.neurons.cpu import passes as cpu
from spikestore.train.neurons.cpu.openmp import run_task
from spikestore.train.neurons.cpu.simd import PAD
from spikestore.train.neurons.linear import cpu_kernels as cpu_linear_kernels
from spikestore.train.neurons.linear.counts import Counts
from spikestore.train.neurons.neuron import Neuron, Pass
from spikestore.train.neurons.surrogates import SingleExponential, as_single_exponential

_MOST_GROUPS = 64
_PIECE = 1 << 21
"""Elements of a gradient that kernels and torch's matrix products pass on at once (measured). More is fresh memory,
which is slow; of less, overheads show."""
_EDGE, _MIDDLE = 32, 64
"""Rows at either end of a matrix product that are looked at, and rows between."""


class Recomputed(NamedTuple):
    """From what membrane potentials are computed again: the first ones, float32, and the spikes, uint8."""

    initial: Tensor
    fired: Tensor


class Gradients(NamedTuple):
    """Gradients of a linear layer and the neurons behind: by its input, weight and bias, and by first potentials."""

    x: Tensor | None
    weight: Tensor
    bias: Tensor
    v_mem: Tensor


def pack(x: Tensor) -> Counts | None:
    """Return a float32 tensor as counts; None if it holds something else than integers from 0 to 254."""
    x = x.detach().contiguous()
    packed = torch.empty_like(x, dtype=torch.uint8)
    job = cpu.new_job(x.shape, x=x, packed=packed)
    run_task(cpu_linear_kernels.pack_task(), job.ctypes.data, len(x))
    return _counts(job, packed)


def forward_counting(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool
) -> tuple[Pass, Tensor | None, Counts | None]:
    """Return what `cpu.forward` does, and the spikes as counts; None if there are more than 254 in a step.

    Spikes are written over `x`, which is the caller's to give away: fresh memory costs as much as the pass itself.
    """
    # What a linear layer gives may be a view, which nobody could change in place; this is none.
    spikes = x.new_empty(0).set_(x.contiguous())  # type: ignore[call-overload]
    v_mem = v_mem.clone(memory_format=torch.contiguous_format)
    packed = torch.empty_like(spikes, dtype=torch.uint8)
    kept = torch.empty_like(spikes) if keep else None
    tensors: dict[str, Any] = {"x": spikes, "state": v_mem, "spikes": spikes, "kept": kept, "packed": packed}
    job = cpu.run_job(cpu_kernels.forward_task(*cpu.modes_of(neuron)), x.shape, neuron, {}, **tensors)
    return Pass(spikes, v_mem), kept, _counts(job, packed)


def _counts(job: Any, packed: Tensor) -> Counts | None:
    if cpu.word(job, "unpackable"):
        return None
    return Counts(packed, cpu.word(job, "fired") / max(1, packed.numel()))


def is_repeatable(source: Tensor, weight: Tensor, bias: Tensor | None, output: Tensor) -> bool:
    """Whether sums over counts give what the matrix product gave, to the last bit.

    They do where the library adds products up in their order; which orders it takes depends on its version, the
    processor and the layer's size. So rows at both ends and between are compared, all if there are few.

    Parameters
    ----------
    source : Tensor
        Input of the linear layer, uint8, shape (batch, time, inputs).
    weight, bias : Tensor or None
        Of the layer.
    output : Tensor
        What it gave, shape (batch, time, neurons).
    """
    source, output = source.view(-1, source.shape[2]), output.view(-1, output.shape[2])
    if len(source) > 2 * _EDGE + _MIDDLE:
        places = _looked_at(len(source))
        source, output = source[places], output[places]
    columns, offsets = _columns(weight), _bias(bias, weight)
    again = output.new_empty(len(source), columns.shape[1])
    job = cpu.new_job(
        torch.Size([len(source), 1, output.shape[1]]),
        inputs=source.shape[1],
        source=source,
        weight=columns,
        bias=offsets,
        x=again,
    )
    cpu_linear_kernels.linear_task().ctypes(job.ctypes.data)
    return torch.equal(again[:, : output.shape[1]], output)


@lru_cache(maxsize=64)
def _looked_at(rows: int) -> Tensor:
    between = torch.linspace(_EDGE, rows - 1 - _EDGE, _MIDDLE).long()
    return torch.cat([torch.arange(_EDGE), between, torch.arange(rows - _EDGE, rows)])


def backward_again(
    source: Tensor,
    layer: tuple[Tensor, Tensor | None],
    recomputed: Recomputed,
    gradients: tuple[Tensor, Tensor],
    neuron: Neuron,
    *,
    needs_x: bool,
) -> Gradients:
    """Return gradients of a linear layer and the neurons behind, whose potentials are computed again.

    Parameters
    ----------
    source : Tensor
        The linear layer's input, uint8, shape (batch, time, inputs).
    layer : tuple of Tensor
        Its weight, and its bias or None.
    recomputed : Recomputed
        From what to compute potentials.
    gradients : tuple of Tensor
        By spikes, shape (batch, time, neurons), and last potentials.
    neuron : Neuron
        Parameters; the surrogate is a single exponential.
    needs_x : bool
        Whether the gradient by the layer's input is wanted.
    """
    (weight, bias), (spikes, v_mem) = layer, gradients
    numbers, by_width = cpu.exponential_numbers(
        neuron, as_single_exponential(neuron.surrogate) or SingleExponential()
    )
    task = cpu_linear_kernels.linear_backward_task(neuron.minimum is not None, neuron.to_zero, by_width)
    v_mem = v_mem.clone(memory_format=torch.contiguous_format)
    pieces = _Pieces(source, spikes)
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
        "group": pieces.group,
    }
    weights, x = pieces.weights(), weight.new_empty(source.shape) if needs_x else None
    for rows, groups, current in pieces:
        cpu.run_job(
            task,
            current.shape,
            neuron,
            numbers,
            input_gradient=current,
            weight_gradient=weights[groups],
            **{name: one[rows] for name, one in by_row.items()},
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
    """Return gradients of a linear layer and the neurons behind, from potentials that were kept.

    Parameters
    ----------
    source : Tensor
        The linear layer's input, shape (batch, time, inputs), uint8 or float32.
    weight : Tensor
        Of the linear layer.
    kept : Tensor
        Potentials before resets, shape (batch, time, neurons).
    gradients, neuron, needs_x
        As for `backward_again`, with any surrogate.
    sparse : bool
        The input is uint8 and mostly 0: the weight's gradient is summed over what is not.
    """
    spikes, v_mem = gradients
    first, sums = torch.empty_like(v_mem), torch.empty_like(v_mem)
    pieces = _Pieces(source, kept)
    weights = pieces.weights() if sparse else torch.zeros_like(weight)
    x = weight.new_empty(source.shape) if needs_x else None
    for rows, groups, current in pieces:
        first[rows] = cpu.backward(kept[rows], spikes[rows], v_mem[rows], neuron, current)[1]
        sums[rows] = current.sum(1)
        if sparse:
            _add_weights(source[rows], current, pieces.group, weights[groups])
        else:
            weights.addmm_(_flat(current).t(), _flat(source[rows]).to(weight.dtype))
        if x is not None:
            torch.mm(_flat(current), weight, out=x[rows].view(-1, x.shape[2]))
    return Gradients(x, _unpadded(weights, len(weight)) if sparse else weights, sums.sum(0), first)


def weight_gradient(source: Tensor, output: Tensor) -> Tensor:
    """Return the gradient by a linear layer's weight, (outputs, inputs).

    Parameters
    ----------
    source : Tensor
        Its input, uint8, shape (batch, time, inputs).
    output : Tensor
        Gradient by its output, float32, shape (batch, time, outputs).
    """
    pieces = _Pieces(source, output)
    weights = pieces.weights()
    _add_weights(source, output.contiguous(), pieces.group, weights)
    return _unpadded(weights, output.shape[2])


class _Pieces:
    """A batch in pieces: rows, the groups of rows that are summed at once, and room for a gradient.

    Groups are the same for any number of threads, and so are sums.
    """

    def __init__(self, source: Tensor, output: Tensor) -> None:
        self.group = max(1, -(-len(source) // _MOST_GROUPS))
        self._inputs, self._like = source.shape[2], output
        row = output.shape[1] * max(self._inputs, output.shape[2])
        rows = max(_PIECE // max(1, row), 2 * torch.get_num_threads())
        self._rows = -(-rows // self.group) * self.group

    def weights(self) -> Tensor:
        """Return zeros for the gradient by the weight, shape (groups, inputs, padded outputs)."""
        batch, _, neurons = self._like.shape
        return self._like.new_zeros(-(-batch // self.group), self._inputs, -(-neurons // PAD) * PAD)

    def __iter__(self) -> Iterator[tuple[slice, slice, Tensor]]:
        room = torch.empty_like(self._like[: self._rows], memory_format=torch.contiguous_format)
        for start in range(0, len(self._like), self._rows):
            rows = slice(start, min(start + self._rows, len(self._like)))
            yield rows, slice(start // self.group, -(-rows.stop // self.group)), room[: rows.stop - start]


def _add_weights(source: Tensor, output: Tensor, group: int, weights: Tensor) -> None:
    job = cpu.new_job(
        output.shape,
        inputs=source.shape[2],
        source=source,
        gradient=output,
        group=group,
        weight_gradient=weights,
    )
    run_task(cpu_linear_kernels.weight_gradient_task(), job.ctypes.data, len(weights))


def _unpadded(weights: Tensor, neurons: int) -> Tensor:
    return weights.sum(0).t()[:neurons]


def _columns(weight: Tensor) -> Tensor:
    """Return a weight as the kernels read it: (inputs, outputs), padded."""
    return torch.nn.functional.pad(weight.t(), (0, -len(weight) % PAD)).contiguous()


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight)) if bias is None else bias.contiguous()


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[2])
