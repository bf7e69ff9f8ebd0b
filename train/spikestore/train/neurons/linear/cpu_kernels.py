"""Compiled passes for linear layers whose input consists of spike counts; some passes also compute the neurons after the layer.

The docstring of `spikestore.train.neurons.linear` has the equations, and `spikestore.train.neurons.cpu.kernels` explains strips and jobs. For sums over
the batch, a strip is a group of rows of the batch, so that the order of sums does not depend on the number of threads.

Kernels access memory by address: numba would count references of arrays inside loops, and LLVM could not vectorise loops over
slices of arrays. ``active`` lists the non-zero inputs of a time step.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from spikestore.train.neurons.cpu import job as at
from spikestore.train.neurons.cpu.compile import (
    MOST_PACKED,
    STRIP,
    UNPACKED,
    ZERO,
    add_to,
    floats,
    inner,
    int64s,
    keep,
    octets,
    take,
    task,
)
from spikestore.train.neurons.cpu.neuron_step import (
    after_reset,
    not_below,
    slope_at,
    through_reset,
    through_spike,
)
from spikestore.train.neurons.cpu.simd import PAD, count_packed, gather, list_active, scatter

FEW = 16
"""Number of steps whose gradients are summed separately before this sum is added to the total; this keeps rounding errors small."""


@cache
def pack_task() -> Any:
    """Return a task that writes ``x`` to ``packed`` as uint8, and 255 for each value that is not a whole number from 0 to 254.

    ``fired`` is the number of elements of ``packed`` that are not 0, and ``unpackable`` the number of those that are 255.
    """

    def pack(data: Any) -> None:
        job = carray(data, at.WORDS, np.int64)
        time, neurons = job[at.TIME], job[at.NEURONS]
        fired: Any = 0
        unpackable: Any = 0
        while True:
            row = take(job)
            if row >= job[at.BATCH]:
                break
            for step in range(time):
                offset = (row * time + step) * neurons
                x = carray(floats(job[at.X] + 4 * offset), neurons)
                packed = carray(octets(job[at.PACKED] + offset), neurons)
                for i in range(neurons):
                    value = x[i]
                    fits = (ZERO <= value <= MOST_PACKED) and np.trunc(value) == value
                    packed[i] = np.uint8(np.int32(value if fits else UNPACKED))
                not_zero, too_large = count_packed(packed)
                fired += not_zero
                unpackable += too_large
        add_to(job, at.UNPACKABLE, unpackable)
        add_to(job, at.FIRED, fired)

    return task(pack)


@inner
def padded(count: int) -> int:
    """Return the smallest multiple of `PAD` that is not below `count`."""
    return (count + PAD - 1) // PAD * PAD


@cache
def linear_task() -> Any:
    """Return a task that computes a linear layer's output.

    `linear_backward_task` recomputes this output. Both tasks add in the same order, so their results have the same bits.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``source``, uint8, shape (batch, inputs); ``weight``, shape (inputs, padded neurons); ``bias``. Writes
        ``x``, shape (batch, padded neurons).
    """

    def add_up(data: Any) -> None:
        job = carray(data, at.WORDS, np.int64)
        neurons, inputs = job[at.NEURONS], job[at.INPUTS]
        width = padded(neurons)
        numbers = np.empty(inputs + 1, np.int64)
        active = carray(int64s(numbers.ctypes.data), inputs + 1)
        bias = carray(floats(job[at.BIAS]), neurons)
        while True:
            row = take(job)
            if row >= job[at.BATCH]:
                break
            source = carray(octets(job[at.SOURCE] + row * inputs), inputs)
            x = carray(floats(job[at.X] + 4 * row * width), width)
            count = list_active(source, active)
            gather(active, count, source, job[at.WEIGHT], width, x)
            for i in range(neurons):
                x[i] += bias[i]
        keep(numbers)

    return task(add_up)


@inner
def _move_sums(sums: Any, into: Any) -> None:
    """Add `sums` to `into`, then set `sums` to 0."""
    for i in range(len(sums)):
        into[i] += sums[i]
    for i in range(len(sums)):
        sums[i] = ZERO


@cache
def weight_gradient_task() -> Any:
    """Return a task that computes the gradient w.r.t. the weight of a linear layer whose input consists of counts.

    Returns
    -------
    numba.core.ccallback.CFunc
        The task reads ``source``, uint8, shape (batch, time, inputs), and ``gradient``, shape (batch, time, neurons). It
        divides the batch into groups of ``group`` samples, and adds the gradient of each group to ``weight_gradient``, shape
        (groups, inputs, padded neurons).
    """

    def weight_gradient(data: Any) -> None:
        job = carray(data, at.WORDS, np.int64)
        time, neurons, inputs = job[at.TIME], job[at.NEURONS], job[at.INPUTS]
        width = padded(neurons)
        memory, numbers = np.zeros((inputs + 1) * width, np.float32), np.empty(inputs + 1, np.int64)
        row_sums_at = memory.ctypes.data
        row_sums = carray(floats(row_sums_at), inputs * width)
        active = carray(int64s(numbers.ctypes.data), inputs + 1)
        padded_gradient = carray(floats(row_sums_at + 4 * inputs * width), width)
        while True:
            group = take(job)
            if group * job[at.GROUP] >= job[at.BATCH]:
                break
            sums = carray(floats(job[at.WEIGHT_GRADIENT] + 4 * group * inputs * width), inputs * width)
            for row in range(group * job[at.GROUP], min((group + 1) * job[at.GROUP], job[at.BATCH])):
                for step in range(row * time, (row + 1) * time):
                    source = carray(octets(job[at.SOURCE] + step * inputs), inputs)
                    count = list_active(source, active)
                    if count > 0:
                        gradient = carray(floats(job[at.GRADIENT] + 4 * step * neurons), neurons)
                        for i in range(neurons):
                            padded_gradient[i] = gradient[i]
                        scatter(active, count, source, row_sums_at, width, padded_gradient)
                # In two steps, which keeps rounding errors small.
                _move_sums(row_sums, sums)
        keep(memory)
        keep(numbers)

    return task(weight_gradient)


@cache
def linear_backward_task(bounded: bool, to_zero: bool, by_width: bool) -> Any:
    """Return a task for the backward pass of a linear layer and its neurons; it recomputes the potentials of all steps.

    Parameters
    ----------
    bounded, to_zero, by_width : bool
        See `backward_task`.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``source``, the linear layer's input, uint8, shape (batch, time, inputs); ``weight``, shape (inputs,
        padded neurons); ``bias``; ``packed``, the spikes; ``gradient``, the gradient w.r.t. the spikes; and ``kept``, which
        unlike in `backward_task` has only the potentials before the first step: shape (batch, neurons).

        Writes the gradient w.r.t. the neurons' input to ``input_gradient``, and the sums of this gradient over time to
        ``sums``, shape (batch, neurons). Adds the gradient w.r.t. the weight to ``weight_gradient``; for its shape, see
        `weight_gradient_task`. ``state`` is as in `backward_task`.
    """

    def backward(data: Any) -> None:
        job, numbers = carray(data, at.WORDS, np.int64), carray(data, at.WORDS, np.float64)
        time, neurons, inputs = job[at.TIME], job[at.NEURONS], job[at.INPUTS]
        threshold = np.float32(numbers[at.THRESHOLD])
        reset, minimum = np.float32(numbers[at.RESET]), np.float32(numbers[at.MINIMUM])
        scale, width = np.float32(numbers[at.SCALE]), np.float32(numbers[at.WIDTH])
        strips = (neurons + STRIP - 1) // STRIP
        row_bytes = 4 * min(STRIP, padded(neurons))  # sums of one row of a strip of neurons
        memory = (
            np.zeros((time + 3) * row_bytes // 4, np.float32),
            np.zeros(inputs * row_bytes // 4, np.float32),
        )
        numbers = np.empty(inputs + 1, np.int64)
        potentials_at, weight_sums_at = memory[0].ctypes.data, memory[1].ctypes.data
        active = carray(int64s(numbers.ctypes.data), inputs + 1)
        while True:
            strip = take(job)
            group, first = strip // strips, strip % strips * STRIP
            if group * job[at.GROUP] >= job[at.BATCH]:
                break
            count = min(STRIP, neurons - first)
            wide = padded(count)
            bias = carray(floats(job[at.BIAS] + 4 * first), count)
            state = carray(floats(potentials_at + row_bytes * time), count)  # v'
            padded_gradient = carray(floats(potentials_at + row_bytes * (time + 1)), wide)
            recent_sums = carray(floats(potentials_at + row_bytes * (time + 2)), count)
            for row in range(group * job[at.GROUP], min((group + 1) * job[at.GROUP], job[at.BATCH])):
                # 1. Potentials of all steps, from the first to the last.
                initial = carray(floats(job[at.KEPT] + 4 * (row * neurons + first)), count)
                for i in range(count):
                    state[i] = initial[i]
                for step in range(time):
                    packed = carray(octets(job[at.PACKED] + (row * time + step) * neurons + first), count)
                    source = carray(octets(job[at.SOURCE] + (row * time + step) * inputs), inputs)
                    v = carray(floats(potentials_at + row_bytes * step), wide)
                    active_count = list_active(source, active)
                    gather(active, active_count, source, job[at.WEIGHT] + 4 * first, padded(neurons), v)
                    for i in range(count):
                        before = state[i] + (v[i] + bias[i])
                        v[i] = before
                        after = after_reset(before, np.float32(packed[i]), reset, to_zero)
                        state[i] = not_below(after, minimum) if bounded else after
                # 2. Gradients, from the last step to the first, with the sums for the weight's gradient.
                later = carray(floats(job[at.STATE] + 4 * (row * neurons + first)), count)  # d(t + 1)
                sums = carray(floats(job[at.SUMS] + 4 * (row * neurons + first)), count)
                for i in range(count):
                    sums[i] = ZERO
                for step in range(time - 1, -1, -1):
                    offset = (row * time + step) * neurons + first
                    gradient = carray(floats(job[at.GRADIENT] + 4 * offset), count)
                    input_gradient = carray(floats(job[at.INPUT_GRADIENT] + 4 * offset), count)
                    packed = carray(octets(job[at.PACKED] + offset), count)
                    source = carray(octets(job[at.SOURCE] + (row * time + step) * inputs), inputs)
                    v = carray(floats(potentials_at + row_bytes * step), wide)
                    # Three loops: with more tensors in one loop, the compiler can't prove that they don't overlap.
                    if to_zero or bounded:
                        for i in range(count):
                            spike = np.float32(packed[i])
                            later[i] = through_reset(later[i], v[i], spike, reset, minimum, bounded, to_zero)
                    for i in range(count):
                        slope = slope_at(v[i], threshold, scale, width, by_width)
                        d = through_spike(later[i], gradient[i], slope, reset, to_zero)
                        later[i] = d
                        input_gradient[i] = d
                    for i in range(count):
                        recent_sums[i] += input_gradient[i]
                        padded_gradient[i] = input_gradient[i]
                    if step % FEW == 0:
                        _move_sums(recent_sums, sums)
                    active_count = list_active(source, active)
                    scatter(active, active_count, source, weight_sums_at, wide, padded_gradient)
                # 3. Add the row's sums to those of its group.
                for k in range(inputs):
                    into = job[at.WEIGHT_GRADIENT] + 4 * ((group * inputs + k) * padded(neurons) + first)
                    weight_sums = carray(floats(weight_sums_at + 4 * k * wide), wide)
                    _move_sums(weight_sums, carray(floats(into), wide))
        keep(memory)
        keep(numbers)

    return task(backward)
