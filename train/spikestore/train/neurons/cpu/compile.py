"""Decorators that compile passes over time, and functions that several passes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numba.extending
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types

from spikestore.store.numba_cache import cached_cfunc

_Function = TypeVar("_Function", bound=Callable[..., Any])

STRIP = 1024
"""Maximum number of neurons in a strip; `spikestore.train.neurons.cpu.kernels` explains strips."""

ZERO, ONE, LEAST = np.float32(0), np.float32(1), np.finfo(np.float32).min
MOST_PACKED, UNPACKED = np.float32(254), np.float32(255)
"""The largest count that is stored as a byte, and the byte that marks any other value."""
TINY = np.float32(2.0**-100)
"""Smaller gradients are set to 0: surrogates produce many of them, and subnormal numbers slow the following matrix
products down to less than half their speed."""

# exp(r) on ±ln(2)/2 as 1 + r + r² P(r), near-minimax; ln 2 in two parts, so that n · _LN2_HIGH is exact.
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
_ROUND = np.float32(1.5 * 2**23)
"""Adding and then subtracting this number rounds to an integer, which is also in the low bits of the sum."""
_P5, _P4, _P3 = np.float32(1.9875691e-4), np.float32(1.3981999e-3), np.float32(8.3334519e-3)
_P2, _P1, _P0 = np.float32(4.1665796e-2), np.float32(1.6666665e-1), np.float32(5.0000001e-1)
_FAR = np.float32(87)
"""exp(-87) is about the smallest normal float32; beyond that the result is 0."""


def inner(function: _Function) -> _Function:
    """Compile a function for calls from compiled functions. The function is not cached, because the cached machine code of the callers contains its code."""
    made: Any = numba.njit(nogil=True, error_model="numpy")(function)
    return made  # type: ignore[no-any-return]


@inner
def keep(memory: Any) -> None:
    """Do nothing; a call of this function at the end of a task keeps an array alive until then.

    numba frees an array after the last use of its name, even if its address is still in use.
    """


def task(function: Callable[[Any], None]) -> Any:
    """Compile a task; cache its machine code for other processes if a cache folder is writable."""
    # A task can't raise: a division by 0 has the same result as in torch.
    return cached_cfunc(types.void(types.voidptr), function, error_model="numpy")


def intrinsic(function: Any) -> Any:
    """Return `function`, which emits LLVM instructions, as a function that compiled functions can call."""
    return numba.extending.intrinsic(function)


@intrinsic
def take(_context: Any, words: Any) -> Any:
    """Return ``words[0]``, the number of the next strip, and add 1 to it in the same atomic step: no two threads get the same strip."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(words), generate


@intrinsic
def add_to(_context: Any, words: Any, word: Any, amount: Any) -> Any:
    """Add `amount` to ``words[word]`` atomically; `words` are the words of a job (module `job`)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        builder.atomic_rmw("add", builder.gep(array.data, [arguments[1]]), arguments[2], "monotonic")
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), generate


def _pointer_to(element: Any) -> Any:
    @intrinsic
    def pointer(_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), generate  # type: ignore[no-untyped-call]

    return pointer


floats, octets, int64s = _pointer_to(types.float32), _pointer_to(types.uint8), _pointer_to(types.int64)


@intrinsic
def _power_of_two(_context: Any, shifted: Any) -> Any:
    """Return 2^n as float32. The argument is `_ROUND` + n as float32, so its lowest bits are the lowest bits of n."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        n = builder.bitcast(arguments[0], word)
        bits = builder.add(builder.shl(n, ir.Constant(word, 23)), ir.Constant(word, 0x3F800000))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.float32), generate


@inner
def exp_minus(y: Any) -> Any:
    """Return exp(-y) for y ≥ 0, with an error of at most 2 units in the last place; 0 for y > 87, NaN for NaN."""
    near = _FAR if y > _FAR else y
    shifted = _ROUND - near * _LOG2_E
    n = shifted - _ROUND
    r = -near - n * _LN2_HIGH
    r -= n * _LN2_LOW
    p = ((((_P5 * r + _P4) * r + _P3) * r + _P2) * r + _P1) * r + _P0
    p = p * r * r + r + ONE
    return ZERO if y > _FAR else p * _power_of_two(shifted)
