"""MATLAB files: the variables that SciPy reads, and a clear error for everything else."""

from __future__ import annotations

import contextlib
import io

import hypothesis.extra.numpy
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.folders import draw
from tests.pipeline.format_writers import write_mat

from spikestore.pipeline.readers.formats import mat


@given(st.data())
def test_mat_is_scipys(data: st.DataObject) -> None:
    """Variables of all numeric types and shapes, compressed or not; others are left out."""
    types = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"]
    arrays = {
        name: data.draw(
            hypothesis.extra.numpy.arrays(
                data.draw(st.sampled_from(types)),
                hypothesis.extra.numpy.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4),
            )
        )
        for name in data.draw(
            st.lists(
                st.text("abcXYZ_9", min_size=1, max_size=20).filter(lambda text: text[0].isalpha()),
                unique=True,
            )
        )
    }
    file = io.BytesIO()
    others = {"note0": "a text", "struct0": {"a": 1}, "complex0": np.array([[1j]])}
    scipy.io.savemat(file, {**arrays, **others}, do_compression=data.draw(st.booleans()))
    theirs = scipy.io.loadmat(io.BytesIO(file.getvalue()))
    ours = mat.read_variables(file.getvalue())
    assert ours.keys() == arrays.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])
        assert values.shape == theirs[name].shape
    some = sorted(arrays)[:1]
    assert [*mat.read_variables(file.getvalue(), some)] == some


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_mat_is_a_value_error_or_other_numbers(data: st.DataObject) -> None:
    content = bytearray(write_mat(draw(3)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        mat.read_variables(bytes(content))


@pytest.mark.parametrize("version", ["4", "7.3"])
def test_other_versions_of_mat_are_named(version: str) -> None:
    file = io.BytesIO()
    scipy.io.savemat(file, {"x": np.zeros(3)}, format="4" if version == "4" else "5")
    content = file.getvalue()
    if version == "7.3":
        content = content[:124] + b"\x00\x02IM" + content[128:]
    with pytest.raises(ValueError, match=r"MATLAB.*: save it with the option -v7"):
        mat.read_variables(content)
