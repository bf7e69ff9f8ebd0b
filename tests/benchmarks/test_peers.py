"""Peers run in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.iaf.against_peers import write_batch
from benchmarks.peers import environments
from benchmarks.peers.environments import ENVIRONMENTS, Environment
from benchmarks.peers.process import PeerError, PeerProcess, refuse_missing
from benchmarks.peers.slow_disk import GROUPS, slow_disk
from torch import nn


@pytest.fixture
def no_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty folder of environments, with one peer that needs only Python and one that is not installed."""
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")
    monkeypatch.setitem(ENVIRONMENTS, "counting", Environment("json", ()))
    monkeypatch.setitem(ENVIRONMENTS, "absent", Environment("no_such_module", ()))


@pytest.mark.usefixtures("no_environments")
def test_a_peer_runs_once_for_each_request() -> None:
    """Text that a peer prints is not read as an answer; if the peer ends, the error has its exit status."""
    with PeerProcess("counting", "tests.benchmarks.counting_peer", "5") as peer:
        assert peer.facts == {"first": 5}
        assert [peer.rate(), peer.rate()] == [6.0, 7.0]
        with pytest.raises(PeerError, match="counting ended with exit status 3"):
            peer.rate()


@pytest.mark.usefixtures("no_environments")
def test_what_is_missing_is_said_with_the_remedy() -> None:
    with pytest.raises(PeerError, match=r"no_such_module.*: python -m benchmarks\.peers absent$"):
        refuse_missing("absent")


@pytest.mark.usefixtures("no_environments")
def test_a_peer_has_its_own_interpreter_once_there_is_one(tmp_path: Path) -> None:
    assert environments.python_of("counting") == sys.executable
    python = tmp_path / "peers" / "counting" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert environments.python_of("counting") == python


def test_a_batch_for_another_process(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    x = torch.randint(0, 9, (2, 5, 1, 6)).float()
    with np.load(write_batch(tmp_path / "batch.npz", network, x, torch.tensor([2, 0]))) as found:
        assert sorted(found.files) == ["bias0", "bias1", "frames", "labels", "weight0", "weight1"]
        assert np.array_equal(found["frames"], x.flatten(2).numpy())
        assert found["weight1"].shape == (3, 4)
        assert found["labels"].tolist() == [2, 0]


def test_a_slow_disk(tmp_path: Path) -> None:
    """Processes that start in the block have the limit; afterwards, this process has none."""

    def own_groups() -> str:
        groups = ["cat", "/proc/self/cgroup"]
        return subprocess.run(groups, capture_output=True, text=True, check=True).stdout

    group = GROUPS / f"spikestore-{os.getpid()}"
    with ExitStack() as stack:
        try:
            stack.enter_context(slow_disk(tmp_path, 200_000_000))
        except OSError as error:
            pytest.skip(str(error))
        assert group.name in own_groups()
        limits = (group / "blkio.throttle.read_bps_device").read_text(encoding="ascii")
        assert limits.split()[1] == "200000000"
    assert group.name not in own_groups()
    assert not group.exists()
