"""The network is better than a linear read-out of summed spikes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.benchmarks.bench_runs import bench


@pytest.mark.slow
def test_spikes_in_time_are_worth_three_points(tmp_path: Path) -> None:
    """On the demo set, with the demo configuration and its seed, the network gains at least 3 points of accuracy on the test split."""
    done = bench("accuracy", "--seeds", "1", "--json", tmp_path / "accuracy.json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "accuracy.json").read_text())["rows"]}
    test = rows["points_above_linear_read_out_test"]
    # A read-out that is worth beating: 35 classes are 3 % by chance.
    assert test["peer"]["accuracy"] > 0.4
    assert test["low"] >= 3
