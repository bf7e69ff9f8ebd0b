"""Compiled passes over time for integrate-and-fire neurons, on the CPU.

Tensors are (batch, time, neurons), float32, contiguous. A task is cut into strips; a strip is one row of the batch with
up to `STRIP` neurons and all time steps. The membrane potentials of a strip stay in the L1 cache during the loop over
time; the innermost loop runs over neighbouring neurons without branches, so that the compiler vectorises it. Any number
of threads may call the same task at once: each thread takes the next strip from a counter until no strip is left.

A task has one argument, the address of a block of 8-byte words: sizes, addresses of tensors, and numbers as float64.
The module `job` names these words. Variants of the innermost loop are compiled at first use and cached on disk.
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
    keep,
    octets,
    take,
    task,
)
from spikestore.train.neurons.cpu.neuron_step import (
    after_reset,
    does_fire,
    fire,
    not_below,
    slope_at,
    through_reset,
    through_spike,
)
from spikestore.train.neurons.cpu.simd import count_packed


@cache
def forward_task(single: bool, by_product: bool, bounded: bool, to_zero: bool) -> Any:
    """Return the compiled forward pass for these flags.

    Parameters
    ----------
    single : bool
        At most one spike per step.
    by_product : bool
        ``v * inverse`` equals ``v / threshold``, because the threshold is a power of two.
    bounded : bool
        Membrane potentials have a minimum.
    to_zero : bool
        True: a spike sets the potential to zero. After that, ``reset`` is added to every potential, with or without a
        spike. False: each spike subtracts ``reset`` from the potential.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``x`` and ``state``. Writes ``spikes``, and writes the last potentials to ``state``. Three arrays are
        written only if their address is not 0: ``kept`` (potentials before the reset), ``record`` (potentials after the
        reset) and ``packed`` (spikes as uint8; 255 for numbers above 254 and NaN). With ``packed``, ``fired`` is the number of
        elements of ``spikes`` that are not 0, and ``unpackable`` the number of elements that are 255 in ``packed``. ``spikes`` may have
        the same address as ``x``.
    """

    def forward(data: Any) -> None:
        job, numbers = carray(data, at.WORDS, np.int64), carray(data, at.WORDS, np.float64)
        time, neurons = job[at.TIME], job[at.NEURONS]
        threshold, inverse = np.float32(numbers[at.THRESHOLD]), np.float32(numbers[at.INVERSE])
        reset, minimum = np.float32(numbers[at.RESET]), np.float32(numbers[at.MINIMUM])
        strips = (neurons + STRIP - 1) // STRIP
        # Access by address: numba counts references of its arrays and slices inside loops.
        memory = np.empty(2 * STRIP, np.float32)
        memory_at = memory.ctypes.data
        fired: Any = 0
        unpackable: Any = 0
        while True:
            strip = take(job)
            if strip >= job[at.BATCH] * strips:
                break
            row, first = strip // strips, strip % strips * STRIP
            count = min(STRIP, neurons - first)
            state = carray(floats(job[at.STATE] + 4 * (row * neurons + first)), count)
            now = carray(floats(memory_at), count)
            for step in range(time):
                offset = (row * time + step) * neurons + first
                x = carray(floats(job[at.X] + 4 * offset), count)
                spikes = carray(floats(job[at.SPIKES] + 4 * offset), count)
                kept = carray(
                    floats(job[at.KEPT] + 4 * offset if job[at.KEPT] != 0 else memory_at + 4 * STRIP), count
                )
                # To a buffer first: loops whose input and output overlap are not vectorised.
                for i in range(count):
                    v = state[i] + x[i]
                    kept[i] = v
                    spike = fire(v, threshold, inverse, single, by_product)
                    now[i] = spike
                    v = after_reset(v, spike, reset, to_zero)
                    state[i] = not_below(v, minimum) if bounded else v
                for i in range(count):
                    spikes[i] = now[i]
                if job[at.PACKED] != 0:
                    packed = carray(octets(job[at.PACKED] + offset), count)
                    for i in range(count):
                        # Spikes are a whole number, not below 0, or NaN.
                        packed[i] = np.uint8(np.int32(now[i] if now[i] <= MOST_PACKED else UNPACKED))
                    not_zero, too_large = count_packed(packed)
                    fired += not_zero
                    unpackable += too_large
                if job[at.RECORD] != 0:
                    record = carray(floats(job[at.RECORD] + 4 * offset), count)
                    for i in range(count):
                        record[i] = state[i]
        add_to(job, at.UNPACKABLE, unpackable)
        add_to(job, at.FIRED, fired)
        keep(memory)

    return task(forward)


@cache
def backward_task(
    single: bool, by_product: bool, bounded: bool, to_zero: bool, given: bool, by_width: bool
) -> Any:
    """Return the compiled backward pass for these flags.

    Parameters
    ----------
    single, by_product, bounded, to_zero : bool
        See `forward_task`. `single` has an effect only with `bounded` or `to_zero`. `by_product` has an effect only with `bounded`
        and without `to_zero`.
    given : bool
        True: the derivative of the spikes is read from ``surrogate``. False: it is ``scale * exp(-|kept - threshold| / width)``,
        where ``kept`` are the potentials before the reset, which the forward pass wrote.
    by_width : bool
        The job has 1 / width instead of the width, so the exponent is computed by a multiplication instead of a
        division. Multiplication and division give the same bits, because the width is a power of two.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``kept`` and ``gradient``, the gradient of the spikes; writes ``input_gradient``. Before the call,
        ``state`` has the gradient of the last potentials; after the call, it has the gradient of the potentials before
        the first step.
    """

    def backward(data: Any) -> None:
        job, numbers = carray(data, at.WORDS, np.int64), carray(data, at.WORDS, np.float64)
        time, neurons = job[at.TIME], job[at.NEURONS]
        threshold, inverse = np.float32(numbers[at.THRESHOLD]), np.float32(numbers[at.INVERSE])
        reset, minimum = np.float32(numbers[at.RESET]), np.float32(numbers[at.MINIMUM])
        scale, width = np.float32(numbers[at.SCALE]), np.float32(numbers[at.WIDTH])
        strips = (neurons + STRIP - 1) // STRIP
        while True:
            strip = take(job)
            if strip >= job[at.BATCH] * strips:
                break
            row, first = strip // strips, strip % strips * STRIP
            count = min(STRIP, neurons - first)
            state = carray(floats(job[at.STATE] + 4 * (row * neurons + first)), count)
            for step in range(time - 1, -1, -1):
                offset = (row * time + step) * neurons + first
                kept = carray(floats(job[at.KEPT] + 4 * offset), count)
                gradient = carray(floats(job[at.GRADIENT] + 4 * offset), count)
                input_gradient = carray(floats(job[at.INPUT_GRADIENT] + 4 * offset), count)
                surrogate = carray(floats((job[at.SURROGATE] if given else job[at.KEPT]) + 4 * offset), count)
                for i in range(count):
                    v = kept[i]
                    slope = surrogate[i] if given else slope_at(v, threshold, scale, width, by_width)
                    if to_zero:
                        spike = does_fire(v, threshold, single)
                    else:
                        spike = fire(v, threshold, inverse, single, by_product) if bounded else ZERO
                    later = through_reset(state[i], v, spike, reset, minimum, bounded, to_zero)
                    later = through_spike(later, gradient[i], slope, reset, to_zero)
                    state[i] = later
                    input_gradient[i] = later

    return task(backward)
