"""Bit operations that numba lacks, for compiled functions; only modules that compile functions import this module."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic


def compared(relation: str, number: int) -> Any:
    """Return a compiled function that compares 64 elements at once.

    Parameters
    ----------
    relation : {"==", "!="}
        The comparison.
    number : int
        The number to compare with.

    Returns
    -------
    function
        Called with an array of unsigned integers and a position. It returns a uint64, whose bit i is 1 if the comparison is
        true for ``array[position + i]``. The array must have at least 64 elements from this position on.
    """

    def compare(_context: Any, values: Any, first: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, value=arguments[0])
            vector = ir.VectorType(context.get_value_type(values.dtype), 64)
            pointer = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
            loaded = builder.load(pointer)
            loaded.align = values.dtype.bitwidth // 8
            marks = builder.icmp_unsigned(relation, loaded, ir.Constant(vector, [number] * 64))
            return builder.bitcast(marks, ir.IntType(64))

        return types.uint64(values, types.int64), generate

    return intrinsic(compare)


def _count(result: Any, instruction: str, *flags: bool) -> Any:
    def count(_context: Any, bits: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            constants = [ir.Constant(ir.IntType(1), flag) for flag in flags]
            return getattr(builder, instruction)(arguments[0], *constants)

        return result(types.uint64), generate

    return intrinsic(count)


ones = _count(types.int64, "ctpop")
"""Returns the number of 1 bits of a uint64, as int64."""

trailing_zeros = _count(types.uint64, "cttz", False)
"""Returns the number of 0 bits below the lowest 1 bit of a uint64, as uint64; 64 for 0."""
