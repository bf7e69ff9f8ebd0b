"""Runs a benchmark as users run it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m benchmarks.NAME`` at the top of the repository."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)],
        cwd=ROOT,
        # Threads that wait don't spin: other tests want the cores.
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        check=False,
    )
