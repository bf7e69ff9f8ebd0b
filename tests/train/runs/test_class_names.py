"""Labels have the same meaning in training, resuming and evaluation; otherwise there is a one-line error."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.store.small_sets import SmallSet, memory_storage, small_set
from tests.train.conftest import learnable

from spikestore.store import Store, refs
from spikestore.store_schemas.errors import UsageError
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint, save_checkpoint
from spikestore.train.runs.config import TrainConfig
from spikestore.train.runs.run import evaluate, run


def reordered(small: SmallSet, *classes: str) -> SmallSet:
    return dataclasses.replace(small, layout=small.layout.model_copy(update={"classes": classes}))


def silent(done: int, total: int, label: str) -> None:
    """Show no progress."""


def config(name: str = "small") -> TrainConfig:
    return TrainConfig.from_mapping(
        {"epochs": 1, "data": {"name": name, "batch_size": 32}, "network": {"hidden": [4]}}, origin="test"
    )


@pytest.fixture(scope="module")
def trained(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run on ``small``, whose classes are yes and no."""
    folder = tmp_path_factory.mktemp("run")
    run(config(), Store(store_folder), folder, device="cpu", progress=silent)
    return folder


def as_an_earlier_version_named_it(store: Store, name: str, **splits: SmallSet) -> None:
    """Put splits under one name without comparing their classes, as an earlier version did."""
    refs.update(store.storage, name, {split: one.build(store.storage).pin for split, one in splits.items()})


def test_training_refuses_another_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For splits under one name from before names were compared, opening them is a warning, and training is an error."""
    store = Store(memory_storage())
    valid = reordered(learnable("valid", 70, 2), "no", "yes")
    as_an_earlier_version_named_it(store, "old", train=learnable("train", 70, 1), valid=valid)
    assert len(store.splits("old")) == 2
    assert (
        "the labels of old:train and old:valid stand for different classes: label 0 is 'yes'" in caplog.text
    )
    with pytest.raises(
        UsageError,
        match=r"the labels of old:train and old:valid stand for different classes: label 0 is 'yes'",
    ):
        run(config("old"), store, tmp_path / "run", device="cpu", progress=silent)
    assert not [*tmp_path.rglob("*.pt")]


def test_evaluation_refuses_another_order(trained: Path) -> None:
    """It is rejected even with --other-data, because accuracy would be of other classes. Other names are a warning then."""
    store = Store(memory_storage())
    store.point("other", {"test": reordered(learnable("test", 70, 3), "no", "yes").build(store.storage)})
    for other_data in (False, True):
        with pytest.raises(
            UsageError, match=r"the labels of .*best\.pt and other:test mean different classes: label 0"
        ):
            evaluate(
                trained / "best.pt", store, split="test", name="other", other_data=other_data, progress=silent
            )


def test_other_names(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other classes are rejected; with --other-data there is a warning."""
    store = Store(memory_storage())
    store.point("other", {"test": reordered(learnable("test", 70, 3), "cat", "dog").build(store.storage)})
    last = trained / "last.pt"
    with pytest.raises(UsageError, match="label 0 is 'yes' in the first and 'cat' in the second; list"):
        evaluate(last, store, split="test", name="other", device="cpu", progress=silent)
    evaluate(last, store, split="test", name="other", device="cpu", other_data=True, progress=silent)
    assert "mean different classes: label 0 is 'yes' in the first and 'cat'" in caplog.text


def test_a_checkpoint_without_class_names(
    trained: Path, store_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The names are those of the set that it was trained on; if this is missing, a warning says so."""
    earlier = tmp_path / "earlier.pt"
    save_checkpoint(earlier, dataclasses.replace(load_checkpoint(trained / "last.pt"), classes=()))
    test = reordered(learnable("test", 70, 3), "no", "yes")
    store = Store(memory_storage())
    store.point("other", {"test": test.build(store.storage)})
    evaluate(earlier, store, split="test", name="other", device="cpu", progress=silent)
    assert "can't compare the classes of other:test with those of " in caplog.text
    learnable("train", 150, 1).build(store.storage)
    with pytest.raises(
        UsageError, match=r"the labels of .*earlier\.pt and other:test mean different classes"
    ):
        evaluate(earlier, store, split="test", name="other", device="cpu", progress=silent)


def test_going_on_with_another_order(trained: Path, tmp_path: Path) -> None:
    """Even --other-data does not let a network learn other meanings of its outputs."""
    store = Store(memory_storage())
    splits = {"train": learnable("train", 150, 5), "valid": learnable("valid", 70, 6)}
    store.point("small", {s: reordered(one, "no", "yes").build(store.storage) for s, one in splits.items()})
    longer = TrainConfig.from_mapping(config().to_mapping() | {"epochs": 2}, origin="test")
    with pytest.raises(UsageError, match=r"the labels of .*last\.pt and small:train mean different classes"):
        run(longer, store, trained, device="cpu", other_data=True, progress=silent)


def test_nothing_to_learn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A train split without events is rejected, a valid split without events is reported."""
    empty = small_set(70, silent=range(70), skipped=())
    truth = dataclasses.replace(empty.truth, index=empty.truth.index[:0], value=empty.truth.value[:0])
    truth = dataclasses.replace(truth, nnz=empty.truth.nnz * 0)
    empty = dataclasses.replace(empty, truth=truth)
    full = learnable("valid", 70, 2)
    store = Store(memory_storage())
    store.point("a", {"train": empty.build(store.storage), "valid": full.build(store.storage)})
    with pytest.raises(UsageError, match="a:train has no events in any time bin, so nothing can be learned"):
        run(config("a"), store, tmp_path / "a", device="cpu", progress=silent)
    store.point("b", {"train": store["a:valid"], "valid": store["a:train"]})
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        run(config("b"), store, tmp_path / "b", device="cpu", progress=silent)
    assert "b:valid has no events in any time bin" in caplog.text


def test_one_class_to_learn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A network that always gives the same answer would be right, so an accuracy of 1 says nothing. A skipped row has no class."""
    one = small_set(70, skipped=(3,))
    one = dataclasses.replace(
        one,
        truth=dataclasses.replace(one.truth, label=np.where(one.truth.label >= 0, 1, -1).astype(np.int32)),
    )
    both, store = learnable("valid", 70, 2), Store(memory_storage())
    store.point("a", {"train": one.build(store.storage), "valid": both.build(store.storage)})
    store.point("b", {"train": store["a:valid"], "valid": store["a:train"]})
    with caplog.at_level(logging.WARNING):
        run(config("a"), store, tmp_path / "a", device="cpu", progress=silent)
        assert (
            "all samples to train on (a:train) have the class no, so a network that always answers no"
            in caplog.text
        )
        caplog.clear()
        run(config("b"), store, tmp_path / "b", device="cpu", progress=silent)
    assert "have the class" not in caplog.text
