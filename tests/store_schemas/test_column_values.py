"""Texts and real numbers in columns of whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikestore.store_schemas.specs.column_values import (
    MOST_BYTES,
    array_of,
    is_part,
    kind_of,
    parts_of,
    values_of,
)
from spikestore.store_schemas.specs.folder import Decoding, FolderContent

NONE: frozenset[str] = frozenset()
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=MOST_BYTES // 4)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_texts_come_back(values: list[str]) -> None:
    """All characters but NUL, empty texts too; parts hold three bytes each."""
    parts = parts_of("device", "text", values)
    assert values_of({"trial": (1,) * len(values), **parts}, NONE) == {
        "device": tuple(values),
        "trial": (1,) * len(values),
    }
    assert all(0 <= number < 2**24 for part in parts.values() for number in part)
    assert all(map(is_part, parts))
    assert array_of(tuple(values)).tolist() == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_real_numbers_come_back(values: list[float]) -> None:
    """Bit for bit; only the sign of 0 is lost."""
    parts = parts_of("gain", "real", values)
    assert [*parts] == ["gain.real-0", "gain.real-1", "gain.real-2"]
    decoded = values_of(parts, NONE)["gain"]
    assert np.array(decoded).view(np.uint64).tolist() == (np.array(values) + 0.0).view(np.uint64).tolist()


def test_the_parts_of_a_text() -> None:
    """UTF-8, three bytes to a number, the first byte is the highest, zeros after the end (docs/format.md)."""
    assert parts_of("device", "text", ["DVS1", ""]) == {
        "device.text-0": (0x445653, 0),
        "device.text-1": (0x310000, 0),
    }
    assert parts_of("gain", "real", [1.5]) == {
        "gain.real-0": (0x3FF800,),
        "gain.real-1": (0,),
        "gain.real-2": (0,),
    }


@pytest.mark.parametrize(
    "columns",
    [
        {"a.text-1": (1,)},
        {"a.text-0": (0x310000,), "a.text-2": (0,)},
        {"a.text-0": (0x310000,), "a": (1,)},
        {"a.text-0": (0x310000,), "a.real-0": (1,)},
        {"label.text-0": (0x310000,)},
        {"a.text-0": (0xFF0000,)},
        {"a.text-0": (-1,)},
        {"a.text-0": (2**24,)},
        {"a.text-0": (0x310031,)},
        {"a.real-0": (0,), "a.real-1": (0,)},
        {"a.real-0": (0x7FF000,), "a.real-1": (0,), "a.real-2": (0,)},
        {"a.real-0": (0x800000,), "a.real-1": (0,), "a.real-2": (0,)},
        {"a.real-0": (0,), "a.real-1": (0,), "a.real-2": (1,)},
    ],
)
def test_columns_that_only_look_like_parts_stay_as_they_are(columns: dict[str, Any]) -> None:
    """A number is missing, the name is taken, or no builder writes such numbers: the columns are whole numbers."""
    found = values_of(columns, frozenset({"label"}))
    assert found == columns
    assert all(kind_of(values) == "whole" for values in found.values())


def test_a_part_of_a_folder_has_its_own_values() -> None:
    """Also if the values of all files were decoded before."""
    content = FolderContent(
        decoding=Decoding(formats={"npy": 1}, fields=("t", "x")),
        classes=("a",),
        labels=(0, 0),
        columns={**parts_of("gain", "real", [0.5, math.pi]), **parts_of("place", "text", ["garden", "x"])},
    )
    assert content.values == {"gain": (0.5, math.pi), "place": ("garden", "x")}
    assert content.part(slice(1, 2)).values == {"gain": (math.pi,), "place": ("x",)}
