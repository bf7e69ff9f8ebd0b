"""Damaged recordings of every format: they are read, or an error names the file or the recording.

`fuzzed_recordings` has the cases. A few run in the process of the tests, many in separate processes.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.faults.effort import SEED, cases
from tests.faults.fuzzed_recordings import FORMATS, content_of, read_case

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "cochlea" else name for name in FORMATS]
)
def test_a_few(name: str, tmp_path: Path) -> None:
    """A few cases of each format; the whole file is read."""
    assert read_case(name, FORMATS[name][1](0, tmp_path), tmp_path) == "read"
    ends = [read_case(name, content_of(name, SEED, case, tmp_path), tmp_path) for case in range(60)]
    assert "some damaged" in ends
    assert {*ends} <= {"read", "some damaged", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many(name: str, tmp_path: Path) -> None:
    """Many cases, in processes of their own, which a library may crash; the failing case is named by format, seed and number."""
    count = cases(150, 4000)
    half = -(-count // 2)

    def read(first: int) -> str:
        last = min(first + half, count)
        arguments = [name, str(SEED), str(first), str(last), str(tmp_path / str(first))]
        done = subprocess.run(
            [sys.executable, "-W", "ignore::UserWarning", "-m", "tests.faults.fuzzed_recordings", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-300:]}{done.stderr[-3000:]}"
        return done.stdout

    with ThreadPoolExecutor(2) as pool:
        lines = [line for out in pool.map(read, range(0, count, half)) for line in out.splitlines()]
    assert len(lines) == count
    assert [line for line in lines if line.split(" ", 1)[1] not in {"read", "some damaged", "refused"}] == []
