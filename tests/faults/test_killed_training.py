"""Training that is killed at a random instant, alone or with its group, ends with the same weights when it is run again."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from tests.faults.effort import SEED, cases
from tests.scenarios.command_runs import Commands, alive, ending, family, wait_until

from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint

CONFIG = """
epochs = 4
checkpoint_batches = 2
[data]
name = "small"
batch_size = 16
residence = "{residence}"
[network]
hidden = [12]
input_scale = 3.0
"""


@pytest.mark.slow
@pytest.mark.parametrize("residence", ["host", "stream"])
def test_killed(with_torch_commands: Commands, store_folder: Path, residence: str) -> None:
    """A killed run resumes from its last checkpoint, and its results equal those of an undisturbed run to the bit."""
    commands, rng = with_torch_commands, random.Random(f"{SEED} {residence}")  # noqa: S311 - no secret
    (commands.folder / "small.toml").write_text(CONFIG.format(residence=residence))

    def command(name: str) -> tuple[str | Path, ...]:
        return ("train", "small.toml", "--store", store_folder, "--folder", name)

    commands.well(*command("whole"))
    expected = load_checkpoint(commands.folder / "whole/last.pt")
    for case in range(cases(1, 12)):
        name = f"killed{case}"
        assert kill(commands, command(name), 0, rng), "the first checkpoint comes early in the run"
        kill(commands, command(name), rng.random() ** 2 * 0.3, rng)
        done = commands.well(*command(name))
        assert "resum" in done.err
        found = load_checkpoint(commands.folder / name / "last.pt")
        what = (SEED, residence, case)
        assert found.position == expected.position, what
        assert found.weights.keys() == expected.weights.keys()
        assert all(torch.equal(found.weights[key], expected.weights[key]) for key in expected.weights), what


def kill(commands: Commands, command: tuple[str | Path, ...], seconds: float, rng: random.Random) -> bool:
    """Start a run and kill it some time after its first new checkpoint; return whether it was still running."""
    last = commands.folder / str(command[-1]) / "last.pt"
    before = last.stat().st_ino if last.exists() else 0
    with ending(commands.start(*command)) as process:
        wait_until(
            lambda: process.poll() is not None or (last.exists() and last.stat().st_ino != before),
            "a checkpoint",
        )
        time.sleep(seconds)
        members = family(process)
        running = process.poll() is None
        if running:
            if rng.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
        wait_until(lambda: not alive(members), "the end of all processes")
    return running
