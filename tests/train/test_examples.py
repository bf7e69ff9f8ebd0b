"""Runs the examples of docs/examples that no other test runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("pytorch_lightning") is None, reason="pytorch-lightning is not installed")
def test_lightning_trains_from_a_loader(store_folder: Path, tmp_path: Path) -> None:
    """The Trainer uses whole epochs, each with another order, and validates; the network learns."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "lightning_fit.py"), str(store_folder), "small"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"steps (\d+) epochs (\d+) accuracy ([\d.]+)", done.stdout)
    assert found is not None, done.stdout
    assert (int(found[1]), int(found[2])) == (20, 2)
    assert float(found[3]) > 0.6
