"""Ranks that train together have the same results as a single process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import rank_steps
from tests.train.runs.test_loop import silent
from torch.distributed import HashStore  # type: ignore[attr-defined]

from spikestore.store import Store
from spikestore.store_schemas.errors import UsageError
from spikestore.train.data import placement
from spikestore.train.runs import ranks as ranks_module
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint
from spikestore.train.runs.config import load_config
from spikestore.train.runs.ranks import AnotherRankError, RankError, Ranks
from spikestore.train.runs.run import run

RANKS = 2


CONFIG = """
epochs = 2
checkpoint_batches = 2

[data]
name = "small"
batch_size = 16
residence = "{residence}"

[network]
hidden = [12]
input_scale = 3.0

[optimiser]
learning_rate = 0.01
"""


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program on two ranks to its end."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    return subprocess.run(
        [sys.executable, *launch, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def train_on_ranks(config: Path, store: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run ``spikestore train`` on two ranks to its end."""
    where = ("--store", store, "--folder", folder, "--device", "cpu")
    return torchrun("-m", "spikestore.store", "train", config, *where, *more)


@pytest.fixture(scope="module")
def together(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the results of all cases on two ranks."""
    out = tmp_path_factory.mktemp("ranks") / "found.pt"
    done = torchrun(rank_steps.__file__, store_folder, out)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return torch.load(out)


@pytest.mark.slow
@pytest.mark.parametrize("name", rank_steps.CASES)
def test_equals_one_process(name: str, together: Any, store_folder: Path) -> None:
    """Losses, weights, spikes and accuracy of two gloo ranks equal those of one process with the same global batches."""
    found, wanted = together[name], rank_steps.case(name, store_folder)
    assert len(wanted["losses"].unique()) == len(wanted["losses"])
    assert found["weights"].keys() == wanted["weights"].keys()
    exact = rank_steps.CASES[name][1] == "float32"
    # In half precision a weight between two numbers may be rounded the other way, and a spike may differ.
    loss, weight = (1e-5, 2e-5) if exact else (1e-3, 0.1)
    torch.testing.assert_close(found["losses"], wanted["losses"], rtol=loss, atol=loss)
    for parameter, value in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][parameter], value, rtol=0, atol=weight)
    for layer, (spikes, places) in wanted["spikes"].items():
        assert found["spikes"][layer] == ((spikes if exact else pytest.approx(spikes, rel=0.01)), places)
    assert found.get("accuracy") == wanted.get("accuracy")


@pytest.mark.slow
def test_no_thread_is_left_when_ranks_part(together: Any) -> None:
    """Gloo's threads end with the group: a thread that is left may end the interpreter's exit in SIGABRT."""
    assert together["threads left"] == []


class Stop(Exception):
    """Ends a run within an epoch."""


@pytest.mark.slow
def test_another_number_of_ranks_resumes(store_folder: Path, tmp_path: Path) -> None:
    """On two ranks, the command resumes within an epoch where one process stopped, and ends like a run that never stopped."""
    path = tmp_path / "small.toml"
    path.write_text(CONFIG.format(residence="host"))
    config, store = load_config(path), Store(store_folder)
    whole = run(config, store, tmp_path / "whole", device="cpu", progress=silent)
    steps = 0

    def stopping(done: int, total: int, label: str) -> None:
        nonlocal steps
        steps += label.startswith("epoch")
        if steps == 5:
            raise Stop

    with pytest.raises(Stop):
        run(config, store, tmp_path / "parts", device="cpu", progress=stopping)
    assert load_checkpoint(tmp_path / "parts/last.pt").position.batch == 4
    done = train_on_ranks(path, store_folder, tmp_path / "parts", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # of one rank only
    assert (found["ranks"], found["device"], found["precision"]) == (2, "cpu", "float32")
    assert done.stderr.count("resuming ") == 1
    assert found["best_accuracy"] == whole.best
    for mine, wanted in zip(found["epochs"], whole.epochs, strict=True):
        assert mine["loss"] == pytest.approx(wanted.loss, rel=1e-5)
        assert (mine["accuracy"], mine["spike_rates"]) == (wanted.accuracy, wanted.spike_rates)
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    for name, value in one.weights.items():
        torch.testing.assert_close(other.weights[name], value, rtol=0, atol=2e-5)
    assert sorted(each.name for each in (tmp_path / "parts").iterdir()) == [
        ".writer",
        "best.pt",
        "last.pt",
        "tensorboard",
    ]


@pytest.mark.slow
def test_a_rank_that_fails_ends_all(store_folder: Path, tmp_path: Path) -> None:
    """If one rank reads a damaged object, all end, and one line names the rank and the object."""
    store = shutil.copytree(store_folder, tmp_path / "store")
    folder = store / Store(store)["small:train"].data_path / "value" / "c"
    damaged = sorted(folder.iterdir())[-1]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 3] ^= 255
    damaged.write_bytes(data)
    path = tmp_path / "small.toml"
    path.write_text(CONFIG.format(residence="stream"))
    done = train_on_ranks(path, store, tmp_path / "run")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("spikestore: ")]
    assert len(said) == 1, done.stderr
    assert re.search(rf"rank \d of 2: .*value/c/{damaged.name}", said[0])


@pytest.mark.slow
def test_an_error_of_all_ranks_is_reported_once(store_folder: Path, tmp_path: Path) -> None:
    """Wrong use is reported in one line, for any number of ranks."""
    command: list[str | Path] = [
        "-m",
        "spikestore.store",
        "train",
        tmp_path / "none.toml",
        "--store",
        store_folder,
    ]
    done = torchrun(*command)
    assert done.returncode != 0
    assert done.stderr.count("no configuration at") == 1


def test_the_first_to_fail_speaks() -> None:
    """Its error has its number; ranks that fail later end silently; a lost connection is reported as such."""
    store = HashStore()
    first, second = (Ranks(rank, 2, rank, store) for rank in (1, 0))
    told = ranks_module._with_rank(UsageError("no such file"), first)
    assert isinstance(told, UsageError)
    assert str(told) == "rank 1 of 2: no such file"
    assert isinstance(ranks_module._with_rank(UsageError("no such file"), second), AnotherRankError)
    lost = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:7")
    told = ranks_module._with_rank(lost, Ranks(0, 2, 0, HashStore()))
    assert isinstance(told, RankError)
    assert "rank 0 of 2 lost the connection to the other ranks" in str(told)
    own = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert ranks_module._with_rank(own, Ranks(0, 2, 0, HashStore())) is own


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank uses the GPU of its number on the machine, and no other; more ranks than GPUs, and one GPU for all, are rejected."""
    taken: list[torch.device] = []
    tried: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for module in (ranks_module, placement):
        monkeypatch.setattr(module, "try_device", tried.append)
    for asked in ("auto", "cuda"):
        assert ranks_module._own_device(asked, Ranks(3, 4, local=1)) == torch.device("cuda:1")
    assert taken == tried == [torch.device("cuda:1")] * 2
    assert ranks_module._own_device("cpu", Ranks(3, 4, local=3)) == torch.device("cpu")
    assert ranks_module._own_device("cuda:1", Ranks()) == torch.device("cuda:1")
    with pytest.raises(
        UsageError, match=r"this machine has 2 GPUs, but more ranks run on it.*--nproc-per-node gpu"
    ):
        ranks_module._own_device("cuda", Ranks(2, 3, local=2))
    with pytest.raises(UsageError, match="use --device cuda, not cuda:1"):
        ranks_module._own_device("cuda:1", Ranks(0, 2))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="this machine has 1 GPU, but more ranks run on it"):
        ranks_module._own_device("cuda", Ranks(1, 2, local=1))
