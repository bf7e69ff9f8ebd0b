"""Averages of weights by torch and by Lightning: they contain no membrane potentials, whose shape depends on the last batch."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spikestore.store import FeatureSet
from spikestore.train import IAF, FeatureLoader, NetworkSpec, build_network, forget_states, training_step


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


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("seen", ["nothing", "a batch"])
def test_averages_are_those_of_the_weights(features: FeatureSet, use_buffers: bool, seen: str) -> None:
    """Made at once or after a batch, over batches of unequal sizes, the average of torch is the one taken by hand."""
    network = small_network()
    if seen == "a batch":
        next(steps(network, features))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=use_buffers)
    by_hand: Any = None
    for _ in steps(network, features):
        average.update_parameters(network)
        weight = network.get_parameter("linear1.weight").detach().clone()
        by_hand = weight if by_hand is None else torch.lerp(by_hand, weight, 0.1)
        forget_states(average)
        average(torch.ones(3, 7, 1, 10))  # it has states of its own, of another shape
    assert torch.equal(average.module.get_parameter("linear1.weight"), by_hand)


def test_sinabs_needs_one_line(features: FeatureSet) -> None:
    """States of Sinabs' layers are buffers: `forget_states` before each update, as the documentation says."""
    network = small_network("sinabs")
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for number, _ in enumerate(steps(network, features)):
        if number == 0:
            with pytest.raises(RuntimeError, match="size of tensor"):
                average.update_parameters(network)
        forget_states(network)
        average.update_parameters(network)
    assert average.n_averaged == 2


def test_states_are_in_state_dicts_and_not_in_buffers() -> None:
    """Names and order are as they were; a state loads, moves, is copied and pickled; without one a state dict loads too."""
    network = small_network()
    network(torch.ones(4, 60, 1, 10))
    names = ["linear1.weight", "linear1.bias", "iaf1.spike_threshold", "iaf1.v_mem", "readout.weight", "readout.bias"]  # fmt: skip
    state = network.state_dict()
    assert list(state) == names
    assert state["iaf1.v_mem"].shape == (4, 12)
    assert not state["iaf1.v_mem"].requires_grad
    assert list(network.buffers()) == []
    layer = network.get_submodule("iaf1")
    assert layer.get_buffer("v_mem") is layer.v_mem
    others = [copy.deepcopy(network), pickle.loads(pickle.dumps(network)), small_network(), small_network()]  # noqa: S301
    others[2].load_state_dict(state)
    others[3].load_state_dict(state, assign=True)
    for other in others:
        assert torch.equal(other.state_dict()["iaf1.v_mem"], state["iaf1.v_mem"])
    others[2].get_submodule("iaf1").v_mem.zero_()  # a copy
    assert float(network.state_dict()["iaf1.v_mem"].abs().sum()) > 0
    assert network.double().state_dict()["iaf1.v_mem"].dtype == torch.float64
    fresh = small_network()
    fresh.load_state_dict({name: value for name, value in state.items() if name != "iaf1.v_mem"})
    assert torch.equal(fresh.get_parameter("linear1.weight"), state["linear1.weight"])
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"iaf1\.v"'):
        fresh.load_state_dict({**state, "iaf1.v": torch.zeros(1)})


def test_a_layer_alone() -> None:
    """The state of a layer that stands alone has no prefix."""
    layer = IAF()
    layer(torch.rand(2, 5, 3))
    other = IAF()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.v_mem, layer.v_mem)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_averages_weights(features: FeatureSet, tmp_path: Path) -> None:
    """Its callback trains, validates and saves with averaged weights, on batches of unequal sizes."""
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = small_network()

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
