"""Forward and backward passes over time on the CPU: functions that call the compiled kernels with tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikestore.store_schemas.errors import UsageError
from spikestore.train.neurons.cpu import kernels as cpu_kernels
from spikestore.train.neurons.cpu.compile import STRIP
from spikestore.train.neurons.cpu.job import JOB
from spikestore.train.neurons.cpu.openmp import run_task
from spikestore.train.neurons.neuron import Neuron, NeuronOutput
from spikestore.train.neurons.surrogates import SingleExponential, as_single_exponential

_PLACE = {name: place for place, name in enumerate(JOB)}
_OCTETS = ("packed", "source")
_BLOCK = 1 << 16
"""Elements per evaluation of a surrogate by torch, so that intermediate results stay in the cache."""


def forward(
    x: Tensor, v_mem: Tensor, neuron: Neuron, *, keep: bool, record: bool
) -> tuple[NeuronOutput, Tensor | None]:
    """Return the result of the forward pass, and the membrane potentials that `backward` needs (None if `keep` is false).

    If `record` is true, the result has the membrane potentials of all steps (`NeuronOutput.v_record`).
    """
    x, v_mem = x.contiguous(), v_mem.clone(memory_format=torch.contiguous_format)
    spikes = torch.empty_like(x)
    kept = torch.empty_like(x) if keep else None
    v_record = torch.empty_like(x) if record else None
    run_job(
        cpu_kernels.forward_task(*modes_of(neuron)),
        x.shape,
        neuron,
        x=x,
        state=v_mem,
        spikes=spikes,
        kept=kept,
        record=v_record,
    )
    return NeuronOutput(spikes, v_mem, v_record), kept


def backward(
    kept: Tensor, spikes: Tensor, v_mem: Tensor, neuron: Neuron, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the gradients w.r.t. the input (written to `out` if given) and w.r.t. the initial membrane potentials.

    `spikes` and `v_mem` are the gradients w.r.t. the spikes and the last membrane potentials.
    """
    spikes, v_mem = spikes.contiguous(), v_mem.clone(memory_format=torch.contiguous_format)
    x = torch.empty_like(kept) if out is None else out
    exponential = as_single_exponential(neuron.surrogate)
    slopes = _evaluate(neuron, kept) if exponential is None else None
    numbers, by_width = exponential_numbers(neuron, exponential) if exponential is not None else ({}, False)
    modes = modes_of(neuron)
    if neuron.to_zero:
        modes = (neuron.single, False, neuron.minimum is not None, True)
    elif neuron.minimum is None:
        modes = (False, False, False, False)
    run_job(
        cpu_kernels.backward_task(*modes, slopes is not None, by_width),
        kept.shape,
        neuron,
        numbers,
        kept=kept,
        gradient=spikes,
        input_gradient=x,
        state=v_mem,
        surrogate=slopes,
    )
    return x, v_mem


def word(job: Any, name: str) -> int:
    """Return the number with this name in a job, which is the argument of a compiled task; `JOB` has the names."""
    return int(job[_PLACE[name]])


def exponential_numbers(neuron: Neuron, exponential: SingleExponential) -> tuple[dict[str, float], bool]:
    """Return scale and width, computed as in torch, and whether 1 / width is returned instead of the width.

    For a width that is a power of two, a multiplication by 1 / width gives the same bits as a division.
    """
    width = neuron.threshold * exponential.grad_width
    by_width = _is_power_of_two(float(width))
    numbers = {
        "scale": float(exponential.grad_scale / width),
        "width": 1 / float(width) if by_width else float(width),
    }
    return numbers, by_width


def new_job(shape: torch.Size, **words: Tensor | int | None) -> Any:
    """Return a job for a compiled task: an int64 array that contains the sizes in `shape` and each of `words`. A tensor is replaced by its address."""
    job = np.zeros(len(JOB), np.int64)
    job[_PLACE["batch"]], job[_PLACE["time"]], job[_PLACE["neurons"]] = shape
    for name, word in words.items():
        # Kernels read memory by address: another dtype would be misread.
        expected = torch.uint8 if name in _OCTETS else torch.float32
        if isinstance(word, Tensor) and (word.dtype != expected or not word.is_contiguous()):
            raise TypeError(
                f"{name} must be a contiguous tensor of {expected}, got {word.dtype} with strides {word.stride()}"
            )
        job[_PLACE[name]] = word.data_ptr() if isinstance(word, Tensor) else word or 0
    return job


def run_job(
    task: Any, shape: torch.Size, neuron: Neuron, more: dict[str, float] | None = None, **words: Any
) -> Any:
    """Run a compiled task, and return its job: the array of arguments (see `new_job`), which the task may have changed.

    Raises
    ------
    UsageError
        The threshold of the neuron is not above 0.
    """
    job, threshold = new_job(shape, **words), float(neuron.threshold)
    if not threshold > 0:
        raise UsageError(f"spike_threshold must be above 0, got {threshold}")
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


def modes_of(neuron: Neuron) -> tuple[bool, bool, bool, bool]:
    """Return the arguments `single`, `by_product`, `bounded` and `to_zero` of `forward_task` for `neuron`."""
    product = not neuron.single and _is_power_of_two(float(neuron.threshold))
    return neuron.single, product, neuron.minimum is not None, neuron.to_zero


def _is_power_of_two(value: float) -> bool:
    # Without the extremes, whose inverse is not a normal number.
    return float(np.frexp(value)[0]) == 0.5 and 2.0**-100 < value < 2.0**100


def _evaluate(neuron: Neuron, kept: Tensor) -> Tensor:
    """Return the derivative that the surrogate gives at each membrane potential; `kept` has these potentials."""
    result, flat = torch.empty_like(kept), kept.view(-1)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        result.view(-1)[block] = neuron.surrogate(flat[block], neuron.threshold)
    return result
