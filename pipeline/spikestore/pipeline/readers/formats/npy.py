"""Arrays of ``.npy`` files, parsed from bytes in memory; nothing is unpickled."""

from __future__ import annotations

import io
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LONGEST_HEADER = 2**16
"""This many bytes at the start of a file certainly contain the whole header."""

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpyHeader(NamedTuple):
    """Header of a ``.npy`` file.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    fortran_order : bool
        Whether the first index varies fastest.
    dtype : dtype
        Type of the elements; never a type that contains Python objects.
    start : int
        Offset of the first element in the file, bytes.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int

    def refuse_other_size(self, size: int) -> None:
        """Raise ValueError if a file of `size` bytes does not hold exactly this array."""
        expected = self.start + math.prod(self.shape) * self.dtype.itemsize
        if size != expected:
            what = "is truncated" if size < expected else "is damaged"
            raise ValueError(f"the file {what}: it has {size} bytes, its header says {expected}")


def read_header(content: bytes) -> NpyHeader:
    """Return the header at the start of a file.

    Parameters
    ----------
    content : bytes
        The file, or its first `LONGEST_HEADER` bytes.

    Raises
    ------
    ValueError
        The file is not a NumPy array of format 1.0 or 2.0, has a damaged header, or contains Python objects.
    """
    file = io.BytesIO(content)
    try:
        header = NpyHeader(*_HEADERS[np.lib.format.read_magic(file)](file), file.tell())
    except Exception as error:  # NumPy evaluates text: errors of Python's tokenizer and parser are among them
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"the file is not a NumPy array, or has a damaged header ({why})") from None
    if header.dtype.hasobject:
        raise ValueError("the file holds pickled Python objects, which are never loaded")
    return header


def read_array(content: bytes) -> npt.NDArray[Any]:
    """Return the array in a file; it shares the memory of `content`.

    Raises
    ------
    ValueError
        The header is invalid (see `read_header`), or the file is shorter or longer than its array.
    """
    header = read_header(content)
    header.refuse_other_size(len(content))
    flat = np.frombuffer(content, header.dtype, math.prod(header.shape), header.start)
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")
