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
    assert [row["name"].split(":")[0] for row in rows] == [
        "growing_end",
        "growing_middle",
        "growing_bound",
        "growing_middle_bound",
    ]
    assert all(row["value"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "recordings", "count"),
    [
        ("nmnist_tonic", 12, 3),
        ("gesture_tonic", 2, 3),
        ("nmnist_spikingjelly_filling,nmnist_spikingjelly_loading,gesture_spikingjelly_bytes_of", 12, 3),
        ("evt3", 12, 1),
    ],
)
def test_against_a_peer(tmp_path: Path, rows: str, recordings: int, count: int) -> None:
    """Each row has a number, or names the command that installs its peer.

    Tonic caches 600 frames of 64 KB for a gesture, however few its events are, so two gestures are enough. Left out: SpikingJelly
    needs minutes for gestures in bins of 10 ms.
    """
    sizes = ("--recordings", str(recordings), "--events", "600")
    done = bench("datasets", "--size", "small", "--rows", rows, *sizes, "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert len(found) == count
    for row in found:
        assert row.get("value", 0) > 0 or "python -m benchmarks.peers" in row["skipped"]
        assert "tonic" not in rows or "value" in row
