"""Products of a sparse vector and a matrix, computed in SIMD registers. A row of the matrix is skipped if its factor in the vector is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

from spikestore.store.bit_operations import compared, ones, trailing_zeros
from spikestore.train.neurons.cpu.compile import UNPACKED, floats, inner, intrinsic

TILE, PAD = 64, 16
"""Number of neighbouring elements that are held in registers; rows are padded to a multiple of `PAD` elements."""


def _tiles(size: int) -> tuple[Any, Any]:
    """Return the inner functions of `gather` and `scatter`, which process `size` neighbouring columns of a matrix in registers."""
    vector = ir.VectorType(ir.FloatType(), size)

    def vector_at(builder: Any, pointer: Any) -> Any:
        return builder.bitcast(pointer, vector.as_pointer())

    def multiply_add(builder: Any, *factors_and_summand: Any) -> Any:
        kind = ir.FunctionType(vector, [vector] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{size}f32")  # type: ignore[no-untyped-call]
        return builder.call(function, factors_and_summand)

    def data_of(context: Any, builder: Any, signature: Any, arguments: Any, place: int) -> Any:
        return context.make_array(signature.args[place])(context, builder, value=arguments[place]).data

    def each_active(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        """Emit a loop over the active rows of a matrix; `arguments` are those of `gather` and `scatter`.

        Yield two values for the body of the loop: a vector whose elements all equal the row's factor, and a pointer to the row.
        """
        active, factors = (data_of(context, builder, signature, arguments, place) for place in (0, 2))
        with cgutils.for_range(builder, arguments[1]) as loop:
            k = builder.load(builder.gep(active, [loop.index]))
            factor = builder.uitofp(builder.load(builder.gep(factors, [k])), ir.FloatType())
            undefined = ir.Constant(vector, ir.Undefined)
            lane = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), size), None)
            row = builder.gep(arguments[3], [builder.mul(k, arguments[4])])
            yield builder.shuffle_vector(lane, undefined, zeros), vector_at(builder, row)

    def signature_of(active: Any, factors: Any, rows: Any, values: Any) -> Any:
        return types.void(active, types.int64, factors, rows, types.int64, values, types.int64)

    @intrinsic
    def gather(
        _context: Any,
        active: Any,
        active_count: Any,
        factors: Any,
        rows: Any,
        stride: Any,
        out: Any,
        first: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            total = cgutils.alloca_once_value(builder, ir.Constant(vector, None))  # type: ignore[no-untyped-call]
            for factor, row in each_active(context, builder, signature, arguments):
                loaded = builder.load(row)
                loaded.align = 4
                builder.store(multiply_add(builder, factor, loaded, builder.load(total)), total)
            out = data_of(context, builder, signature, arguments, 5)
            builder.store(builder.load(total), vector_at(builder, builder.gep(out, [arguments[6]]))).align = 4
            return context.get_dummy_value()

        return signature_of(active, factors, rows, out), generate

    @intrinsic
    def scatter(
        _context: Any,
        active: Any,
        active_count: Any,
        factors: Any,
        rows: Any,
        stride: Any,
        values: Any,
        first: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            values = data_of(context, builder, signature, arguments, 5)
            tile = builder.load(vector_at(builder, builder.gep(values, [arguments[6]])))
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


_not_zero, _unpacked = compared("!=", 0), compared("==", int(UNPACKED))


@inner
def list_active(source: Any, active: Any) -> Any:
    """Write the positions of non-zeros in `source` to `active`; return their number."""
    active_count: Any = 0
    count = len(source)
    if count < 64:
        for k in range(count):
            active[active_count] = k
            active_count += np.int64(source[k] != 0)
        return active_count
    for begin in range(0, count, 64):
        # The last word ends with the row; bits that the word before has covered are shifted out.
        first = min(begin, count - 64)
        mask = _not_zero(source, first) >> np.uint64(begin - first)
        while mask != 0:
            active[active_count] = begin + np.int64(trailing_zeros(mask))
            active_count += 1
            mask &= mask - np.uint64(1)
    return active_count


@inner
def count_packed(packed: Any) -> Any:
    """Return the number of bytes that are not 0, and the number of bytes that stand for larger counts (`UNPACKED`)."""
    not_zero: Any = 0
    too_large: Any = 0
    count = len(packed)
    if count < 64:
        for i in range(count):
            not_zero += np.int64(packed[i] != 0)
            too_large += np.int64(packed[i] == 255)
        return not_zero, too_large
    for begin in range(0, count, 64):
        first = min(begin, count - 64)
        twice = np.uint64(begin - first)
        not_zero += ones(_not_zero(packed, first) >> twice)
        too_large += ones(_unpacked(packed, first) >> twice)
    return not_zero, too_large


@inner
def gather(active: Any, active_count: Any, source: Any, rows: Any, stride: Any, out: Any) -> None:
    """Compute ``out[i]`` = Σ ``source[k] · rows[k · stride + i]`` over the first `active_count` numbers k in `active`; `rows` is an address."""
    whole = len(out) // TILE * TILE
    for first in range(0, whole, TILE):
        _gather_wide(active, active_count, source, floats(rows + 4 * first), stride, out, first)
    for first in range(whole, len(out), PAD):
        _gather_narrow(active, active_count, source, floats(rows + 4 * first), stride, out, first)


@inner
def scatter(active: Any, active_count: Any, source: Any, rows: Any, stride: Any, values: Any) -> None:
    """Add ``source[k] · values[i]`` to ``rows[k · stride + i]`` for all i, and for each k in ``active[:active_count]``. `rows` is an address of float32 numbers."""
    whole = len(values) // TILE * TILE
    for first in range(0, whole, TILE):
        _scatter_wide(active, active_count, source, floats(rows + 4 * first), stride, values, first)
    for first in range(whole, len(values), PAD):
        _scatter_narrow(active, active_count, source, floats(rows + 4 * first), stride, values, first)
