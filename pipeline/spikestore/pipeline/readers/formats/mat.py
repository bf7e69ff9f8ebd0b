"""Numeric variables of MATLAB's ``.mat`` files, versions 5 to 7.

After a header of 128 bytes, a file is a sequence of elements: type and size (32 bits each), data, padding to 8 bytes. If an
element has at most 4 bytes of data, it may be stored in 8 bytes: type and size (16 bits each), then the data. A variable is an
element ``matrix``, perhaps inside a compressed element. A matrix consists of four elements: flags (which
state the class of the values), dimensions, name, and values in column-major order.

SciPy reads these files as well, but some damaged files make SciPy 1.17 end the process.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.formats.events import is_vector

_HEADER = 128
_LARGEST = 2**33
"""Largest size of a variable after decompression, in bytes."""

_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX = 0x0800


class _Element(NamedTuple):
    kind: int
    data: memoryview


def read_variables(content: bytes, names: Sequence[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return numeric arrays of a file by name, as MATLAB shapes them: with at least two dimensions.

    Parameters
    ----------
    content : bytes
        The file.
    names : sequence of str, optional
        Variables to read; all by default. Missing variables are left out. Texts, structures, cells, sparse arrays and complex
        arrays are left out too.

    Raises
    ------
    ValueError
        The file is not a MATLAB file, is damaged, or has version 4 or 7.3.
    """
    if not content:
        raise ValueError("the file is empty: unpack it again from the downloaded archive")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("the file is not a MATLAB file of version 5 to 7: save it with the option -v7")
    if int(np.frombuffer(content, f"{order}u2", 1, 124)[0]) != 0x0100:
        raise ValueError("the file has MATLAB's version 7.3: save it with the option -v7")
    variables: dict[str, npt.NDArray[Any]] = {}
    try:
        for element in _elements(memoryview(content)[_HEADER:], order):
            matrix = _decompressed(element, order)
            if matrix.kind == _MATRIX and (found := _variable(matrix.data, order, names)) is not None:
                variables[found[0]] = found[1]
    except (ValueError, zlib.error, IndexError, OverflowError) as error:
        raise ValueError(f"the file is not a MATLAB file, or is damaged ({error})") from None
    return variables


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements in some bytes; raise ValueError if an element is truncated."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError(f"{len(data) - at} bytes follow after the last variable")
        first, size = (int(number) for number in np.frombuffer(data, f"{order}u4", 2, at))
        if first >> 16:
            kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError(f"a small element must have at most 4 bytes, got {size}")
        else:
            kind, start = first, at + 8
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes is truncated")
        yield _Element(kind, data[start : start + size])
        at = end


def _decompressed(element: _Element, order: str) -> _Element:
    if element.kind != _COMPRESSED:
        return element
    stream = zlib.decompressobj()
    data = stream.decompress(element.data, _LARGEST)
    if not stream.eof:
        raise ValueError("a compressed variable is truncated, or too large")
    return next(_elements(memoryview(data), order), _Element(0, memoryview(b"")))


def _variable(
    data: memoryview, order: str, names: Sequence[str] | None
) -> tuple[str, npt.NDArray[Any]] | None:
    """Return name and values of a matrix; None if the matrix does not contain real numbers, or its name is not in `names`."""
    parts = _elements(data, order)
    flags = np.frombuffer(next(parts, _Element(0, memoryview(b""))).data, f"{order}u4", 1)
    if int(flags[0]) & 0xFF not in _NUMERIC_CLASSES or int(flags[0]) & _COMPLEX:
        return None
    shape, name, values = (next(parts, _Element(0, memoryview(b""))) for _ in range(3))
    text = bytes(name.data).decode("latin-1")
    if names is not None and text not in names:
        return None
    dimensions = tuple(int(size) for size in np.frombuffer(shape.data, f"{order}i4"))
    if values.kind not in _TYPES or len(dimensions) < 2 or min(dimensions) < 0:
        raise ValueError(f"the variable {text} has the type {values.kind} and the shape {dimensions}")
    dtype = np.dtype(f"{order}{_TYPES[values.kind]}")
    if math.prod(dimensions) * dtype.itemsize != len(values.data):
        raise ValueError(f"the variable {text} has {len(values.data)} bytes, its shape is {dimensions}")
    array = np.frombuffer(values.data, dtype).reshape(dimensions, order="F")
    return text, array.astype(dtype.newbyteorder("="))


def read_vectors(content: bytes, names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Return variables of equal length as one-dimensional arrays, in the order of `names`.

    Raises
    ------
    ValueError
        An error of `read_variables`; or a variable is missing or not a vector, or the lengths differ.
    """
    variables = read_variables(content, names)
    missing = [name for name in names if name not in variables]
    if missing:
        raise ValueError(f"the file has no numeric variable {' or '.join(missing)}")
    for name in names:
        if not is_vector(variables[name]):
            raise ValueError(
                f"the variable {name} has the shape {variables[name].shape}, but must be a vector"
            )
    lengths = {name: variables[name].size for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "the variables differ in length: " + ", ".join(f"{name} has {n}" for name, n in lengths.items())
        )
    return [variables[name].ravel() for name in names]
