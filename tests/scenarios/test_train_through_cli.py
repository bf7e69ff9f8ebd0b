"""Demo data, preprocess, train and evaluate through the command line, in an empty folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.scenarios.command_runs import Commands
from tests.scenarios.conftest import Built
from tests.scenarios.refusals import Run, well

from spikestore.store import Store

CONFIG = """
epochs = {epochs}

[data]
name = "demo"
train = "train"
valid = "valid"
batch_size = 64
{data}

[network]
hidden = [32]

[optimiser]
learning_rate = {learning_rate}
"""


def badly(run: Run, *arguments: str | Path) -> str:
    """Run a command that must end with exit status 2, in this process; return its one line on stderr."""
    answer = run(*arguments)
    assert answer.status == 2, answer
    return answer.err


def write_config(folder: Path, *, epochs: int = 1, learning_rate: float = 2e-3, data: str = "") -> Path:
    """Write a configuration of a small network."""
    path = folder / "small.toml"
    path.write_text(CONFIG.format(epochs=epochs, learning_rate=learning_rate, data=data))
    return path


def test_train_and_evaluate(built: Built, run: Run, tmp_path: Path) -> None:
    """A run trains, has nothing to do when repeated, and resumes with more epochs; evaluation, also with another backend, gives the measured accuracy."""
    config = write_config(tmp_path)
    first = json.loads(well(run, "train", config, "--store", built.store, "--json").out)
    assert [epoch["epoch"] for epoch in first["epochs"]] == [1]
    assert 0 < first["best_accuracy"] < 1
    again = well(run, "train", config, "--store", built.store)
    assert "is finished: it has all" in again.err
    more = json.loads(well(run, "train", config, "--store", built.store, "--epochs", "2", "--json").out)
    assert [epoch["epoch"] for epoch in more["epochs"]] == [2]
    found = json.loads(
        well(
            run,
            "evaluate",
            "runs/small",
            "--store",
            built.store,
            "--split",
            "valid",
            "--json",
            "--backend",
            "sinabs",
        ).out
    )
    assert found == {
        "checkpoint": "runs/small/best.pt",
        "split": "valid",
        "accuracy": more["best_accuracy"],
        "samples": 70,
    }


@pytest.mark.slow
def test_neither_dask_nor_tonic_is_imported(built: Built, with_torch: dict[str, str], tmp_path: Path) -> None:
    """A training node needs nothing of the pipeline extra: the commands work where its packages can't be imported."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("dask", "distributed", "tonic"):
        (blocked / f"{name}.py").write_text(f'raise ModuleNotFoundError("blocked", name="{name}")\n')
    alone = Commands(tmp_path, {**with_torch, "PYTHONPATH": str(blocked)})
    config = write_config(tmp_path)
    alone.well("train", config, "--store", built.store)
    alone.well("evaluate", "runs/small/last.pt", "--store", built.store)


def test_help_names_every_residence(run: Run) -> None:
    """The help names the residences that configurations accept."""
    words = run("train", "--help").out.split()
    assert {"host", "(memory),", "device", "stream", "auto;"} <= set(words)


def test_what_is_wrong_is_one_clear_line(built: Built, run: Run, tmp_path: Path) -> None:
    """Wrong use ends with exit status 2 and a line that names what is wrong."""
    config = write_config(tmp_path, data='residense = "host"')
    assert "data.residense: unknown field, did you mean 'residence'?" in badly(run, "train", config)
    config = write_config(tmp_path)
    assert "no store at" in badly(run, "train", config, "--store", "empty")
    assert "no configuration at" in badly(run, "train", "nothing.toml")
    assert "backend: must be 'fused', 'sinabs' or 'exodus', got 'slayer'" in badly(
        run, "train", config, "--backend", "slayer"
    )
    assert "no checkpoint at" in badly(run, "evaluate", "nothing.pt")
    assert "no best.pt or last.pt in ." in badly(run, "evaluate", ".")
    config.write_text(config.read_text().replace("[32]", "[100000000000]"))
    command = ("train", config, "--store", built.store)
    assert f"{config}: network.hidden[0] is too large" in badly(run, *command)


def test_other_data_are_refused_unless_asked_for(built: Built, run: Run, tmp_path: Path) -> None:
    """A run does not resume with a set of another digest under the same name, unless a flag allows it."""
    config = write_config(tmp_path)
    well(run, "train", config, "--store", built.store)
    store, other = Store(built.store), Store(tmp_path / "other")
    shutil.copytree(built.store, tmp_path / "other")
    splits = store.splits("demo")
    other.point("demo", {"train": splits["test"]}, move=True)
    command = ("train", config, "--store", tmp_path / "other", "--epochs", "2")
    assert "--other-data" in badly(run, *command)
    well(run, *command, "--other-data")
