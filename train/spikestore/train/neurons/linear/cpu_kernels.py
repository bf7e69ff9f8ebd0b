"""Compiled passes for linear layers whose input is counts, alone and together with the neurons behind.

Strips and jobs are as in `cpu_kernels`; where sums go over the batch, a strip has a group of its rows, so that the
order of sums does not depend on the number of threads.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray  # type: ignore[attr-defined]

from spikestore.train.neurons.cpu.compile import (
    MOST_PACKED,
    STRIP,
    UNPACKED,
    ZERO,
    add_to,
    floats,
    inner,
    keep,
    octets,
    places_at,
    take,
    task,
)
from spikestore.train.neurons.cpu.job import (
    BATCH,
    BIAS,
    FIRED,
    GRADIENT,
    GROUP,
    INPUT_GRADIENT,
    INPUTS,
    KEPT,
    MINIMUM,
    NEURONS,
    PACKED,
    RESET,
    SCALE,
    SOURCE,
    STATE,
    SUMS,
    THRESHOLD,
    TIME,
    UNPACKABLE,
    WEIGHT,
    WEIGHT_GRADIENT,
    WIDTH,
    WORDS,
    X,
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
"""Steps whose gradients are summed before they are added to those of others, so that rounding errors stay small."""


@cache
def pack_task() -> Any:
    """Return the task that writes ``x`` to ``packed`` as uint8; ``fired`` and ``unpackable`` as `forward_task`."""

    def pack(data: Any) -> None:
        job = carray(data, WORDS, np.int64)
        neurons, rows = job[NEURONS], job[TIME]
        fired: Any = 0
        unpackable: Any = 0
        while True:
            row = take(job)
            if row >= job[BATCH]:
                break
            for step in range(rows):
                place = (row * rows + step) * neurons
                x = carray(floats(job[X] + 4 * place), neurons)
                packed = carray(octets(job[PACKED] + place), neurons)
                for i in range(neurons):
                    value = x[i]
                    fits = (ZERO <= value <= MOST_PACKED) and np.trunc(value) == value
                    packed[i] = np.uint8(np.int32(value if fits else UNPACKED))
                some, odd = count_packed(packed)
                fired += some
                unpackable += odd
        add_to(job, UNPACKABLE, unpackable)
        add_to(job, FIRED, fired)

    return task(pack)


@inner
def padded(count: int) -> int:
    """Return the next multiple of `PAD`."""
    return (count + PAD - 1) // PAD * PAD


@cache
def linear_task() -> Any:
    """Return the task that adds up what a linear layer gives, in the order in which `linear_backward_task` does.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``source``, uint8, shape (batch, inputs); ``weight``, shape (inputs, padded neurons); ``bias``. Writes
        ``x``, shape (batch, padded neurons).
    """

    def add_up(data: Any) -> None:
        job = carray(data, WORDS, np.int64)
        neurons, inputs = job[NEURONS], job[INPUTS]
        width = padded(neurons)
        places = np.empty(inputs + 1, np.int64)
        active = carray(places_at(places.ctypes.data), inputs + 1)
        bias = carray(floats(job[BIAS]), neurons)
        while True:
            row = take(job)
            if row >= job[BATCH]:
                break
            source = carray(octets(job[SOURCE] + row * inputs), inputs)
            x = carray(floats(job[X] + 4 * row * width), width)
            some = list_active(source, active)
            gather(active, some, source, job[WEIGHT], width, x)
            for i in range(neurons):
                x[i] += bias[i]
        keep(places)

    return task(add_up)


@inner
def _pour(values: Any, into: Any) -> None:
    """Add `values` to `into`, and set them to 0."""
    for i in range(len(values)):
        into[i] += values[i]
    for i in range(len(values)):
        values[i] = ZERO


@cache
def weight_gradient_task() -> Any:
    """Return the gradient by a linear layer's weight, from counts.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``source``, uint8, shape (batch, time, inputs), and ``gradient``, shape (batch, time, neurons). Adds
        to ``weight_gradient``, shape (groups, inputs, padded neurons): a group is ``group`` rows of the batch.
    """

    def weight_gradient(data: Any) -> None:
        job = carray(data, WORDS, np.int64)
        time, neurons, inputs = job[TIME], job[NEURONS], job[INPUTS]
        width = padded(neurons)
        # Worked on by address: numba counts the references of its own arrays all the time.
        rooms, places = np.zeros((inputs + 1) * width, np.float32), np.empty(inputs + 1, np.int64)
        at = rooms.ctypes.data
        totals, active = carray(floats(at), inputs * width), carray(places_at(places.ctypes.data), inputs + 1)
        values = carray(floats(at + 4 * inputs * width), width)
        while True:
            group = take(job)
            if group * job[GROUP] >= job[BATCH]:
                break
            sums = carray(floats(job[WEIGHT_GRADIENT] + 4 * group * inputs * width), inputs * width)
            for row in range(group * job[GROUP], min((group + 1) * job[GROUP], job[BATCH])):
                for step in range(row * time, (row + 1) * time):
                    source = carray(octets(job[SOURCE] + step * inputs), inputs)
                    some = list_active(source, active)
                    if some > 0:
                        gradient = carray(floats(job[GRADIENT] + 4 * step * neurons), neurons)
                        for i in range(neurons):
                            values[i] = gradient[i]
                        scatter(active, some, source, at, width, values)
                # In two steps, so that rounding errors stay small.
                _pour(totals, sums)
        keep(rooms)
        keep(places)

    return task(weight_gradient)


@cache
def linear_backward_task(bounded: bool, to_zero: bool, by_width: bool) -> Any:
    """Return the backward pass of neurons behind a linear layer, from counts alone.

    Membrane potentials are computed again: the linear layer's input is mostly zeros, so that adding up the few
    columns of its weight that count costs less than reading potentials back would.

    Parameters
    ----------
    bounded, to_zero, by_width : bool
        As for `backward_task`.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``source``, the linear layer's input, uint8, shape (batch, time, inputs); ``weight``, shape (inputs,
        padded neurons); ``bias``; ``packed``, the spikes; ``kept``, the potentials before the first step, shape (batch,
        neurons); and ``gradient``. Writes ``input_gradient`` and its sums over time to ``sums``, shape (batch,
        neurons); ``weight_gradient`` as `weight_gradient_task`. ``state`` as for `backward_task`.
    """

    def backward(data: Any) -> None:
        job, numbers = carray(data, WORDS, np.int64), carray(data, WORDS, np.float64)
        time, neurons, inputs = job[TIME], job[NEURONS], job[INPUTS]
        threshold = np.float32(numbers[THRESHOLD])
        reset, minimum = np.float32(numbers[RESET]), np.float32(numbers[MINIMUM])
        scale, width = np.float32(numbers[SCALE]), np.float32(numbers[WIDTH])
        strips = (neurons + STRIP - 1) // STRIP
        # What is worked on is made from addresses, like tensors: numba's own arrays count their references all the
        # time, and of slices the compiler knows too little.
        room = min(STRIP, padded(neurons))
        rooms = np.zeros((time + 3) * room, np.float32), np.zeros(inputs * room, np.float32)
        places = np.empty(inputs + 1, np.int64)
        at_v, at_totals = rooms[0].ctypes.data, rooms[1].ctypes.data
        active = carray(places_at(places.ctypes.data), inputs + 1)
        while True:
            piece = take(job)
            group, first = piece // strips, piece % strips * STRIP
            if group * job[GROUP] >= job[BATCH]:
                break
            count = min(STRIP, neurons - first)
            wide = padded(count)
            bias, current = (
                carray(floats(job[BIAS] + 4 * first), count),
                carray(floats(at_v + 4 * room * time), count),
            )
            values = carray(floats(at_v + 4 * room * (time + 1)), wide)
            few = carray(floats(at_v + 4 * room * (time + 2)), count)
            for row in range(group * job[GROUP], min((group + 1) * job[GROUP], job[BATCH])):
                one = row * neurons + first
                initial = carray(floats(job[KEPT] + 4 * one), count)
                for i in range(count):
                    current[i] = initial[i]
                for step in range(time):
                    packed = carray(octets(job[PACKED] + (row * time + step) * neurons + first), count)
                    source = carray(octets(job[SOURCE] + (row * time + step) * inputs), inputs)
                    v = carray(floats(at_v + 4 * room * step), wide)
                    some = list_active(source, active)
                    gather(active, some, source, job[WEIGHT] + 4 * first, padded(neurons), v)
                    for i in range(count):
                        before = current[i] + (v[i] + bias[i])
                        v[i] = before
                        after = after_reset(before, np.float32(packed[i]), reset, to_zero)
                        current[i] = not_below(after, minimum) if bounded else after
                state = carray(floats(job[STATE] + 4 * one), count)
                sums = carray(floats(job[SUMS] + 4 * one), count)
                for i in range(count):
                    sums[i] = ZERO
                for step in range(time - 1, -1, -1):
                    place = (row * time + step) * neurons + first
                    gradient = carray(floats(job[GRADIENT] + 4 * place), count)
                    input_gradient = carray(floats(job[INPUT_GRADIENT] + 4 * place), count)
                    packed = carray(octets(job[PACKED] + place), count)
                    source = carray(octets(job[SOURCE] + (row * time + step) * inputs), inputs)
                    v = carray(floats(at_v + 4 * room * step), wide)
                    # Three loops: of one with more tensors the compiler does not see that they don't overlap.
                    if to_zero or bounded:
                        for i in range(count):
                            spike = np.float32(packed[i])
                            state[i] = through_reset(state[i], v[i], spike, reset, minimum, bounded, to_zero)
                    for i in range(count):
                        slope = slope_at(v[i], threshold, scale, width, by_width)
                        later = through_spike(state[i], gradient[i], slope, reset, to_zero)
                        state[i] = later
                        input_gradient[i] = later
                    for i in range(count):
                        few[i] += input_gradient[i]
                        values[i] = input_gradient[i]
                    if step % FEW == 0:
                        _pour(few, sums)
                    some = list_active(source, active)
                    scatter(active, some, source, at_totals, wide, values)
                for k in range(inputs):
                    into = job[WEIGHT_GRADIENT] + 4 * ((group * inputs + k) * padded(neurons) + first)
                    mine = carray(floats(at_totals + 4 * k * wide), wide)
                    _pour(mine, carray(floats(into), wide))
        keep(rooms)
        keep(places)

    return task(backward)
