"""Compiled passes over time for integrate-and-fire neurons, on the CPU.

Tensors are (batch, time, neurons), float32, contiguous. A task is cut into strips: one row of the batch, up to
`STRIP` neurons, all time steps. The membrane potentials of a strip stay in the first-level cache while its time
passes by, the innermost loop runs over neighbouring neurons and has no branch, so that the compiler vectorises it.
Any number of threads may call the same task at once: each takes the next strip from a counter until none is left.

A task has one argument, the address of a block of 8-byte words, `JOB` names them: sizes, addresses of tensors, and
numbers as float64. Variants that differ in what the innermost loop does are compiled when they are first asked
for, and kept on disk.

All compiled functions live in this one file: numba keeps compiled code until *this* file changes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., Any])

STRIP = 1024
"""Most neurons of a strip."""

TILE, PAD = 64, 16
"""Neurons whose inputs are added up in registers at once; rows of weights are padded to multiples of the second."""

JOB = (
    "next", "batch", "time", "neurons", "x", "state", "spikes", "kept", "packed", "record", "surrogate",
    "gradient", "input_gradient", "threshold", "inverse", "reset", "minimum", "scale", "width", "unpackable",
    "fired", "source", "weight", "bias", "inputs", "sums",
    "group", "weight_gradient",
)  # fmt: skip
"""Names of a job's words, in order."""

(
    _NEXT, _BATCH, _TIME, _NEURONS, _X, _STATE, _SPIKES, _KEPT, _PACKED, _RECORD, _SURROGATE, _GRADIENT,
    _INPUT_GRADIENT, _THRESHOLD, _INVERSE, _RESET, _MINIMUM, _SCALE, _WIDTH, _UNPACKABLE, _FIRED,
    _SOURCE, _WEIGHT, _BIAS, _INPUTS, _SUMS,
    _GROUP, _WEIGHT_GRADIENT,
) = range(len(JOB))  # fmt: skip
_WORDS = len(JOB)

_ZERO, _ONE, _MOST_PACKED = np.float32(0), np.float32(1), np.float32(255)

# exp(r) on ±ln(2)/2 as 1 + r + r² P(r), near-minimax; ln 2 in two parts, so that n · _LN2_HIGH is exact.
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(1.5 * 2**23)
"""Added and subtracted again it rounds to an integer, which is also left in the low bits of the sum."""
_P5, _P4, _P3 = np.float32(1.9875691e-4), np.float32(1.3981999e-3), np.float32(8.3334519e-3)
_P2, _P1, _P0 = np.float32(4.1665796e-2), np.float32(1.6666665e-1), np.float32(5.0000001e-1)
_FAR = np.float32(87)
"""exp(-87) is about the smallest normal float32; what is further is taken for 0."""
_TINY = np.float32(2.0**-100)
"""Gradients below are 0: surrogates make many of them, and products that are no normal numbers any more slow the
matrix products behind down, to less than half."""


def _inner(function: _Function) -> _Function:
    made: Any = numba.njit(nogil=True)(function)
    return made  # type: ignore[no-any-return]


def _task(function: Callable[[Any], None]) -> Any:
    """Compile a task; keep its machine code for other processes where there is a place for it."""
    signature = types.void(types.voidptr)
    try:
        return numba.cfunc(signature, cache=True)(function)
    except RuntimeError:  # neither the installation nor the user's cache folder can be written to
        return numba.cfunc(signature)(function)


def _intrinsic(function: Any) -> Any:
    return intrinsic(function)


@_intrinsic
def _take(_context: Any, words: Any) -> Any:
    """Add 1 to the first word; return what it was. Safe between threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(words), generate


@_intrinsic
def _add(_context: Any, words: Any, place: Any, amount: Any) -> Any:
    """Add to a word. Safe between threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        builder.atomic_rmw("add", builder.gep(array.data, [arguments[1]]), arguments[2], "monotonic")
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), generate


def _pointer_to(element: Any) -> Any:
    @_intrinsic
    def pointer(_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), generate

    return pointer


_floats, _bytes, _places = _pointer_to(types.float32), _pointer_to(types.uint8), _pointer_to(types.int64)


@_intrinsic
def _power_of_two(_context: Any, shifted: Any) -> Any:
    """2^n as float32, for `_ROUND` + n."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        n = builder.bitcast(arguments[0], word)
        bits = builder.add(builder.shl(n, ir.Constant(word, 23)), ir.Constant(word, 0x3F800000))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.float32), generate


def _tiles(size: int) -> tuple[Any, Any]:
    """Return `_gather` and `_scatter` for `size` neighbouring places, which stay in registers."""
    vector = ir.VectorType(ir.FloatType(), size)

    def at(builder: Any, pointer: Any) -> Any:
        return builder.bitcast(pointer, vector.as_pointer())

    def multiply_add(builder: Any, *factors_and_summand: Any) -> Any:
        kind = ir.FunctionType(vector, [vector] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{size}f32")
        return builder.call(function, factors_and_summand)

    def data_of(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
        return context.make_array(signature.args[place])(context, builder, value=arguments[place]).data

    def each_active(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Loop over active rows: yield a tile full of the factor, and a pointer to the row's tile."""
        active, factors = (data_of(context, builder, signature, arguments, place) for place in (0, 2))
        with cgutils.for_range(builder, arguments[1]) as loop:
            k = builder.load(builder.gep(active, [loop.index]))
            factor = builder.uitofp(builder.load(builder.gep(factors, [k])), ir.FloatType())
            undefined = ir.Constant(vector, ir.Undefined)
            lane = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), size), None)
            row = builder.gep(arguments[3], [builder.mul(k, arguments[4])])
            yield builder.shuffle_vector(lane, undefined, zeros), at(builder, row)

    def signature_of(active: Any, factors: Any, rows: Any, values: Any) -> Any:
        return types.void(active, types.int64, factors, rows, types.int64, values, types.int64)

    @_intrinsic
    def gather(
        _context: Any, active: Any, some: Any, factors: Any, rows: Any, stride: Any, out: Any, first: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            total = cgutils.alloca_once_value(builder, ir.Constant(vector, None))
            for factor, row in each_active(context, builder, signature, arguments):
                loaded = builder.load(row)
                loaded.align = 4
                builder.store(multiply_add(builder, factor, loaded, builder.load(total)), total)
            out = data_of(context, builder, signature, arguments, 5)
            builder.store(builder.load(total), at(builder, builder.gep(out, [arguments[6]]))).align = 4
            return context.get_dummy_value()

        return signature_of(active, factors, rows, out), generate

    @_intrinsic
    def scatter(
        _context: Any, active: Any, some: Any, factors: Any, rows: Any, stride: Any, values: Any, first: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values = data_of(context, builder, signature, arguments, 5)
            tile = builder.load(at(builder, builder.gep(values, [arguments[6]])))
            tile.align = 4
            for factor, row in each_active(context, builder, signature, arguments):
                loaded = builder.load(row)
                loaded.align = 4
                builder.store(multiply_add(builder, factor, tile, loaded), row).align = 4
            return context.get_dummy_value()

        return signature_of(active, factors, rows, values), generate

    return gather, scatter


_gather_wide, _scatter_wide = _tiles(TILE)
_gather_narrow, _scatter_narrow = _tiles(PAD)


@_intrinsic
def _not_zero(_context: Any, values: Any, first: Any) -> Any:
    """Mask of the 64 bytes from `first` on that are not 0: bit i stands for ``values[first + i]``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        vector = ir.VectorType(ir.IntType(8), 64)
        loaded = builder.load(builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer()))
        loaded.align = 1
        compared = builder.icmp_unsigned("!=", loaded, ir.Constant(vector, None))
        return builder.bitcast(compared, ir.IntType(64))

    return types.uint64(values, types.int64), generate


@_intrinsic
def _lowest(_context: Any, mask: Any) -> Any:
    """Number of the lowest bit that is set."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@_inner
def _exp_minus(y: Any) -> Any:
    """exp(-y) for y ≥ 0, to 2 units in the last place; 0 behind 87, NaN for NaN."""
    near = _FAR if y > _FAR else y
    shifted = _ROUND - near * _LOG2_E
    n = shifted - _ROUND
    r = -near - n * _LN2_HIGH
    r -= n * _LN2_LOW
    p = ((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0
    p = p * r * r + r + _ONE
    return _ZERO if y > _FAR else p * _power_of_two(shifted)


@cache
def forward_task(single: bool, by_product: bool, bounded: bool) -> Any:
    """Return the forward pass.

    Parameters
    ----------
    single : bool
        At most one spike a step.
    by_product : bool
        ``v * inverse`` is exactly ``v / threshold``, because the threshold is a power of two.
    bounded : bool
        There is a minimum.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``x`` and ``state``; writes ``spikes``, the last potentials to ``state`` and, where the address is
        not 0, potentials before the reset to ``kept``, after it to ``record``, spikes as uint8 to ``packed``.
        ``fired`` counts non-zero spikes and ``unpackable`` those that are no uint8, both only with ``packed``.
    """

    def forward(data: Any) -> None:
        job, numbers = carray(data, _WORDS, np.int64), carray(data, _WORDS, np.float64)
        time, neurons = job[_TIME], job[_NEURONS]
        threshold, inverse = np.float32(numbers[_THRESHOLD]), np.float32(numbers[_INVERSE])
        reset, minimum = np.float32(numbers[_RESET]), np.float32(numbers[_MINIMUM])
        strips = (neurons + STRIP - 1) // STRIP
        unused = np.empty(STRIP, np.float32)
        fired, unpackable = 0, 0
        while True:
            strip = _take(job)
            if strip >= job[_BATCH] * strips:
                break
            row, first = strip // strips, strip % strips * STRIP
            count = min(STRIP, neurons - first)
            state = carray(_floats(job[_STATE] + 4 * (row * neurons + first)), count)
            for step in range(time):
                place = (row * time + step) * neurons + first
                x = carray(_floats(job[_X] + 4 * place), count)
                spikes = carray(_floats(job[_SPIKES] + 4 * place), count)
                kept = unused[:count]
                if job[_KEPT] != 0:
                    kept = carray(_floats(job[_KEPT] + 4 * place), count)
                for i in range(count):
                    v = state[i] + x[i]
                    kept[i] = v
                    if single:
                        spike = _ONE if v - threshold >= _ZERO else _ZERO
                    else:
                        whole = np.trunc(v * inverse if by_product else v / threshold)
                        # A product and no choice: NaN and -inf must come through as they do in Sinabs.
                        spike = (_ONE if v > _ZERO else _ZERO) * whole
                    spikes[i] = spike
                    v -= spike * reset
                    if bounded:
                        above = v - minimum
                        v = (_ZERO if above <= _ZERO else above) + minimum
                    state[i] = v
                if job[_PACKED] != 0:
                    packed = carray(_bytes(job[_PACKED] + place), count)
                    odd, some = np.int32(0), np.int32(0)
                    for i in range(count):
                        spike = spikes[i]
                        fits = _ZERO <= spike <= _MOST_PACKED
                        packed[i] = np.uint8(np.int32(spike if fits else _ZERO))
                        odd += np.int32(not fits)
                        some += np.int32(spike != _ZERO)
                    unpackable += odd
                    fired += some
                if job[_RECORD] != 0:
                    record = carray(_floats(job[_RECORD] + 4 * place), count)
                    for i in range(count):
                        record[i] = state[i]
        _add(job, _UNPACKABLE, unpackable)
        _add(job, _FIRED, fired)

    return _task(forward)


@cache
def backward_task(single: bool, by_product: bool, bounded: bool, given: bool, by_width: bool) -> Any:
    """Return the backward pass.

    Parameters
    ----------
    single, by_product, bounded : bool
        As for `forward_task`; the first two matter only with the third.
    given : bool
        The derivative of spikes is in ``surrogate``; otherwise it is ``scale * exp(-|kept - threshold| / width)``.
    by_width : bool
        ``width`` holds its inverse, which is exact because the width is a power of two.

    Returns
    -------
    numba.core.ccallback.CFunc
        Reads ``kept`` and ``gradient``, that of the spikes; writes ``input_gradient``. ``state`` goes in as the
        gradient of the last potentials and comes out as that of the first.
    """

    def backward(data: Any) -> None:
        job, numbers = carray(data, _WORDS, np.int64), carray(data, _WORDS, np.float64)
        time, neurons = job[_TIME], job[_NEURONS]
        threshold, inverse = np.float32(numbers[_THRESHOLD]), np.float32(numbers[_INVERSE])
        reset, minimum = np.float32(numbers[_RESET]), np.float32(numbers[_MINIMUM])
        scale, width = np.float32(numbers[_SCALE]), np.float32(numbers[_WIDTH])
        strips = (neurons + STRIP - 1) // STRIP
        while True:
            strip = _take(job)
            if strip >= job[_BATCH] * strips:
                break
            row, first = strip // strips, strip % strips * STRIP
            count = min(STRIP, neurons - first)
            state = carray(_floats(job[_STATE] + 4 * (row * neurons + first)), count)
            for step in range(time - 1, -1, -1):
                place = (row * time + step) * neurons + first
                kept = carray(_floats(job[_KEPT] + 4 * place), count)
                gradient = carray(_floats(job[_GRADIENT] + 4 * place), count)
                input_gradient = carray(_floats(job[_INPUT_GRADIENT] + 4 * place), count)
                surrogate = carray(_floats((job[_SURROGATE] if given else job[_KEPT]) + 4 * place), count)
                for i in range(count):
                    v = kept[i]
                    if given:
                        slope = surrogate[i]
                    else:
                        away = abs(v - threshold)
                        slope = scale * _exp_minus(away * width if by_width else away / width)
                    later = state[i]
                    if bounded:
                        if single:
                            spike = _ONE if v - threshold >= _ZERO else _ZERO
                        else:
                            whole = np.trunc(v * inverse if by_product else v / threshold)
                            spike = (_ONE if v > _ZERO else _ZERO) * whole
                        later = _ZERO if v - spike * reset - minimum <= _ZERO else later
                    later += (gradient[i] - later * reset) * slope
                    later = _ZERO if abs(later) < _TINY else later
                    state[i] = later
                    input_gradient[i] = later

    return _task(backward)


@cache
def pack_task() -> Any:
    """Return the task that writes ``x`` to ``packed`` as uint8; ``fired`` and ``unpackable`` as `forward_task`."""

    def pack(data: Any) -> None:
        job = carray(data, _WORDS, np.int64)
        neurons, rows = job[_NEURONS], job[_TIME]
        fired, unpackable = 0, 0
        while True:
            row = _take(job)
            if row >= job[_BATCH]:
                break
            for step in range(rows):
                place = (row * rows + step) * neurons
                x = carray(_floats(job[_X] + 4 * place), neurons)
                packed = carray(_bytes(job[_PACKED] + place), neurons)
                odd, some = np.int32(0), np.int32(0)
                for i in range(neurons):
                    value = x[i]
                    fits = (_ZERO <= value <= _MOST_PACKED) and np.trunc(value) == value
                    packed[i] = np.uint8(np.int32(value if fits else _ZERO))
                    odd += np.int32(not fits)
                    some += np.int32(value != _ZERO)
                unpackable += odd
                fired += some
        _add(job, _UNPACKABLE, unpackable)
        _add(job, _FIRED, fired)

    return _task(pack)


@_inner
def _list_active(source: Any, active: Any) -> Any:
    """Write the places of `source` that are not 0 to `active`; return how many there are."""
    some, count = 0, len(source)
    if count < 64:
        for k in range(count):
            active[some] = k
            some += np.int64(source[k] != 0)
        return some
    for begin in range(0, count, 64):
        # The last word ends where the row does; what the word before it had is shifted out.
        first = min(begin, count - 64)
        mask = _not_zero(source, first) >> np.uint64(begin - first)
        while mask != 0:
            active[some] = begin + _lowest(mask)
            some += 1
            mask &= mask - np.uint64(1)
    return some


@_inner
def _gather(active: Any, some: Any, source: Any, rows: Any, stride: Any, out: Any) -> None:
    """``out[i]`` = Σ ``source[k] · rows[k · stride + i]`` over active k; `rows` is an address."""
    whole = len(out) // TILE * TILE
    for first in range(0, whole, TILE):
        _gather_wide(active, some, source, _floats(rows + 4 * first), stride, out, first)
    for first in range(whole, len(out), PAD):
        _gather_narrow(active, some, source, _floats(rows + 4 * first), stride, out, first)


@_inner
def _scatter(active: Any, some: Any, source: Any, rows: Any, stride: Any, values: Any) -> None:
    """``rows[k · stride + i]`` += ``source[k] · values[i]`` for active k; `rows` is an address."""
    whole = len(values) // TILE * TILE
    for first in range(0, whole, TILE):
        _scatter_wide(active, some, source, _floats(rows + 4 * first), stride, values, first)
    for first in range(whole, len(values), PAD):
        _scatter_narrow(active, some, source, _floats(rows + 4 * first), stride, values, first)


@_inner
def padded(count: int) -> int:
    """Return the next multiple of `PAD`."""
    return (count + PAD - 1) // PAD * PAD


@_inner
def _keep(rooms: Any, places: Any) -> None:
    """Do nothing. Arrays that are worked on by address live until numba sees their names for the last time."""


@_inner
def _pour(values: Any, into: Any) -> None:
    """Add `values` to `into`, and set them to 0."""
    for i in range(len(values)):
        into[i] += values[i]
    for i in range(len(values)):
        values[i] = _ZERO


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
        job = carray(data, _WORDS, np.int64)
        time, neurons, inputs = job[_TIME], job[_NEURONS], job[_INPUTS]
        width = padded(neurons)
        # Worked on by address: numba counts the references of its own arrays all the time.
        rooms, places = np.zeros((inputs + 1) * width, np.float32), np.empty(inputs + 1, np.int64)
        at = rooms.ctypes.data
        totals, active = carray(_floats(at), inputs * width), carray(_places(places.ctypes.data), inputs + 1)
        values = carray(_floats(at + 4 * inputs * width), width)
        while True:
            group = _take(job)
            if group * job[_GROUP] >= job[_BATCH]:
                break
            sums = carray(_floats(job[_WEIGHT_GRADIENT] + 4 * group * inputs * width), inputs * width)
            for row in range(group * job[_GROUP], min((group + 1) * job[_GROUP], job[_BATCH])):
                for step in range(row * time, (row + 1) * time):
                    source = carray(_bytes(job[_SOURCE] + step * inputs), inputs)
                    some = _list_active(source, active)
                    if some > 0:
                        gradient = carray(_floats(job[_GRADIENT] + 4 * step * neurons), neurons)
                        for i in range(neurons):
                            values[i] = gradient[i]
                        _scatter(active, some, source, at, width, values)
                # In two steps, so that rounding errors stay small.
                _pour(totals, sums)
        _keep(rooms, places)

    return _task(weight_gradient)


@cache
def linear_backward_task(bounded: bool, by_width: bool) -> Any:
    """Return the backward pass of neurons behind a linear layer, from counts alone.

    Membrane potentials are computed again: the linear layer's input is mostly zeros, so that adding up the few
    columns of its weight that count costs less than reading potentials back would.

    Parameters
    ----------
    bounded, by_width : bool
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
        job, numbers = carray(data, _WORDS, np.int64), carray(data, _WORDS, np.float64)
        time, neurons, inputs = job[_TIME], job[_NEURONS], job[_INPUTS]
        threshold = np.float32(numbers[_THRESHOLD])
        reset, minimum = np.float32(numbers[_RESET]), np.float32(numbers[_MINIMUM])
        scale, width = np.float32(numbers[_SCALE]), np.float32(numbers[_WIDTH])
        strips = (neurons + STRIP - 1) // STRIP
        # What is worked on is made from addresses, like tensors: numba's own arrays count their references all the
        # time, and of slices the compiler knows too little.
        room = min(STRIP, padded(neurons))
        rooms = np.zeros((time + 2) * room, np.float32), np.zeros(inputs * room, np.float32)
        places = np.empty(inputs + 1, np.int64)
        at_v, at_totals = rooms[0].ctypes.data, rooms[1].ctypes.data
        active = carray(_places(places.ctypes.data), inputs + 1)
        while True:
            piece = _take(job)
            group, first = piece // strips, piece % strips * STRIP
            if group * job[_GROUP] >= job[_BATCH]:
                break
            count = min(STRIP, neurons - first)
            wide = padded(count)
            bias, current = carray(_floats(job[_BIAS] + 4 * first), count), carray(_floats(at_v + 4 * room * time), count)
            values = carray(_floats(at_v + 4 * room * (time + 1)), wide)
            for row in range(group * job[_GROUP], min((group + 1) * job[_GROUP], job[_BATCH])):
                one = row * neurons + first
                initial = carray(_floats(job[_KEPT] + 4 * one), count)
                for i in range(count):
                    current[i] = initial[i]
                for step in range(time):
                    packed = carray(_bytes(job[_PACKED] + (row * time + step) * neurons + first), count)
                    source = carray(_bytes(job[_SOURCE] + (row * time + step) * inputs), inputs)
                    v = carray(_floats(at_v + 4 * room * step), wide)
                    some = _list_active(source, active)
                    _gather(active, some, source, job[_WEIGHT] + 4 * first, padded(neurons), v)
                    for i in range(count):
                        before = current[i] + (v[i] + bias[i])
                        v[i] = before
                        after = before - np.float32(packed[i]) * reset
                        if bounded:
                            above = after - minimum
                            after = (_ZERO if above <= _ZERO else above) + minimum
                        current[i] = after
                state = carray(_floats(job[_STATE] + 4 * one), count)
                sums = carray(_floats(job[_SUMS] + 4 * one), count)
                for i in range(count):
                    sums[i] = _ZERO
                for step in range(time - 1, -1, -1):
                    place = (row * time + step) * neurons + first
                    gradient = carray(_floats(job[_GRADIENT] + 4 * place), count)
                    input_gradient = carray(_floats(job[_INPUT_GRADIENT] + 4 * place), count)
                    packed = carray(_bytes(job[_PACKED] + place), count)
                    source = carray(_bytes(job[_SOURCE] + (row * time + step) * inputs), inputs)
                    v = carray(_floats(at_v + 4 * room * step), wide)
                    # Three loops: of one with more tensors the compiler does not see that they don't overlap.
                    if bounded:
                        for i in range(count):
                            after = v[i] - np.float32(packed[i]) * reset
                            state[i] = _ZERO if after - minimum <= _ZERO else state[i]
                    for i in range(count):
                        away = abs(v[i] - threshold)
                        slope = scale * _exp_minus(away * width if by_width else away / width)
                        later = state[i]
                        later += (gradient[i] - later * reset) * slope
                        later = _ZERO if abs(later) < _TINY else later
                        state[i] = later
                        input_gradient[i] = later
                    for i in range(count):
                        sums[i] += input_gradient[i]
                        values[i] = input_gradient[i]
                    some = _list_active(source, active)
                    _scatter(active, some, source, at_totals, wide, values)
                for k in range(inputs):
                    into = job[_WEIGHT_GRADIENT] + 4 * ((group * inputs + k) * padded(neurons) + first)
                    mine = carray(_floats(at_totals + 4 * k * wide), wide)
                    _pour(mine, carray(_floats(into), wide))
        _keep(rooms, places)

    return _task(backward)
