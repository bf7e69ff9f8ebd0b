"""A store that was written once is read as it was meant; golden/README.md says when it may change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikestore.store import Store, verify

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_golden_store_reads_as_it_was_written(expected: dict[str, Any]) -> None:
    """Every column of every row, in whole and row by row, and the digest."""
    features = Store(GOLDEN / "store")["golden:test"]
    columns = features.read()
    found = dict(columns.in_order(features.layout))
    assert found.keys() | {"digest"} == expected.keys()
    for name, column in found.items():
        assert column.tolist() == expected[name], name
    assert features.digest == expected["digest"]
    assert features.classes == ("left", "right")
    offsets = columns.offsets()
    for row in range(len(features)):
        frames = features.frames(row)
        assert frames.shape == (expected["n_bins"][row], 2, 2, 3)
        assert np.flatnonzero(frames).tolist() == expected["index"][offsets[row] : offsets[row + 1]]


def test_the_golden_store_is_whole() -> None:
    """It has two fragments, a skipped row, and `verify` finds nothing at any depth."""
    features = Store(GOLDEN / "store")["golden:test"]
    assert [row.samples for row in features.manifest.fragments] == [64, 6]
    assert [row.row for row in features.manifest.skipped] == [66]
    assert verify(features, depth="deep") == []


def test_the_golden_rows_follow_the_formula_of_the_readme(expected: dict[str, Any]) -> None:
    """What golden/README.md says in words, computed anew."""
    value = iter(expected["value"])
    index = iter(expected["index"])
    count = 0
    for row in range(70):
        bins = 0 if row == 66 else 1 + row % 5
        places = [] if row == 3 else list(range(row % 3, 12 * bins, 3))
        assert (expected["n_bins"][row], expected["nnz"][row]) == (bins, len(places))
        assert [next(index) for _ in places] == places
        assert [next(value) for _ in places] == [1 + (count + i) % 4 for i in range(len(places))]
        count += len(places)
        assert expected["label"][row] == (-1 if row == 66 else row % 2)
        assert expected["speaker"][row] == (0 if row == 66 else row // 10)
        assert expected["n_events"][row] == (0 if row in {3, 66} else 1000 + row)


def test_the_golden_store_is_small() -> None:
    """A few kilobytes, so that it may stay in the repository for ever."""
    assert sum(path.stat().st_size for path in (GOLDEN / "store").rglob("*") if path.is_file()) < 40_000
