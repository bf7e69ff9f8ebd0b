"""Passes over time on the CPU: hands tensors to the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikestore.train.neurons import cpu_kernels, cpu_linear_kernels
from spikestore.train.neurons.compiled import STRIP
from spikestore.train.neurons.dynamics import Neuron, Pass
from spikestore.train.neurons.job import JOB
from spikestore.train.neurons.linear import Counts
from spikestore.train.neurons.surrogates import SingleExponential, as_single_exponential
from spikestore.train.neurons.threads import run_task
from spikestore.train.neurons.tiles import PAD

_PLACE = {name: place for place, name in enumerate(JOB)}
_MOST_GROUPS = 64
_BLOCK = 1 << 16
"""Elements for which torch evaluates a surrogate at once, so that its intermediate results stay in the cache."""


def forward(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool, record: bool
) -> tuple[Pass, Tensor | None]:
    """Return spikes and potentials, and what `backward` needs if `keep`; arguments as `integrate_and_fire`."""
    x, v_mem = x.contiguous(), v_mem.clone(memory_format=torch.contiguous_format)
    spikes = torch.empty_like(x)
    kept = torch.empty_like(x) if keep else None
    v_record = torch.empty_like(x) if record else None
    _run(
        cpu_kernels.forward_task(*_modes(neuron)),
        x.shape,
        neuron,
        x=x,
        state=v_mem,
        spikes=spikes,
        kept=kept,
        record=v_record,
    )
    return Pass(spikes, v_mem, v_record), kept


def forward_counting(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool
) -> tuple[Pass, Tensor | None, Counts | None]:
    """Return what `forward` does, and the spikes as counts; None if there are more than 255 in a step.

    Spikes are written over `x`, which is the caller's to give away: fresh memory costs as much as the pass itself.
    """
    spikes, v_mem = x.contiguous(), v_mem.clone(memory_format=torch.contiguous_format)
    packed = torch.empty_like(spikes, dtype=torch.uint8)
    kept = torch.empty_like(spikes) if keep else None
    tensors: dict[str, Any] = {"x": spikes, "state": v_mem, "spikes": spikes, "kept": kept, "packed": packed}
    job = _run(cpu_kernels.forward_task(*_modes(neuron)), x.shape, neuron, {}, **tensors)
    return Pass(spikes, v_mem), kept, _counts(job, packed)


def pack(x: Tensor) -> Counts | None:
    """Return a float32 tensor as counts; None if it holds something else than integers from 0 to 255."""
    x = x.detach().contiguous()
    packed = torch.empty_like(x, dtype=torch.uint8)
    job = _job(x.shape, x=x, packed=packed)
    run_task(cpu_linear_kernels.pack_task(), job.ctypes.data, len(x))
    return _counts(job, packed)


def _counts(job: Any, packed: Tensor) -> Counts | None:
    if job[_PLACE["unpackable"]]:
        return None
    return Counts(packed, int(job[_PLACE["fired"]]) / max(1, packed.numel()))


def backward(kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Return gradients by input and first potentials, from those by spikes and last potentials."""
    spikes, v_mem = spikes.contiguous(), v_mem.clone(memory_format=torch.contiguous_format)
    x = torch.empty_like(kept)
    exponential = as_single_exponential(neuron.surrogate)
    given = _evaluate(neuron, kept) if exponential is None else None
    numbers, by_width = _exponential(neuron, exponential) if exponential is not None else ({}, False)
    modes = _modes(neuron)
    if neuron.minimum is None or neuron.to_zero:
        modes = (False, False, False, neuron.to_zero)
    _run(
        cpu_kernels.backward_task(*modes, given is not None, by_width),
        kept.shape,
        neuron,
        numbers,
        kept=kept,
        gradient=spikes,
        input_gradient=x,
        state=v_mem,
        surrogate=given,
    )
    return x, v_mem


def backward_from_counts(
    counts: tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor],
    spikes: Tensor,
    v_mem: Tensor,
    neuron: Neuron,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return gradients by the neurons' input, by first potentials, and by weight and bias of the linear layer in front.

    Parameters
    ----------
    counts : tuple of Tensor
        The linear layer's input, uint8, shape (batch, time, inputs), its weight and bias; the potentials before
        the first step; the spikes, uint8, shape (batch, time, neurons).
    spikes, v_mem : Tensor
        Gradients by spikes and last potentials.
    neuron : Neuron
        Parameters; the surrogate is a single exponential.
    """
    source, weight, bias, initial, fired = counts
    exponential = as_single_exponential(neuron.surrogate)
    numbers, by_width = _exponential(neuron, exponential or SingleExponential())
    spikes, v_mem = spikes.contiguous(), v_mem.clone(memory_format=torch.contiguous_format)
    x, sums = torch.empty_like(spikes), torch.empty_like(v_mem)
    group, weights = _groups(source, spikes)
    _run(
        cpu_linear_kernels.linear_backward_task(neuron.minimum is not None, neuron.to_zero, by_width),
        spikes.shape,
        neuron,
        numbers,
        inputs=source.shape[2],
        source=source,
        weight=torch.nn.functional.pad(weight.t(), (0, -len(weight) % PAD)).contiguous(),
        bias=spikes.new_zeros(spikes.shape[2]) if bias is None else bias.contiguous(),
        kept=initial.contiguous(),
        packed=fired,
        gradient=spikes,
        input_gradient=x,
        state=v_mem,
        sums=sums,
        group=group,
        weight_gradient=weights,
    )
    return x, v_mem, weights.sum(0).t()[: len(weight)], sums.sum(0)


def weight_gradient(source: Tensor, output: Tensor) -> Tensor:
    """Return the gradient by a linear layer's weight, (outputs, inputs).

    Parameters
    ----------
    source : Tensor
        Its input, uint8, shape (batch, time, inputs).
    output : Tensor
        Gradient by its output, float32, shape (batch, time, outputs).
    """
    output = output.contiguous()
    group, weights = _groups(source, output)
    job = _job(
        output.shape,
        inputs=source.shape[2],
        source=source,
        gradient=output,
        group=group,
        weight_gradient=weights,
    )
    run_task(cpu_linear_kernels.weight_gradient_task(), job.ctypes.data, len(weights))
    return weights.sum(0).t()[: output.shape[2]]


def _groups(source: Tensor, output: Tensor) -> tuple[int, Tensor]:
    """Return how many rows of a batch are summed at once, and where: the same for any number of threads."""
    group = max(1, -(-len(source) // _MOST_GROUPS))
    return group, output.new_zeros(
        -(-len(source) // group), source.shape[2], -(-output.shape[2] // PAD) * PAD
    )


def _exponential(neuron: Neuron, exponential: SingleExponential) -> tuple[dict[str, float], bool]:
    """Return scale and width as torch computes them, and whether the width is given by its inverse."""
    width = neuron.threshold * exponential.grad_width
    by_width = _is_power_of_two(float(width))
    numbers = {
        "scale": float(exponential.grad_scale / width),
        "width": 1 / float(width) if by_width else float(width),
    }
    return numbers, by_width


def _job(shape: torch.Size, **words: Tensor | int | None) -> Any:
    """Return the words of a job."""
    job = np.zeros(len(JOB), np.int64)
    job[_PLACE["batch"]], job[_PLACE["time"]], job[_PLACE["neurons"]] = shape
    for name, word in words.items():
        job[_PLACE[name]] = word.data_ptr() if isinstance(word, Tensor) else word or 0
    return job


def _run(
    task: Any, shape: torch.Size, neuron: Neuron, more: dict[str, float] | None = None, **words: Any
) -> Any:
    """Run a task on a job, and return the job's words. The caller holds on to the tensors."""
    job, threshold = _job(shape, **words), float(neuron.threshold)
    numbers = {
        "threshold": threshold,
        "inverse": 1 / threshold,
        "reset": threshold if neuron.reset is None else neuron.reset,
        "minimum": -np.inf if neuron.minimum is None else float(neuron.minimum),
        **(more or {}),
    }
    for name, number in numbers.items():
        job.view(np.float64)[_PLACE[name]] = number
    run_task(task, job.ctypes.data, shape[0] * -(-shape[2] // STRIP))
    return job


def _modes(neuron: Neuron) -> tuple[bool, bool, bool, bool]:
    """Return single, by_product, bounded and to_zero, as the tasks take them; where a mode changes nothing it is False."""
    product = not neuron.single and _is_power_of_two(float(neuron.threshold))
    return neuron.single, product, neuron.minimum is not None, neuron.to_zero


def _is_power_of_two(value: float) -> bool:
    # Not the extremes, whose inverse is no normal number.
    return float(np.frexp(value)[0]) == 0.5 and 2.0**-100 < value < 2.0**100


def _evaluate(neuron: Neuron, kept: Tensor) -> Tensor:
    """Return the surrogate at each membrane potential."""
    result, flat = torch.empty_like(kept), kept.view(-1)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        result.view(-1)[block] = neuron.surrogate(flat[block], neuron.threshold)
    return result
