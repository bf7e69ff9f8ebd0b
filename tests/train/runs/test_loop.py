"""The training loop: equal to training with Tonic, resumable, with clear errors."""

from __future__ import annotations

import logging
import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.store.small_sets import small_set
from tests.train.conftest import learnable

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import MissingExtraError, SpecError, UsageError
from spikestore.train import FeatureLoader, build_network, training_step
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from spikestore.train.runs.config import TrainConfig
from spikestore.train.runs.loop import make_optimiser, train, warm_up_shape
from spikestore.train.runs.monitor import TrainingError
from spikestore.train.runs.run import evaluate, run
from spikestore.train.runs.step import accuracy


def config(**changes: Any) -> TrainConfig:
    """Return a small run."""
    network = {"hidden": [12], "input_scale": 3.0, **changes.pop("network", {})}
    optimiser = {"learning_rate": 0.01, **changes.pop("optimiser", {})}
    mapping = {"epochs": 3, "data": {"name": "small", "batch_size": 16}, **changes}
    return TrainConfig.from_mapping({**mapping, "network": network, "optimiser": optimiser}, origin="test")


def silent(done: int, total: int, label: str) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def splits(store_folder: Path) -> dict[str, FeatureSet]:
    """Return both splits."""
    return Store(store_folder).splits("small")


def go(config: TrainConfig, splits: dict[str, FeatureSet], folder: Path, **more: Any) -> Any:
    """Train on the CPU."""
    folder.mkdir(exist_ok=True)
    return train(config, splits, folder, device=torch.device("cpu"), progress=silent, **more)


def test_learns(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """On a separable set the loss falls, and accuracy on the valid split is far above chance."""
    results = go(config(epochs=4), splits, tmp_path)
    assert results[-1].loss < results[0].loss
    assert results[-1].accuracy > 0.8
    assert set(results[0].spike_rates) == {"iaf1"}


def test_linear_layers_run_together_with_their_neurons(
    splits: dict[str, FeatureSet], tmp_path: Path, joint_steps: list[int]
) -> None:
    """They also do so in a run, which counts spikes: once for each layer and step."""
    go(config(epochs=1), splits, tmp_path)
    assert len(joint_steps) == -(-len(splits["train"]) // 16)


@pytest.mark.bits
def test_same_seed_same_weights(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """Two runs with one seed have equal weights, another seed has others; the residence changes nothing."""
    runs = {
        "a": config(epochs=1),
        "b": config(epochs=1, data={"name": "small", "batch_size": 16, "residence": "device"}),
        "c": config(epochs=1, seed=1),
    }
    ends = {}
    for name, one in runs.items():
        go(one, splits, tmp_path / name)
        ends[name] = load_checkpoint(tmp_path / name / "last.pt").weights
    assert all(torch.equal(ends["a"][name], ends["b"][name]) for name in ends["a"])
    assert not torch.equal(ends["a"]["readout.weight"], ends["c"]["readout.weight"])


class Stop(Exception):
    """Ends a run within an epoch."""


@pytest.mark.bits
@pytest.mark.parametrize("stop_after", [1, 4, 5, 10, 13])
def test_resume_equals_an_uninterrupted_run(
    splits: dict[str, FeatureSet], tmp_path: Path, stop_after: int
) -> None:
    """A run that is stopped anywhere and resumed has the weights, optimiser state, loss and accuracy of one that was not stopped.

    Its augmentations draw the same numbers again.
    """
    augment = [{"op": "time_shift", "bins": 2}, {"op": "event_thinning", "probability": 0.2}]
    plan = config(epochs=2, checkpoint_batches=2, augment=augment)
    whole = go(plan, splits, tmp_path / "whole")
    batches = 0

    def stopping(done: int, total: int, label: str) -> None:
        nonlocal batches
        batches += label.startswith("epoch")
        if batches == stop_after:
            raise Stop

    folder = tmp_path / "parts"
    folder.mkdir()
    with pytest.raises(Stop):
        train(plan, splits, folder, device=torch.device("cpu"), progress=stopping)
    torch.manual_seed(99)  # random numbers that were drawn in between
    last = folder / "last.pt"
    parts = go(plan, splits, folder, start=load_checkpoint(last) if last.exists() else None)
    assert parts[-1] == whole[-1]
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert one.position == other.position
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    for key, state in one.optimiser["state"].items():
        assert all(torch.equal(value, other.optimiser["state"][key][name]) for name, value in state.items())


def test_best_and_last_are_kept(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """best.pt has the best accuracy, last.pt the last epoch; no temporary file is left; scalars are written."""
    results = go(config(epochs=3), splits, tmp_path)
    best = load_checkpoint(tmp_path / "best.pt")
    assert best.position.best == max(result.accuracy for result in results)
    assert best.position.epoch == [result.accuracy for result in results].index(best.position.best) + 1
    assert load_checkpoint(tmp_path / "last.pt").position.epoch == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "tensorboard"]
    network = build_network(config().network, sites=10, classes=2)
    network.load_state_dict(best.weights, strict=False)
    assert accuracy(network, FeatureLoader(splits["valid"], 16)) == best.position.best
    assert any((tmp_path / "tensorboard").iterdir())


def test_a_silent_layer_is_named(
    splits: dict[str, FeatureSet], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A layer without a spike in an epoch is named in a warning; others are not."""
    with caplog.at_level(logging.WARNING, "spikestore"):
        go(config(epochs=1, network={"hidden": [8, 8], "spike_threshold": 50.0}), splits, tmp_path)
    assert "epoch 1: layer iaf2 never spiked" in caplog.text
    with caplog.at_level(logging.WARNING, "spikestore"):
        caplog.clear()
        go(config(epochs=1), splits, tmp_path)
    assert not caplog.records


def test_a_loss_that_is_not_finite_is_an_error(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """The error names epoch, batch and layer, and no checkpoint with these weights is written."""
    wild = config(epochs=1, optimiser={"learning_rate": 1e30, "clip_norm": None})
    with pytest.raises(
        TrainingError, match=r"batch \d+ in epoch 1 is not finite \(first seen in .*(linear1|readout)"
    ) as error:
        go(wild, splits, tmp_path)
    assert error.value.details["epoch"] == 1
    assert not (tmp_path / "last.pt").exists()
    with pytest.raises(SpecError, match=r"optimiser\.learning_rate: must be at most 1e30"):
        config(optimiser={"learning_rate": 1e38})  # AdamW would end with an error of torch


@pytest.mark.parametrize("change", [{"weight_decay": 1e300}, {"learning_rate": 1e-30, "clip_norm": None}])
def test_weights_that_are_not_finite_are_not_saved(
    splits: dict[str, FeatureSet], tmp_path: Path, change: dict[str, Any]
) -> None:
    """After the last batch of an epoch no loss shows them; the run stops, and writes no checkpoint that could not be read."""
    data = {"name": "small", "batch_size": 1000}
    network = {"hidden": [12], "input_scale": 1e21 if "clip_norm" in change else 3.0}
    wild = config(epochs=1, data=data, network=network, optimiser=change)
    with pytest.raises(
        TrainingError, match=r"after batch 1 in epoch 1, the parameter \S+, or what .* is not finite: lower"
    ):
        go(wild, splits, tmp_path)
    with pytest.raises(TrainingError, match=r"after batch 1 in epoch 1, the parameter"):
        go(
            config(
                epochs=1,
                checkpoint_batches=1,
                data={**data, "batch_size": 100},
                network=network,
                optimiser=change,
            ),
            splits,
            tmp_path,
        )
    assert not [*tmp_path.glob("*.pt")]


def test_clipping_bounds_the_gradient(splits: dict[str, FeatureSet]) -> None:
    """The gradient of all parameters together has at most the requested norm."""
    network = build_network(config().network, sites=10, classes=2)
    batch = next(iter(FeatureLoader(splits["train"], 16)))
    optimiser = make_optimiser(config().optimiser, network)
    training_step(network, optimiser, batch, clip_norm=1e-3)
    norms = [float(p.grad.norm()) for p in network.parameters() if p.grad is not None]
    assert sum(norm**2 for norm in norms) ** 0.5 <= 1e-3 * 1.001


def test_networks_trained_with_one_backend_run_with_another(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of the fused backend has the same accuracy with Sinabs; a run can't change its backend."""
    store = Store(store_folder)
    plan = config(epochs=1)
    best = run(plan, store, tmp_path / "run", device="cpu", progress=silent).best
    found = [
        evaluate(tmp_path / "run/best.pt", store, split="valid", device="cpu", backend=one, progress=silent)[
            0
        ]
        for one in (None, "fused", "sinabs")
    ]
    assert found == [best] * 3
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sinabs.layers", None)
        with pytest.raises(MissingExtraError, match="backend 'sinabs' needs Sinabs"):
            evaluate(
                tmp_path / "run/best.pt",
                store,
                split="valid",
                device="cpu",
                backend="sinabs",
                progress=silent,
            )
    other = config(epochs=2, network={"hidden": [12], "backend": "sinabs"})
    with pytest.raises(ValueError, match=r"network.backend: fused before, sinabs now"):
        run(other, store, tmp_path / "run", device="cpu", progress=silent)


def test_a_split_of_another_transform_is_not_evaluated(store_folder: Path, tmp_path: Path) -> None:
    """Of a split that the run did not use, only the transform can be checked: another one is rejected with both keys."""
    store = Store(store_folder)
    run(config(epochs=1), store, tmp_path / "run", device="cpu", progress=silent)
    other = Store(tmp_path / "other")
    small = {
        bins: small_set(40, time_window=bins, split="test").build(other.storage) for bins in (4000.0, 9000.0)
    }
    measure = partial(evaluate, tmp_path / "run/best.pt", other, split="test", device="cpu", progress=silent)
    other.point("small", {"test": small[4000.0]})
    measure()
    other.point("small", {"test": small[9000.0]}, move=True)
    keys = [one.pin.transform_key[:12] for one in (store["small:train"], small[9000.0])]
    with pytest.raises(
        UsageError, match=f"transform {keys[0]}, but the split test in the store has the transform {keys[1]}"
    ):
        measure()
    measure(other_data=True)


def test_other_data_begin_the_epoch_anew(store_folder: Path, tmp_path: Path) -> None:
    """A run that is stopped within an epoch and resumes with other data trains on all of them; loss and best accuracy are of the new data."""
    plan, folder = config(epochs=1, checkpoint_batches=2), tmp_path / "run"

    def stopping(done: int, total: int, label: str) -> None:
        if label.startswith("epoch") and done >= 80:
            raise Stop

    with pytest.raises(Stop):
        run(plan, Store(store_folder), folder, device="cpu", progress=stopping)
    last = load_checkpoint(folder / "last.pt")
    assert last.position.batch == 4
    save_checkpoint(folder / "last.pt", replace(last, position=replace(last.position, best=1.0)))
    other = Store(tmp_path / "other")
    splits = {"train": learnable("train", 37, 5), "valid": learnable("valid", 30, 6)}
    other.point("small", {split: one.build(other.storage) for split, one in splits.items()})
    seen = []
    done = run(
        plan, other, folder, device="cpu", other_data=True,
        progress=lambda done, total, label: seen.append((done, total)) if label.startswith("epoch") else None,
    )  # fmt: skip
    assert seen == [(16, 36), (32, 36), (36, 36)]
    assert len(done.epochs) == 1
    assert 0 < done.epochs[0].loss < 10
    assert done.best == done.epochs[0].accuracy < 1


def test_losses_are_those_of_sinabs(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """Two epochs of training have the same losses with fused and with Sinabs, up to rounding."""
    fused, sinabs = (
        go(config(epochs=2, network={"backend": one}), splits, tmp_path / one) for one in ("fused", "sinabs")
    )
    for one, other in zip(fused, sinabs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.spike_rates == pytest.approx(other.spike_rates, rel=1e-2)


def test_a_finished_run_continues_with_more_epochs(store_folder: Path, tmp_path: Path) -> None:
    """A finished run computes nothing; with more epochs it continues; with another configuration it is rejected."""
    store = Store(store_folder)

    def again(**changes: Any) -> Any:
        return run(config(**changes), store, tmp_path / "run", device="cpu", progress=silent)

    assert [result.epoch for result in again(epochs=1).epochs] == [1]
    done = again(epochs=1)
    assert done.epochs == []
    assert [result.epoch for result in again(epochs=2).epochs] == [2]
    larger = {"name": "small", "batch_size": 16, "max_frame_bytes": 10**8}  # as the error of a batch advises
    assert [result.epoch for result in again(epochs=3, data=larger).epochs] == [3]
    with pytest.raises(ValueError, match=r"another configuration[\s\S]*learning_rate: 0.01 before, 0.02 now"):
        again(epochs=4, optimiser={"learning_rate": 0.02})


def test_a_run_selects_on_the_speaker_split(tmp_path: Path) -> None:
    """It trains on the other speakers of the train split, resumes, and is evaluated on the held-out speakers only."""
    made = small_set(60, extras=("speaker", "n_events"), silent=range(0), skipped=(3,))
    made.truth.extras["speaker"][:] = np.resize([0, 6, 1, 7, 11], 60)
    store = Store(tmp_path / "store")
    store.point("small", {"train": made.build(store.storage)})
    data = {"name": "small", "batch_size": 16, "valid": "shd-speaker"}
    seen = []

    def go_on(epochs: int) -> Any:
        return run(
            config(epochs=epochs, data=data), store, tmp_path / "run", device="cpu",
            progress=lambda done, total, label: seen.append((label, total)) if label.startswith("epoch") else None,
        )  # fmt: skip

    assert [epoch.epoch for epoch in go_on(1).epochs] == [1]
    best = go_on(2).best
    assert set(seen) == {("epoch 1", 36), ("epoch 2", 36)}
    last = tmp_path / "run" / "best.pt"
    measured, samples = evaluate(last, store, split="shd-speaker", progress=silent)
    assert (measured, samples) == (best, 23)
    assert evaluate(last, store, split="train", progress=silent)[1] == 59

    plain = config(epochs=1, data={**data, "valid": "train"})
    run(plain, store, tmp_path / "plain", device="cpu", progress=silent)
    with pytest.raises(
        UsageError,
        match=r'was trained on all speakers of train, .* train another network with valid = "shd-speaker"',
    ):
        evaluate(tmp_path / "plain" / "last.pt", store, split="shd-speaker", progress=silent)


@pytest.mark.parametrize("pad_to", [None, 2**40])
def test_the_warm_up_allocates_no_more_than_a_batch_may(
    splits: dict[str, FeatureSet], pad_to: int | None
) -> None:
    """Neither a manifest nor `pad_to` makes it allocate more than ``max_frame_bytes``; such a batch is rejected later."""
    features = splits["train"]
    manifest = features.manifest.model_copy(update={"n_bins": 2**40})
    forged = FeatureSet(features.storage, features.address, manifest)
    sites = features.layout.sites

    def shape(limit: int, ranks: int = 1) -> tuple[int, ...] | None:
        data = {"name": "small", "batch_size": 16, "pad_to": pad_to, "max_frame_bytes": limit}
        return warm_up_shape(config(data=data).data, forged, ranks)

    a_bin = 16 * math.prod(sites) * 4
    assert shape(7 * a_bin) == shape(8 * a_bin - 1) == (16, 7, *sites)
    assert shape(4 * a_bin, ranks=2) == (8, 8, *sites)
    assert shape(a_bin - 1) is None


def test_the_warm_up_has_the_longest_sample(splits: dict[str, FeatureSet]) -> None:
    sites, n_bins = splits["train"].layout.sites, splits["train"].manifest.n_bins
    assert warm_up_shape(config().data, splits["train"], 3) == (6, n_bins, *sites)


def test_batches_are_padded_and_cut_as_configured(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """``pad_at_least`` and ``truncate_to`` apply to the loader, and to the warm-up."""
    sites, n_bins = splits["train"].layout.sites, splits["train"].manifest.n_bins

    def with_data(**more: int) -> TrainConfig:
        return config(epochs=1, data={"name": "small", "batch_size": 16, **more})

    for more, bins in (
        ({"truncate_to": 2}, 2),
        ({"pad_at_least": n_bins + 3}, n_bins + 3),
        ({"truncate_to": 2, "pad_at_least": 4}, 4),
    ):
        assert warm_up_shape(with_data(**more).data, splits["train"], 1) == (16, bins, *sites)
    losses = {go(with_data(**more), splits, tmp_path)[0].loss for more in ({}, {"truncate_to": 2})}
    assert len(losses) == 2
    with pytest.raises(UsageError, match=rf"truncate_to is {n_bins + 1}, but the longest sample"):
        go(with_data(truncate_to=n_bins + 1), splits, tmp_path)
    with pytest.raises(UsageError, match="pad_to and pad_at_least cannot be combined"):
        go(with_data(pad_to=n_bins, pad_at_least=1), splits, tmp_path)


def test_shorter_splits_are_not_cut(tmp_path: Path) -> None:
    """``truncate_to`` must fit the samples to train on; a valid or test split whose samples are all shorter is measured as it is."""
    store = Store(tmp_path / "store")
    parts = {"train": small_set(64), "valid": small_set(2, split="valid"), "test": small_set(1, split="test")}
    store.point("small", {name: one.build(store.storage) for name, one in parts.items()})
    longest = {name: features.manifest.n_bins for name, features in store.splits("small").items()}
    assert max(longest["valid"], longest["test"]) < longest["train"]
    data = {"name": "small", "batch_size": 16, "truncate_to": longest["train"]}
    run(config(epochs=1, data=data), store, tmp_path / "run", device="cpu", progress=silent)
    for split in parts:
        evaluate(tmp_path / "run/best.pt", store, split=split, device="cpu", progress=silent)
