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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ("tonic", 6),
        ("nmnist_spikingjelly_filling,nmnist_spikingjelly_loading,gesture_spikingjelly_bytes_of", 3),
        ("evt3", 1),
    ],
)
def test_against_a_peer(tmp_path: Path, rows: str, count: int) -> None:
    """Each row has a number, or says which command installs its peer.

    Left out: SpikingJelly needs minutes for gestures in bins of 10 ms, however few their events are.
    """
    sizes = ("--recordings", "12", "--events", "600")
    done = bench("datasets", "--size", "small", "--rows", rows, *sizes, "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(found) == count
    for row in found:
        assert row.get("value", 0) > 0 or "python -m benchmarks.peers" in row["skipped"]
        assert rows != "tonic" or "value" in row
