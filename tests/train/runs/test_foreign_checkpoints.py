"""Checkpoints that are forged or edited: each is rejected with its name before anything is trained."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.runs.test_loop import Stop, config, silent

from spikestore.store import Store
from spikestore.store_schemas.errors import DamagedError, SpikestoreError, UsageError
from spikestore.train.runs.run import evaluate, run

PLAN = config(epochs=2, checkpoint_batches=2)
NAN = torch.full((12, 10), torch.nan)


@pytest.fixture(scope="module")
def content(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the content of the checkpoint of a run that was stopped within an epoch, without the digest."""
    folder = tmp_path_factory.mktemp("run")

    def stopping(done: int, total: int, label: str) -> None:
        if label.startswith("epoch") and done >= 80:
            raise Stop

    with pytest.raises(Stop):
        run(PLAN, Store(store_folder), folder, device="cpu", progress=stopping)
    found: dict[str, Any] = torch.load(folder / "last.pt")
    del found["sha256"]
    assert found["position"]["batch"] == 4
    return found


def put(content: Any, path: str, value: Any) -> None:
    """Set a member, by its path."""
    *names, last = path.split("/")
    for name in names:
        content = content[int(name) if name.isdigit() else name]
    content[int(last) if last.isdigit() else last] = value


def drop(content: Any, path: str) -> None:
    """Delete a member, by its path."""
    *names, last = path.split("/")
    for name in names:
        content = content[int(name) if name.isdigit() else name]
    del content[int(last) if last.isdigit() else last]


EDITS: list[tuple[str, Any, str]] = [
    ("data", [1], "data: "),
    ("data", {}, "data: the split 'train' is missing"),
    ("spikestore_checkpoint", 0, "not a checkpoint"),
    ("spikestore_checkpoint", True, "not a checkpoint"),
    ("config", None, "config: "),
    ("shape", {"sites": 10}, "shape.classes: required field is missing"),
    ("shape/sites", "10", "shape.sites: "),
    ("position/epoch", "a", "position.epoch: "),
    ("position/epoch", -3, "position.epoch: "),
    ("position/batch", 1000, "position.samples is 64, but the batches before position.batch = 1,000 have 16,000 samples"),
    ("position", {"epoch": 0, "batch": 1000, "loss_sum": 0.0, "samples": 16000, "best": -1.0}, "position.batch is 1000"),
    ("position/loss_sum", float("nan"), "position.loss_sum: "),
    ("position/spikes", {"iaf1": 3}, "position.spikes"),
    ("weights", None, "weights must be a table"),
    ("weights", {1: torch.ones(2)}, "weights: 1 must be a tensor"),
    ("weights/linear1.weight", None, "weights: linear1.weight must be a tensor"),
    ("weights/linear1.weight", [1.0], "weights: linear1.weight must be a tensor"),
    ("weights/linear1.weight", NAN, "weights: linear1.weight has values that are not finite"),
    ("weights/linear1.weight", torch.ones(3, 4), r"weights: linear1.weight must be .*\(12, 10\), got .*\(3, 4\)"),
    ("weights/linear1.weight", torch.ones(12, 10).double(), "weights: linear1.weight must be torch.float32"),
    ("weights/linear9.weight", torch.ones(3, 4), "weights: linear9.weight does not belong to this network"),
    ("weights/iaf1.spike_threshold", torch.tensor(0.0), "weights: iaf1.spike_threshold must be 1.0"),
    ("optimiser", None, "optimiser must be a table"),
    ("optimiser", {}, "optimiser must be a table"),
    ("optimiser", {"state": {}, "param_groups": []}, "optimiser: param_groups"),
    ("optimiser/param_groups", [3], "optimiser: param_groups"),
    ("optimiser/state", {}, "optimiser: state"),
    ("optimiser/state/0", 7, "optimiser: the state of parameter 0"),
    ("optimiser/state/0/exp_avg", torch.ones(3), r"optimiser: exp_avg of parameter 0 must be .*\(12, 10\)"),
    ("optimiser/state/0/exp_avg_sq", NAN, "optimiser: exp_avg_sq of parameter 0 has values"),
    ("optimiser/state/0/step", "a", "optimiser: step of parameter 0"),
    ("random", {"cpu": torch.ones(5056)}, "random: cpu must be a tensor of bytes"),
    ("random", {"cpu": torch.ones(3, dtype=torch.uint8)}, "random: "),
    ("random", {"cuda:0": torch.ones(3, dtype=torch.uint8)}, "random: the member 'cpu' is missing"),
    ("scaler", {"scale": "a"}, "scaler: scale must be a finite number"),
]  # fmt: skip


def refusal(content: dict[str, Any], store_folder: Path, folder: Path) -> SpikestoreError:
    """Return the error of a run that resumes from the checkpoint."""
    torch.save(content, folder / "last.pt")
    with pytest.raises(SpikestoreError) as error:
        run(PLAN, Store(store_folder), folder, device="cpu", progress=silent)
    assert str(folder / "last.pt") in error.value.message
    assert "\n" not in error.value.message
    return error.value


@pytest.mark.parametrize(("path", "value", "words"), EDITS)
def test_what_is_wrong_is_named(
    content: dict[str, Any], store_folder: Path, tmp_path: Path, path: str, value: Any, words: str
) -> None:
    """A member of another type, shape or value is reported with the file when the run resumes."""
    edited = copy.deepcopy(content)
    put(edited, path, value)
    error = refusal(edited, store_folder, tmp_path)
    assert isinstance(error, DamagedError)
    assert error.details["objects"] == (str(tmp_path / "last.pt"),)
    assert re.search(words, error.message)


@pytest.mark.parametrize(
    "path",
    ["data", "data/valid", "weights", "weights/readout.bias", "optimiser", "optimiser/state", "optimiser/state/0",
     "optimiser/state/0/step", "random", "random/cpu", "position", "position/epoch", "shape", "config"],
)  # fmt: skip
def test_what_is_missing_is_named(
    content: dict[str, Any], store_folder: Path, tmp_path: Path, path: str
) -> None:
    """A missing member is reported."""
    edited = copy.deepcopy(content)
    drop(edited, path)
    error = refusal(edited, store_folder, tmp_path)
    assert isinstance(error, DamagedError)
    assert path.split("/")[0] in error.message


def test_another_shape_is_refused(content: dict[str, Any], store_folder: Path, tmp_path: Path) -> None:
    """A run does not resume with frames of another shape."""
    edited = copy.deepcopy(content)
    edited["shape"]["sites"] = 20
    error = refusal(edited, store_folder, tmp_path)
    assert isinstance(error, UsageError)
    assert "'sites': 20" in error.message
    assert "pass a feature set with the shape" in error.message


def test_evaluate_refuses_too(content: dict[str, Any], store_folder: Path, tmp_path: Path) -> None:
    """Weights that are not finite, or do not fit, are rejected; an intact checkpoint is evaluated."""
    path = tmp_path / "best.pt"
    for value, words in ((NAN, "not finite"), (torch.ones(3, 4), r"\(3, 4\)"), (None, "must be a tensor")):
        edited = copy.deepcopy(content)
        edited["weights"]["linear1.weight"] = value
        torch.save(edited, path)
        with pytest.raises(DamagedError, match=f"best.pt is damaged.*{words}.*use the other checkpoint"):
            evaluate(path, Store(store_folder), split="valid", device="cpu", progress=silent)
    torch.save(content, path)
    assert evaluate(path, Store(store_folder), split="valid", device="cpu", progress=silent)[1] == 69


def test_what_is_whole_goes_on(content: dict[str, Any], store_folder: Path, tmp_path: Path) -> None:
    """An unchanged file is accepted."""
    torch.save(content, tmp_path / "last.pt")
    done = run(PLAN, Store(store_folder), tmp_path, device="cpu", progress=silent)
    assert [one.epoch for one in done.epochs] == [1, 2]
