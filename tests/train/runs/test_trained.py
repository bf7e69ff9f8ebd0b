"""`load_network` returns the network of a checkpoint, or of the folder of a run."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.conftest import learnable
from tests.train.runs.test_loop import config, silent

from spikestore.store import FeatureSet, Store
from spikestore.store.cli.main import main
from spikestore.store_schemas.errors import DamagedError, SourceNotFoundError, SpikestoreError, UsageError
from spikestore.train import FeatureLoader, forget_states, load_network
from spikestore.train.runs.checkpoint.digest import content_digest
from spikestore.train.runs.run import evaluate, run
from spikestore.train.runs.step import accuracy


@pytest.fixture(scope="module")
def folder(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(config(epochs=2), Store(store_folder), folder, device="cpu", progress=silent)
    return folder


def rewritten(folder: Path, to: Path, **changes: Any) -> Path:
    """Write a checkpoint with changed members (None leaves one out), and a valid digest."""
    content = {**torch.load(folder / "best.pt"), **changes}
    content = {name: value for name, value in content.items() if value is not None and name != "sha256"}
    torch.save({**content, "sha256": content_digest(content)}, to)
    return to


def test_the_network_of_a_run(folder: Path, store_folder: Path, features: FeatureSet) -> None:
    """From the file or the folder, it has the run's accuracy, classes, transform and shape of frames."""
    valid = FeatureLoader(Store(store_folder)["small:valid"], 64)
    network = load_network(folder)
    assert not network.training
    assert network.classes == features.classes == ("yes", "no")
    assert network.transform == features.manifest.transform
    assert network.frame_shape == features.layout.sites
    assert network.config == config(epochs=2)
    assert network.best_accuracy is not None
    assert accuracy(network, valid) == network.best_accuracy > 0.5
    again = load_network(str(folder / "best.pt"), backend="sinabs")
    assert accuracy(again, valid) == network.best_accuracy

    assert load_network(folder / "last.pt").epochs == 2
    frames = next(iter(valid)).frames
    forget_states(network)
    outputs = network(frames)
    twin = copy.deepcopy(network)
    forget_states(twin)
    assert torch.equal(twin(frames), outputs)
    assert twin.classes == network.classes
    assert outputs.shape == (*frames.shape[:2], 2)
    assert next(iter(network[:2].state_dict())) == "linear1.weight"  # like any nn.Sequential


def test_accuracy_is_the_share_of_the_samples_of_the_pass(folder: Path, store_folder: Path) -> None:
    """It was divided by the samples of an epoch, also if a pass has fewer: after `drop_last`, or from a restored position on."""
    network, valid = load_network(folder), Store(store_folder)["small:valid"]

    def right(loader: FeatureLoader) -> list[bool]:
        found: list[bool] = []
        for batch in loader:
            forget_states(network)
            found += (network(batch.frames).sum(1).argmax(1) == batch.labels).tolist()
        return found

    whole = right(FeatureLoader(valid, 16))
    assert len(whole) == 69
    assert accuracy(network, FeatureLoader(valid, 16, drop_last=True)) == sum(whole[:64]) / 64
    rest = FeatureLoader(valid, 16)
    next(iter(rest))
    rest.load_state_dict(rest.state_dict())
    assert accuracy(network, rest) == sum(whole[16:]) / 53
    with pytest.raises(
        UsageError, match=r"no batch: it has 69 samples, a batch has 70, and drop_last leaves out smaller"
    ):
        accuracy(network, FeatureLoader(valid, 70, drop_last=True))
    ended = FeatureLoader(valid, 16)
    ended.load_state_dict({**ended.state_dict(), "batch": len(ended)})
    ended.set_epoch(0)  # a pass without batches, after a state of the end of this epoch
    with pytest.raises(UsageError, match=r"at the end of an epoch: call accuracy again"):
        accuracy(network, ended)
    assert accuracy(network, ended) == sum(whole) / 69


def test_a_run_of_a_gpu_loads_here(folder: Path, tmp_path: Path) -> None:
    """States of the GPU's random number generators are ignored."""
    random = {**torch.load(folder / "best.pt")["random"], "cuda:0": torch.zeros(16, dtype=torch.uint8)}
    assert load_network(rewritten(folder, tmp_path / "gpu.pt", random=random)).classes == ("yes", "no")


def test_a_run_of_before(folder: Path, tmp_path: Path) -> None:
    """A checkpoint of an early version loads, without classes, transform and shape."""
    network = load_network(rewritten(folder, tmp_path / "old.pt", frames=None, classes=None))
    assert (network.classes, network.transform, network.frame_shape) == (None, None, None)


def test_a_folder_of_a_run_that_has_just_begun(folder: Path, tmp_path: Path) -> None:
    """The folder has only last.pt."""
    (tmp_path / "last.pt").write_bytes((folder / "last.pt").read_bytes())
    assert load_network(tmp_path).epochs == 2


def test_an_invalid_network_is_rejected_by_name(folder: Path, tmp_path: Path) -> None:
    """A missing file, an empty folder, a damaged file, one of another program, and invalid frames are rejected."""
    whole = (folder / "best.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:-100])
    torch.save({"state_dict": {}}, tmp_path / "foreign.pt")
    torch.save(load_network(folder).state_dict(), tmp_path / "weights.pt")
    (tmp_path / "empty").mkdir()
    rewritten(folder, tmp_path / "frames.pt", frames={"axes": ["time"]})
    cases: dict[str, tuple[type[SpikestoreError], str]] = {
        "nothing.pt": (SourceNotFoundError, "no checkpoint at {}"),
        "empty": (SourceNotFoundError, "no best.pt or last.pt in {}"),
        "cut.pt": (DamagedError, "{} is not a checkpoint of spikestore, or it is damaged"),
        "foreign.pt": (DamagedError, "{} is not a checkpoint of spikestore"),
        "weights.pt": (DamagedError, "{} is not a checkpoint of spikestore"),
        "frames.pt": (DamagedError, "{} is damaged: frames.sites: required field is missing"),
    }
    for name, (kind, message) in cases.items():
        with pytest.raises(kind, match=re.escape(message.format(tmp_path / name))):
            load_network(tmp_path / name)
    with pytest.raises(UsageError, match="the path of a checkpoint is empty"):  # and not the current folder
        load_network("")
    with pytest.raises(LookupError, match="no backend 'slow'"):
        load_network(folder, backend="slow")  # type: ignore[arg-type]


def test_a_split_whose_batches_are_larger_than_max_frame_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`evaluate` cannot change the batch size of the run, so the message advises an option that `evaluate` has, and the advice works."""
    store = Store(tmp_path / "store")
    short = next(
        one for one in (learnable("train", 12, seed) for seed in range(99)) if one.truth.n_bins.max() == 18
    )
    longer = learnable("test", 150, 1)
    assert longer.truth.n_bins.max() == 19
    store.point("small", {"train": short.build(store.storage), "test": longer.build(store.storage)})
    data = {"name": "small", "batch_size": 4, "valid": "train", "max_frame_bytes": 4 * 18 * 10 * 4}
    run(config(epochs=1, data=data), store, tmp_path / "run", device="cpu", progress=silent)
    command = [
        "evaluate",
        str(tmp_path / "run/best.pt"),
        "--store",
        str(tmp_path / "store"),
        "--device",
        "cpu",
    ]
    assert main(command) == 2
    error = capsys.readouterr().err
    advice = re.search(
        r"batch size of \S+best.pt cannot be changed: if there is enough memory, pass (\S+) (\d+) or more",
        error,
    )
    assert advice, error
    assert "lower batch_size" not in error
    assert main([*command, *advice.groups()]) == 0
    assert "accuracy on test: " in capsys.readouterr().out


def test_a_split_that_is_longer_than_pad_to(tmp_path: Path) -> None:
    """The configuration of a run cannot change, so the message must not advise to raise `pad_to` of `evaluate`."""
    store = Store(tmp_path / "store")
    short = next(
        one for one in (learnable("train", 12, seed) for seed in range(99)) if one.truth.n_bins.max() == 18
    )
    sets = {"train": short.build(store.storage), "test": learnable("test", 150, 1).build(store.storage)}
    store.point("small", sets)
    data = {"name": "small", "batch_size": 4, "valid": "train", "pad_to": 18}
    run(config(epochs=1, data=data), store, tmp_path / "run", device="cpu", progress=silent)
    with pytest.raises(
        UsageError,
        match="pad_to = 18, but the longest sample of small:test has 19 time bins: train again with pad_to = 19",
    ):
        evaluate(tmp_path / "run/best.pt", store, split="test", progress=silent)
