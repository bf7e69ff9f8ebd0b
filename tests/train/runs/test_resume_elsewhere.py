"""A run that resumes with another residence finishes its epoch in the original order, also from earlier versions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.runs.test_loop import config, silent

from spikestore.store import Store
from spikestore.store.columns.packed_size import packed_bytes
from spikestore.store_schemas.errors import DamagedError, UsageError
from spikestore.train.data import placement
from spikestore.train.data.loader import FeatureLoader
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from spikestore.train.runs.config import TrainConfig, load_config
from spikestore.train.runs.run import Outcome, evaluate, run

GOLDEN = Path(__file__).parents[2] / "golden"


class Stop(Exception):
    """Ends a run within an epoch."""


def plan(residence: str, **more: Any) -> TrainConfig:
    """Return a run of one epoch of 10 batches."""
    data = {"name": "small", "batch_size": 16, "residence": residence, "window": 128}
    return config(epochs=1, checkpoint_batches=2, data=data, **more)


def stop_after(batches: int, plan: TrainConfig, store: Store, folder: Path) -> None:
    """Train this many batches, then stop."""
    done = 0

    def stopping(samples: int, total: int, label: str) -> None:
        nonlocal done
        done += label.startswith("epoch")
        if done == batches:
            raise Stop

    with pytest.raises(Stop):
        run(plan, store, folder, device="cpu", progress=stopping)


def go(plan: TrainConfig, store: Store, folder: Path) -> Outcome:
    return run(plan, store, folder, device="cpu", progress=silent)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the rows on which the network is trained from now on."""
    rows: list[int] = []
    take = FeatureLoader._take

    def noting(loader: FeatureLoader, *others: Any) -> Any:
        batch = take(loader, *others)
        if loader.shuffle:
            rows.extend(batch.samples.tolist())
        return batch

    monkeypatch.setattr(FeatureLoader, "_take", noting)
    return rows


@pytest.mark.parametrize(("before", "after"), [("host", "stream"), ("stream", "device")])
def test_another_residence_ends_as_if_it_had_not_changed(
    store_folder: Path, tmp_path: Path, drawn: list[int], before: str, after: str
) -> None:
    """Each recording is used once, and weights, loss and accuracy equal those of a run that never stopped."""
    store = Store(store_folder)
    whole = go(plan(before), store, tmp_path / "whole")
    drawn.clear()
    stop_after(4, plan(before), store, tmp_path / "parts")
    # The last checkpoint is of batch 2, because the run stops before batch 4 is in one.
    at = load_checkpoint(tmp_path / "parts/last.pt").position.batch
    del drawn[at * 16 :]
    parts = go(plan(after), store, tmp_path / "parts")
    assert sorted(drawn) == [row for row in range(150) if row != 3]
    assert parts == whole
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_auto_with_less_memory(
    store_folder: Path, tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that began in memory is finished on a machine where the set has to be streamed."""
    store = Store(store_folder)
    stop_after(5, plan("auto"), store, tmp_path)
    del drawn[4 * 16 :]
    needed = packed_bytes(store["small:train"].manifest)  # a set may take 80 % of the free memory
    monkeypatch.setattr(placement, "free_host_bytes", lambda: needed)
    go(plan("auto"), store, tmp_path)
    assert sorted(drawn) == [row for row in range(150) if row != 3]


def without_state(path: Path, residence: str) -> None:
    """Change a checkpoint to one that 0.1.0.dev0 would have written with a residence."""
    old = load_checkpoint(path)
    data = old.config.data.model_copy(update={"residence": residence})
    save_checkpoint(path, replace(old, loader=None, config=old.config.model_copy(update={"data": data})))


@pytest.mark.parametrize("after", ["host", "stream"])
def test_a_former_checkpoint_that_names_its_residence(
    store_folder: Path, tmp_path: Path, drawn: list[int], after: str
) -> None:
    """The run resumes in that residence's order."""
    store = Store(store_folder)
    stop_after(5, plan("stream"), store, tmp_path)
    del drawn[4 * 16 :]
    without_state(tmp_path / "last.pt", "stream")
    go(plan(after), store, tmp_path)
    assert sorted(drawn) == [row for row in range(150) if row != 3]


def test_a_former_checkpoint_of_auto_asks(
    store_folder: Path, tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The residence that ``auto`` chose is unknown: the run is rejected before anything is loaded, and following the advice works."""
    store = Store(store_folder)
    stop_after(5, plan("host"), store, tmp_path)
    del drawn[4 * 16 :]
    without_state(tmp_path / "last.pt", "auto")
    with monkeypatch.context() as patch:
        patch.setattr(FeatureLoader, "__init__", None)
        with pytest.raises(
            UsageError, match=r"last\.pt was written within an epoch .*--residence host.*--restart"
        ):
            go(plan("auto"), store, tmp_path)
    go(plan("host"), store, tmp_path)
    assert sorted(drawn) == [row for row in range(150) if row != 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 3}, "its position must be epoch 0, batch 4"),
        ({"seed": 9}, "seed = 9"),
        ({"order": "rows"}, "order 'rows'"),
    ],
)
def test_another_loaders_state_is_refused(
    store_folder: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    """A checkpoint whose parts do not belong together is reported with its path."""
    store = Store(store_folder)
    stop_after(5, plan("host"), store, tmp_path)
    saved = load_checkpoint(tmp_path / "last.pt")
    assert saved.loader is not None
    save_checkpoint(tmp_path / "last.pt", replace(saved, loader=saved.loader | change))
    with pytest.raises(
        DamagedError, match=rf"last\.pt is damaged.*loader: .*{words}.*use the other checkpoint"
    ):
        go(plan("host"), store, tmp_path)


@pytest.mark.parametrize("wrote", ["host", "stream"])
@pytest.mark.parametrize("reads", ["host", "stream"])
def test_the_golden_run_resumes(tmp_path: Path, wrote: str, reads: str) -> None:
    """A checkpoint that 0.1.0.dev0 wrote within an epoch ends with the weights of that version, whatever the residence now."""
    expected = json.loads((GOLDEN / "run" / "expected.json").read_text(encoding="utf-8"))[wrote]
    shutil.copy(GOLDEN / "run" / wrote / "last.pt", tmp_path / "last.pt")
    start = load_checkpoint(tmp_path / "last.pt")
    assert (start.position.epoch, start.position.batch, start.loader) == (1, 2, None)
    written = load_config(GOLDEN / "run" / wrote / "run.toml")
    assert start.config == written
    mapping = written.to_mapping()
    mapping["data"]["residence"] = reads
    now = TrainConfig.from_mapping(mapping, origin="golden")
    (result,) = go(now, Store(GOLDEN / "store"), tmp_path).epochs
    assert result.loss == pytest.approx(expected["loss"], rel=1e-5)
    assert result.accuracy == expected["accuracy"]
    for name, value in load_checkpoint(tmp_path / "last.pt").weights.items():
        torch.testing.assert_close(value, torch.tensor(expected["weights"][name]), rtol=0, atol=1e-5)


def test_the_golden_run_is_evaluated() -> None:
    """Its best network has the accuracy that 0.1.0.dev0 measured."""
    path = GOLDEN / "run" / "host" / "best.pt"
    found = evaluate(path, Store(GOLDEN / "store"), split="test", device="cpu", progress=silent)
    assert found == (load_checkpoint(path).position.best, 69)
