"""Averages of weights by torch and by Lightning: they contain no membrane potentials, whose shape depends on the last batch."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from sinabs import layers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spikestore.store import FeatureSet
from spikestore.train import IAF, FeatureLoader, NetworkSpec, build_network, forget_states, training_step
from spikestore.train.models import sinabs_neurons


def small_network(backend: Literal["fused", "sinabs"] = "fused") -> nn.Sequential:
    """Return a network for the small set."""
    torch.manual_seed(0)
    return build_network(NetworkSpec(hidden=(12,), input_scale=3.0, backend=backend), sites=10, classes=2)


def steps(network: nn.Module, features: FeatureSet) -> Any:
    """Train on batches of 100 and 49 samples, and yield after each."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    for batch in FeatureLoader(features, 100):
        training_step(network, optimiser, batch)
        yield


BACKENDS: list[Any] = ["fused", "sinabs"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("seen", ["nothing", "a batch"])
def test_averages_are_those_of_the_weights(
    features: FeatureSet, use_buffers: bool, seen: str, backend: Any
) -> None:
    """Created before or after the first batch, over batches of unequal sizes, torch's average equals one that is computed by hand."""
    network = small_network(backend)
    if seen == "a batch":
        next(steps(network, features))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=use_buffers)
    by_hand: Any = None
    for _ in steps(network, features):
        average.update_parameters(network)
        weight = network.get_parameter("linear1.weight").detach().clone()
        by_hand = weight if by_hand is None else torch.lerp(by_hand, weight, 0.1)
        forget_states(average)
        average(torch.ones(3, 7, 1, 10))  # this network has its own states, of another shape
    assert torch.equal(average.module.get_parameter("linear1.weight"), by_hand)


def test_layers_of_sinabs_itself_need_one_line(features: FeatureSet) -> None:
    """States of Sinabs' own layers are buffers: `forget_states` must be called before each update, as documented."""
    network = small_network()
    network.iaf1 = layers.IAF()
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for number, _ in enumerate(steps(network, features)):
        if number == 0:
            with pytest.raises(RuntimeError, match="size of tensor"):
                average.update_parameters(network)
        forget_states(network)
        average.update_parameters(network)
    assert average.n_averaged == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_are_in_state_dicts_and_not_in_buffers(backend: Any) -> None:
    """Names and order stay the same; a state loads, moves, is copied and pickled; a state dict without states loads too."""
    network = small_network(backend)
    network(torch.ones(4, 60, 1, 10))
    names = ["linear1.weight", "linear1.bias", "iaf1.spike_threshold", "iaf1.v_mem", "readout.weight", "readout.bias"]  # fmt: skip
    state = network.state_dict()
    assert list(state) == names
    assert state["iaf1.v_mem"].shape == (4, 12)
    assert not state["iaf1.v_mem"].requires_grad
    assert list(network.buffers()) == []
    layer = network.get_submodule("iaf1")
    assert layer.get_buffer("v_mem") is layer.v_mem
    others = [
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),  # noqa: S301
        small_network(backend),
        small_network(backend),
    ]
    others[2].load_state_dict(state)
    others[3].load_state_dict(state, assign=True)
    for other in others:
        assert torch.equal(other.state_dict()["iaf1.v_mem"], state["iaf1.v_mem"])
    others[2].get_submodule("iaf1").v_mem.zero_()  # a copy
    assert float(network.state_dict()["iaf1.v_mem"].abs().sum()) > 0
    assert network.double().state_dict()["iaf1.v_mem"].dtype == torch.float64
    fresh = small_network(backend)
    fresh.load_state_dict({name: value for name, value in state.items() if name != "iaf1.v_mem"})
    assert torch.equal(fresh.get_parameter("linear1.weight"), state["linear1.weight"])
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"iaf1\.v"'):
        fresh.load_state_dict({**state, "iaf1.v": torch.zeros(1)})


@pytest.mark.parametrize("kind", [IAF, sinabs_neurons.IAF], ids=BACKENDS)
def test_a_layer_alone(kind: Any) -> None:
    """The state of a layer outside a network has no prefix in its name."""
    layer = kind()
    layer(torch.rand(2, 5, 3))
    other = kind()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.v_mem, layer.v_mem)


def test_sinabs_finds_its_states() -> None:
    """Sinabs' methods reset, redraw, shape and detach the states of the backend's layers as those of its own."""
    ours, theirs = sinabs_neurons.IAF(shape=(2, 3)), layers.IAF(shape=(2, 3))
    assert [name for name, _ in ours.named_buffers("net")] == [
        name for name, _ in theirs.named_buffers("net")
    ]
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = torch.rand(2, 5, 3, requires_grad=True)
    both: list[Any] = [ours, theirs]
    for layer in both:
        layer(x)
    assert torch.equal(ours.v_mem, theirs.v_mem)
    for layer in both:
        layer.zero_grad()
        assert not layer.v_mem.requires_grad
        torch.manual_seed(0)
        layer(torch.rand(3, 5, 3))  # another batch size: Sinabs draws rows of the old state
    assert torch.equal(ours.v_mem, theirs.v_mem)
    for layer in both:
        layer.reset_states(randomize=True, value_ranges={"v_mem": (2.0, 3.0)})
        assert 2 <= float(layer.v_mem.min()) <= float(layer.v_mem.max()) <= 3
        layer.reset_states()
        assert not layer.v_mem.any()
        assert layer.shape == (3, 3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", BACKENDS)
def test_lightning_averages_weights(features: FeatureSet, tmp_path: Path, backend: Any) -> None:
    """Lightning's callback trains, validates and saves with averaged weights, on batches of unequal sizes."""
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = small_network(backend)

        def _loss(self, batch: Any) -> Tensor:
            forget_states(self.network)
            return cross_entropy(self.network(batch.frames).sum(1), batch.labels)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return self._loss(batch)

        def validation_step(self, batch: Any, _: int) -> None:
            self._loss(batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.01)

    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
        callbacks=[lightning.callbacks.EMAWeightAveraging(decay=0.9)],
    )
    module = Module()
    before = module.network.get_parameter("linear1.weight").detach().clone()
    loaders = [FeatureLoader(features, 100, shuffle=True), FeatureLoader(features, 64)]
    trainer.fit(module, *loaders)
    assert trainer.global_step == 4
    assert not torch.equal(module.network.get_parameter("linear1.weight"), before)
