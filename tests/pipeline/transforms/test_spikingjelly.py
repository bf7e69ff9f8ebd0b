"""The rules that `spikingjelly_rules` writes out are those of SpikingJelly 2.0.0, where ``make peers`` has installed it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.peers.environments import python_of
from benchmarks.peers.process import ROOT
from tests.pipeline.spikingjelly_rules import RULES

COUNT, EVENTS, SIDE = 12, 400, 5


@pytest.mark.slow
@pytest.mark.skipif(python_of("spikingjelly") == sys.executable, reason="make peers installs SpikingJelly")
@pytest.mark.parametrize("camera", [False, True])
def test_frames_are_those_of_spikingjelly(tmp_path: Path, camera: bool) -> None:
    """Recordings of SHD's kind with float16 times between 0 and 1.4 s, and of cameras with whole µs."""
    random = np.random.default_rng(0)
    times = random.random((COUNT, EVENTS)) * 1.4
    columns: dict[str, Any] = {"offsets": np.arange(COUNT + 1) * EVENTS, "size": [SIDE] * (1 + camera)}
    columns["x"] = random.integers(0, SIDE, COUNT * EVENTS).astype(np.uint16)
    site = columns["x"].astype(int)
    if camera:
        columns["t"] = np.sort((times * 1e6).astype(np.int64)).reshape(-1)
        columns["y"] = random.integers(0, SIDE, COUNT * EVENTS)
        columns["p"] = random.integers(0, 2, COUNT * EVENTS)
        site = (columns["p"] * SIDE + columns["y"]) * SIDE + site
    else:
        columns["t"] = np.sort(times.astype(np.float16)).reshape(-1)
    np.savez(tmp_path / "recordings.npz", **columns)
    unit = 1000 if camera else 1  # µs, or ms
    numbers = [("duration", 4 * unit), ("duration", 10 * unit), ("number", 7), ("time", 7), ("time", 16)]
    rules = ",".join(f"{rule}={number}" for rule, number in numbers)
    command = [str(python_of("spikingjelly")), "-m", "benchmarks.peers.spikingjelly_integration"]
    files = [str(tmp_path / "recordings.npz"), rules, str(tmp_path / "frames.npz")]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "frames.npz")
    sites = 2 * SIDE**2 if camera else SIDE
    for rule, number in numbers:
        length = number * 1000 // unit if rule == "duration" else number
        for row in range(COUNT):
            some = slice(row * EVENTS, (row + 1) * EVENTS)
            frames = RULES[rule](columns["t"][some], site[some], sites, length)
            np.testing.assert_array_equal(
                frames, theirs[f"{rule}={number} {row}"].reshape(len(frames), sites)
            )
