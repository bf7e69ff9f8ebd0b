"""Cached machine code: without a writable folder everything works, and one warning says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPIKES = """
import logging
logging.basicConfig(format="%(message)s")
import numpy as np, torch
import spikestore.pipeline.transforms.fused.kernels, spikestore.pipeline.readers.cochlea_files.heap_kernels  # compile at their first call
from spikestore.train.data.frames import frame_kernels
from spikestore.train.neurons import IAF
print(IAF()(torch.full((1, 4, 1), 0.5)).flatten().tolist(), IAF.__module__, frame_kernels.__file__)
"""


def spikes(code: Path, cache: str) -> subprocess.CompletedProcess[str]:
    """Return the spikes of neurons, computed by the code in a folder, in another process."""
    roots = os.pathsep.join(str(code / root) for root in ("store_schemas", "store", "pipeline", "train"))
    return subprocess.run(
        [sys.executable, "-c", SPIKES],
        env={**os.environ, "PYTHONPATH": roots, "NUMBA_CACHE_DIR": cache, "XDG_CACHE_HOME": "/dev/null/none"},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Return a copy of the code in which no folder for compiled code can be created, not even by root."""
    for root in ("store_schemas", "store", "pipeline", "train"):
        shutil.copytree(ROOT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
        for package in {path.parent for path in (tmp_path / root).rglob("*.py")}:
            (package / "__pycache__").touch()
    return tmp_path


@pytest.mark.slow
def test_no_writable_cache_folder(sealed: Path, tmp_path: Path) -> None:
    """If the installation and the user's cache are read-only, spikes are right, and one line names NUMBA_CACHE_DIR."""
    done = spikes(sealed, "/dev/null/none")
    assert done.stdout.startswith("[0.0, 1.0, 0.0, 1.0]")
    assert str(sealed) in done.stdout
    assert done.stderr.count("every process compiles for some seconds; set NUMBA_CACHE_DIR") == 1
    done = spikes(sealed, str(tmp_path / "cache"))  # the advice of the line
    assert done.stdout.startswith("[0.0, 1.0, 0.0, 1.0]")
    assert done.stderr == ""
    assert list((tmp_path / "cache").rglob("*.forward-*.nbc"))
