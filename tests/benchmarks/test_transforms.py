"""`benchmarks.transforms`: each row runs with a few recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.datasets.scale import Scale
from benchmarks.form import Row
from benchmarks.transforms.rows import ROWS


@pytest.mark.slow
@pytest.mark.parametrize("measure", ROWS)
def test_row(tmp_path: Path, measure: Callable[[Scale], Row]) -> None:
    """The row has a number, or names the command that installs its peer."""
    row = measure(Scale(tmp_path, small=True, recordings=2))
    assert row.ratios or "python -m benchmarks.peers" in (row.skipped or "")
