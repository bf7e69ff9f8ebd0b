"""`benchmarks.datasets`: its rows run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.benchmarks.bench_runs import bench


@pytest.mark.slow
def test_a_set_grows(tmp_path: Path) -> None:
    sizes = ("--recordings", "70", "--events", "500")
    done = bench("datasets", "--rows", "growing", *sizes, "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["name"].split(":")[0] for row in rows] == ["growing_end", "growing_middle"]
    assert all(row["value"] > 0 for row in rows)
