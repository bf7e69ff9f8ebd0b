"""Bit operations of compiled functions, compared with numpy."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from spikestore.store.bit_operations import compared, ones, trailing_zeros

not_zero, is_255 = compared("!=", 0), compared("==", 255)


@numba.njit
def marks(values: Any, first: Any) -> Any:
    return not_zero(values, first), is_255(values, first)


@numba.njit
def counts(bits: Any) -> Any:
    return ones(bits), trailing_zeros(bits)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
@pytest.mark.parametrize("first", [0, 3, 136])
def test_64_elements_are_compared_at_once(dtype: type[np.unsignedinteger[Any]], first: int) -> None:
    values = np.random.default_rng(first).choice([0, 1, 254, 255], 200).astype(dtype)
    for mark, expected in zip(marks(values, first), (values != 0, values == 255), strict=True):
        assert [mark >> bit & 1 for bit in range(64)] == expected[first : first + 64].tolist()


@pytest.mark.parametrize(
    ("bits", "expected"), [(0, (0, 64)), (12, (2, 2)), (2**64 - 1, (64, 0)), (2**63, (1, 63))]
)
def test_bits_are_counted(bits: int, expected: tuple[int, int]) -> None:
    assert counts(np.uint64(bits)) == expected
