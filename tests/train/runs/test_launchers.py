"""The variables of launchers: processes meet as with torchrun, or an error names the variable."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spikestore.store.cli.main import main
from spikestore.store_schemas.errors import UsageError
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint
from spikestore.train.runs.launchers import Launched, launched
from spikestore.train.runs.ranks import RankError, joined

MEET = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
POINT = "127.0.0.1:29500"

STARTED = {
    "script": {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
    "srun": {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1"},
    "Open MPI": {
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    },
    "MPICH": {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1"},
}


@pytest.mark.parametrize("name", STARTED)
def test_one_of_several(name: str) -> None:
    """With an address to meet, it joins; without one it is rejected, with the variables and what to do."""
    variables = STARTED[name]
    assert launched({**variables, **MEET}) == Launched(1, 2, 1, POINT)
    with pytest.raises(UsageError) as caught:
        launched(variables)
    text = str(caught.value)
    assert "\n" not in text
    for word in (next(iter(variables)), "started 2 processes", "Process 1", "MASTER_ADDR and MASTER_PORT are not set"):  # fmt: skip
        assert word in text
    with pytest.raises(UsageError, match="MASTER_PORT is not set"):
        launched({**variables, "MASTER_ADDR": "a"})


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1"},
        {"RANK": "", "WORLD_SIZE": ""},
        {
            "SLURM_PROCID": "0",
            "SLURM_NTASKS": "8",
        },  # a batch script of eight tasks, in which one process runs
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"},
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
    ],
)
def test_the_only_process(variables: dict[str, str]) -> None:
    """A process that is alone stays alone, whatever else a cluster sets."""
    assert launched(variables) is None


def test_a_task_above_zero_is_one_of_several() -> None:
    """It also counts if the step's own variable is missing."""
    with pytest.raises(UsageError, match="srun started 8 processes"):
        launched({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"})


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0"}, "RANK is 0, but WORLD_SIZE is not set"),
        ({"RANK": "1"}, "RANK is 1, but WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set"),
        ({"WORLD_SIZE": "2", **MEET}, "WORLD_SIZE is 2, but RANK is not set"),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "OMPI_COMM_WORLD_RANK is 1, but OMPI_COMM_WORLD_SIZE is not set"),
        ({"PMI_SIZE": "3"}, "PMI_SIZE is 3, but PMI_RANK is not set"),
    ],
)
def test_half_of_the_numbers(variables: dict[str, str], message: str) -> None:
    """A process that may be one of several does not silently train alone; the line names what to set or unset."""
    with pytest.raises(UsageError) as caught:
        launched(variables)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    unset = next(iter(variables))
    assert f"unset {unset}" in text
    assert launched({name: value for name, value in variables.items() if name != unset}) is None  # the advice


def test_half_of_the_numbers_beside_another_launcher() -> None:
    """A launcher that sets both numbers takes precedence: mpirun passes RANK or WORLD_SIZE of a shell to its processes."""
    assert launched({**STARTED["Open MPI"], **MEET, "WORLD_SIZE": "2"}) == Launched(1, 2, 1, POINT)


def test_numbers_that_are_none() -> None:
    """They are named with their variable."""
    for variables, message in (
        ({"RANK": "a", "WORLD_SIZE": "2"}, "the variable RANK must be a whole number, got 'a'"),
        ({"RANK": "0", "WORLD_SIZE": "-2"}, "the variable WORLD_SIZE must be a whole number, got '-2'"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2, but WORLD_SIZE is 2: ranks must be from 0 to 1"),
        (
            {**MEET, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "x"},
            "LOCAL_RANK must be a whole number, got 'x'",
        ),
        (
            {**MEET, "PMI_RANK": "1", "PMI_SIZE": "2", "LOCAL_RANK": "x"},
            "the variable LOCAL_RANK must be a whole number, got 'x'",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            launched(variables)


CONFIG = """
epochs = 1

[data]
name = "small"
batch_size = 64

[network]
hidden = [12]
"""


def start(folder: Path, store: Path, variables: dict[str, str]) -> subprocess.Popen[str]:
    """Start ``spikestore train`` with a launcher's variables."""
    (folder / "small.toml").write_text(CONFIG)
    where = ["--store", str(store), "--folder", str(folder / "run"), "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-m", "spikestore.store", "train", str(folder / "small.toml"), *where],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_refused_before_anything_is_done(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message is one line, and no folder is created."""
    (tmp_path / "small.toml").write_text(CONFIG)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    where = ["--store", str(store_folder), "--folder", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["train", str(tmp_path / "small.toml"), *where]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "MASTER_ADDR and MASTER_PORT are not set" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_of_a_launcher_train_together(store_folder: Path, tmp_path: Path) -> None:
    """Started as by srun, they train one network, write one set of files, and have the weights of a single process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = [
        start(
            tmp_path,
            store_folder,
            {
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "SLURM_PROCID": str(rank),
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_LOCALID": str(rank),
            },
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=240)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert "training on cpu, with 1 other rank" in said[0]
    assert said[1] == ""
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 1
    together = load_checkpoint(tmp_path / "run/last.pt").weights
    (tmp_path / "alone").mkdir()
    process = start(tmp_path / "alone", store_folder, {})
    assert "best accuracy" in process.communicate(timeout=240)[1]
    alone = load_checkpoint(tmp_path / "alone/run/last.pt").weights
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=0, atol=2e-5)


def test_ranks_that_cannot_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set, and for which processes."""
    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "http"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(
            RankError,
            match=r"rank 1 of 2 could not connect to the other ranks .*For all ranks, set MASTER_ADDR to the host of rank 0",
        ),
        joined("cpu"),
    ):
        pass
