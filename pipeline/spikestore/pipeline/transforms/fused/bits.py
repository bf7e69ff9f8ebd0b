"""Three bit operations that numba does not offer.

Compiled code stays in the cache until the file of the calling function changes: after a change here, touch `kernels.py`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic


def _intrinsic(function: Any) -> Any:
    return intrinsic(function)


@_intrinsic
def trailing_zeros(_context: Any, bits: Any) -> Any:
    """Return the number of 0 bits below the lowest 1 bit of a uint64; 64 for 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@_intrinsic
def ones(_context: Any, bits: Any) -> Any:
    """Return the number of 1 bits of a uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@_intrinsic
def non_zeros(_context: Any, counts: Any, first: Any) -> Any:
    """Return a uint64 that marks non-zero elements: bit i is 1 if ``counts[first + i]`` is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
        vector = ir.VectorType(context.get_value_type(counts.dtype), 64)
        place = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        loaded = builder.load(place)
        loaded.align = counts.dtype.bitwidth // 8
        compared = builder.icmp_unsigned("!=", loaded, ir.Constant(vector, None))
        return builder.bitcast(compared, ir.IntType(64))

    return types.uint64(counts, types.int64), generate
