"""``[[augment]]`` in configurations: the numbers that a run draws, the content of its checkpoints, and rejected tables."""

from __future__ import annotations

import copy
import operator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.runs.test_loop import config, silent

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import SpecError, UsageError
from spikestore.train import (
    Batch,
    ChannelMask,
    CutMix,
    FeatureLoader,
    OneOf,
    TimeMask,
    TimeReversal,
    TrainingStep,
    build_network,
)
from spikestore.train.data.augmentation.tables import augmentations_of
from spikestore.train.runs import loop
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint
from spikestore.train.runs.config import TrainConfig
from spikestore.train.runs.run import run
from spikestore.train.runs.step import accuracy, training_step


def plan(*tables: dict[str, Any], seed: int = 7) -> TrainConfig:
    """Return a run of one epoch."""
    return config(epochs=1, seed=seed, augment=list(tables))


def test_a_run_trains_on_augmented_samples(
    store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames are those of a loader with these augmentations; the checkpoint has them, and another list is rejected."""
    seen: list[Batch] = []

    class Noting(TrainingStep):
        def __call__(self, batch: Batch) -> torch.Tensor:
            seen.append(batch)
            return super().__call__(batch)

    monkeypatch.setattr(loop, "TrainingStep", Noting)
    store = Store(store_folder)
    masks: list[dict[str, Any]] = [
        {"op": "time_mask", "bins": 4},
        {"op": "one_of", "choices": [{"op": "channel_mask", "channels": 3}, {"op": "time_reversal"}]},
    ]
    run(plan(*masks), store, tmp_path / "run", device="cpu", progress=silent)
    augment = [TimeMask(4, seed=7), OneOf((ChannelMask(3, seed=7), TimeReversal(seed=7)), seed=7)]
    loader = FeatureLoader(store["small:train"], 16, shuffle=True, seed=7, augment=augment)
    assert all(torch.equal(one.frames, two.frames) for one, two in zip(seen, loader, strict=True))
    assert load_checkpoint(tmp_path / "run" / "last.pt").config == plan(*masks)
    with pytest.raises(
        UsageError, match=r"another configuration.*\n  augment: \[.*time_mask.* before, \[\] now"
    ):
        run(plan(), store, tmp_path / "run", device="cpu", progress=silent)


def test_a_run_trains_on_mixed_labels(store_folder: Path, tmp_path: Path) -> None:
    """The loss is the cross entropy with the weights of all classes; accuracy needs class numbers."""
    store = Store(store_folder)
    outcome = run(plan({"op": "cut_mix"}), store, tmp_path / "run", device="cpu", progress=silent)
    assert 0 < outcome.epochs[0].loss < 2
    loader = FeatureLoader(store["small:train"], 16, augment=CutMix())
    batch, network = next(iter(loader)), build_network(config().network, sites=10, classes=2)
    outputs = network(batch.frames).sum(1).log_softmax(1)
    expected = -(batch.labels * outputs).sum(1).mean()
    loss = training_step(network, torch.optim.SGD(network.parameters()), batch)
    torch.testing.assert_close(loss, expected.detach())
    with pytest.raises(
        UsageError,
        match="accuracy needs class numbers, but CutMix or EventMix mixes the labels of this loader",
    ):
        accuracy(network, loader)
    assert loader.mixes_labels
    assert loader.state_dict()["batch"] == 1  # of the pass above: no batch was made for the error


@pytest.mark.parametrize("loss", [torch.nn.NLLLoss(), torch.nn.functional.multi_margin_loss])
@pytest.mark.parametrize("own", [[], [lambda batch, _epoch: batch]], ids=["compiled", "in torch"])
def test_a_loss_that_needs_classes_says_so(
    features: FeatureSet, loss: Any, own: list[Any], tmp_path: Path
) -> None:
    """The error comes at the first step of a user's own loop; gradients and other functions work as for other tensors."""
    batch = next(iter(FeatureLoader(features, 16, augment=[CutMix(), *own])))
    outputs = torch.zeros(16, len(features.classes), requires_grad=True)
    with pytest.raises(
        UsageError, match="needs class numbers, but CutMix or EventMix mixes the labels of this batch"
    ):
        loss(outputs.log_softmax(1), batch.labels)
    with pytest.raises(
        UsageError, match="one_hot needs class numbers, but the labels of this batch are weights"
    ):
        torch.nn.functional.one_hot(batch.labels)
    torch.nn.functional.cross_entropy(outputs, batch.labels).backward()
    assert type(outputs.grad) is torch.Tensor
    assert type(batch.labels + 1) is torch.Tensor
    assert type(copy.deepcopy(batch.labels)) is torch.Tensor
    torch.save(batch.labels, tmp_path / "labels.pt")
    assert torch.equal(torch.load(tmp_path / "labels.pt"), batch.labels)


def test_class_numbers_are_not_compared_with_weights(features: FeatureSet) -> None:
    """With as many samples as classes, torch would compare each number with a row of weights; labels can be compared with weights."""
    classes = len(features.classes)
    labels = next(iter(FeatureLoader(features, classes, augment=CutMix()))).labels
    guessed = labels.argmax(1)
    assert labels.shape == (classes, classes)
    for compare in (torch.eq, torch.ne, operator.eq, operator.ne, torch.Tensor.eq):
        for pair in ((guessed, labels), (labels, guessed.int())):
            with pytest.raises(
                UsageError, match=r"class numbers cannot be compared with .* labels\.argmax\(1\)"
            ):
                compare(*pair)
    with pytest.raises(UsageError, match="class numbers cannot be compared"):
        torch.eq(input=labels, other=guessed)
    assert (labels == labels.clone()).all()
    assert (labels != 2).all()


def test_seeds_of_tables() -> None:
    """The default is the seed of the run; two tables with one operation draw different numbers."""
    mask = {"op": "time_mask", "bins": 4}
    choice = {"op": "one_of", "choices": [mask, {**mask, "seed": 5}]}
    first, second, third, fourth = augmentations_of(plan(mask, mask, {**mask, "seed": 3}, choice).augment, 7)
    assert (first, third) == (TimeMask(4, seed=7), TimeMask(4, seed=3))
    assert second not in (first, third)
    assert isinstance(fourth, OneOf)
    assert fourth.seed == 7
    assert fourth.choices[0] not in (first, second, third)
    assert fourth.choices[1] == TimeMask(4, seed=5)
    (drop,) = augmentations_of(plan({"preset": "event-drop", "seed": 3}).augment, 7)
    assert isinstance(drop, OneOf)
    assert [drop.seed, *(one.seed for one in drop.choices)] == [3, 3, 3, 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"bins": 4},
            r"augment\[0\]: a table must have the field op \(one of time_shift",
        ),
        ({"op": "time_maks"}, r"augment\[0\]: unknown op 'time_maks', did you mean 'time_mask'\? use one of"),
        ({"op": "event_drop"}, r"augment\[0\]: event_drop needs the field probability"),
        (
            {"op": "time_mask", "bin": 3},
            r"no field 'bin', did you mean 'bins'\? fields are bins, seed, probability, share",
        ),
        ({"op": ["blend"]}, r"augment\[0\]: unknown op \['blend'\].* use one of"),
        (
            {"preset": ["eventmix", "event-drop"]},
            r"augment\[0\]: unknown preset \['eventmix', 'event-drop'\].* use one of",
        ),
        ({"op": "one_of", "choices": [{"op": {}}]}, r"augment\[0\]: choices\[0\]: unknown op \{\}"),
        ({"preset": "snn-delay"}, r"unknown preset 'snn-delay', did you mean 'snn-delays'\? use one of"),
        (
            {"op": "one_of", "choices": [{"op": "time_mask"}]},
            r"augment\[0\]: choices\[0\]: a time mask must have either bins or share",
        ),
        ({"op": "one_of", "choices": 3}, "choices must be a list of tables, got 3"),
        (
            {"op": "one_of", "choices": [{"preset": "eventmix"}]},
            r"augment\[0\]: choices\[0\] must have the field op, because a choice cannot be a preset",
        ),
        ({"op": "one_of", "choices": []}, "choices must have at least one augmentation, got none"),
        (
            {"op": "one_of", "choices": [{"op": "cut_mix"}]},
            "CutMix mixes samples, so it cannot be a choice of OneOf",
        ),
        ({"op": "shear", "degrees": 85}, "degrees of a shear must be at most 80, got 85"),
        (
            {"op": "time_mask", "bins": 4, "levels": 2},
            "a time mask with levels = 2 needs share instead of bins",
        ),
        (
            {"preset": "snn-delays", "bins": 3},
            "a table with the field preset can have only one other field, seed; got 'bins'",
        ),
        ({"op": "event_drop", "probability": 2}, r"probability must be a number from 0 to 1, got 2"),
    ],
)
def test_wrong_tables_are_rejected(table: dict[str, Any], message: str) -> None:
    """The message has the place in the configuration, and the valid values."""
    with pytest.raises(SpecError, match=message):
        plan(table)
