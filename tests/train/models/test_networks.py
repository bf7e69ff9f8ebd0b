"""Networks."""

from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from sinabs.layers import IAF
from torch import nn

from spikestore.store_schemas.errors import SpecError, UsageError
from spikestore.train import (
    Batch,
    NetworkSpec,
    TrainingStep,
    build_network,
    forget_states,
    training_step,
)
from spikestore.train.models.backends import Backend
from spikestore.train.models.networks import load_weights, spiking_layers, weights

pytestmark = pytest.mark.bits


@pytest.mark.parametrize("backend", ["sinabs", "fused"])
def test_is_the_seeds_network(backend: Backend) -> None:
    """With the same random seed, parameters and outputs are bit-equal to the seed's Sequential on Sinabs."""
    torch.manual_seed(0)
    network = build_network(NetworkSpec(backend=backend, hidden=(16, 16, 16)), sites=10, classes=35)
    torch.manual_seed(0)
    seed = nn.Sequential(
        nn.Linear(10, 16), IAF(), nn.Linear(16, 16), IAF(), nn.Linear(16, 16), IAF(), nn.Linear(16, 35)
    )
    frames = torch.randint(0, 9, (4, 20, 1, 10)).float()
    assert torch.equal(network(frames), seed(frames.squeeze(2)))
    assert [name for name, _ in network.named_children()] == [
        "flatten", "linear1", "iaf1", "linear2", "iaf2", "linear3", "iaf3", "readout",
    ]  # fmt: skip


@pytest.mark.parametrize("backend", ["sinabs", "fused"])
def test_forgets_states_without_random_numbers(backend: Backend) -> None:
    """After `forget_states`, a batch of any size has the outputs of a new network, and no random numbers are drawn."""
    network = build_network(NetworkSpec(backend=backend, hidden=(8,)), sites=10, classes=2)
    frames = torch.randint(0, 9, (6, 20, 1, 10)).float()
    fresh = copy.deepcopy(network)(frames[:3])
    network(frames)
    assert not torch.equal(network(frames)[:3], fresh)
    state = torch.get_rng_state()
    forget_states(network)
    assert torch.equal(network(frames[:3]), fresh)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_leave_out_membrane_states() -> None:
    """Weights have parameters (Sinabs counts the threshold among them) and no states, and load into a network that has seen another batch size."""
    network = build_network(NetworkSpec(hidden=(8,)), sites=10, classes=2)
    network(torch.zeros(3, 5, 1, 10))
    kept = weights(network)
    names = ["iaf1.spike_threshold", "linear1.bias", "linear1.weight", "readout.bias", "readout.weight"]
    assert sorted(kept) == names
    other = build_network(NetworkSpec(hidden=(8,)), sites=10, classes=2)
    other(torch.zeros(7, 5, 1, 10))
    load_weights(other, kept)
    assert all(torch.equal(value, kept[name]) for name, value in weights(other).items())


def test_weights_of_another_network_are_refused() -> None:
    """A missing or additional parameter is named."""
    network = build_network(NetworkSpec(hidden=(8,)), sites=10, classes=2)
    deeper = weights(build_network(NetworkSpec(hidden=(8, 8)), sites=10, classes=2))
    with pytest.raises(ValueError, match=r"linear2\.weight"):
        load_weights(network, deeper)
    with pytest.raises(ValueError, match=r"linear1\.bias"):
        load_weights(network, {name: one for name, one in weights(network).items() if name != "linear1.bias"})


def test_spec_reaches_the_layers() -> None:
    """Threshold, minimum, reset and input scale are those of the spec; thresholds are not shared."""
    spec = NetworkSpec(hidden=(8, 8), spike_threshold=0.5, min_v_mem=-1.0, reset="zero", input_scale=2.0)
    torch.manual_seed(1)
    network = build_network(spec, sites=10, classes=2)
    torch.manual_seed(1)
    plain = build_network(NetworkSpec(hidden=(8, 8)), sites=10, classes=2)
    first, second = (cast("IAF", layer) for layer in spiking_layers(network).values())
    assert float(first.spike_threshold) == 0.5
    assert first.min_v_mem == -1.0
    assert [layer.neuron.to_zero for layer in (first, second)] == [True, True]
    assert first.spike_threshold is not second.spike_threshold
    assert torch.equal(weights(network)["linear1.weight"], 2 * weights(plain)["linear1.weight"])


def test_specs_without_a_backend() -> None:
    """A configuration without a backend is valid, and uses the fused one."""
    old = {"hidden": [8], "spike_threshold": 1.0, "min_v_mem": None, "input_scale": 1.0}
    assert NetworkSpec.from_mapping(old, origin="test") == NetworkSpec(backend="fused", hidden=(8,))
    with pytest.raises(SpecError, match=r"backend: must be 'fused', 'sinabs' or 'exodus', got 'fusd'"):
        NetworkSpec.from_mapping({"backend": "fusd"}, origin="test")
    with pytest.raises(SpecError, match=r"reset: must be 'subtract' or 'zero', got 'one'"):
        NetworkSpec.from_mapping({"reset": "one"}, origin="test")


def test_nonsense_is_refused() -> None:
    """The error lists all problems of a spec."""
    with pytest.raises(SpecError, match=r"2 problems\n.*hidden.*\n.*spike_threshold"):
        NetworkSpec(hidden=(), spike_threshold=0.0)


@pytest.mark.parametrize("backend", ["sinabs", "fused"])
def test_sparse_frames_are_refused_in_one_line(backend: Backend) -> None:
    """The layers of these networks compute with dense frames only; a network of the user may accept sparse ones."""
    network = build_network(NetworkSpec(backend=backend, hidden=(8,)), sites=10, classes=2)
    frames = torch.randint(0, 3, (4, 6, 1, 10)).float()
    labels = torch.zeros(4, dtype=torch.int64)
    sparse = Batch(frames.to_sparse_coo(), labels, torch.full((4,), 6), torch.arange(4))
    words = r"the network does not accept sparse frames \(torch: .*\): pass frames='dense' to FeatureLoader"
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    with pytest.raises(UsageError, match=words):
        training_step(network, optimiser, sparse)
    step = TrainingStep(network, optimiser)
    with pytest.raises(UsageError, match=words):
        step(sparse)

    class Dense(nn.Module):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return cast("torch.Tensor", network(given.to_dense()))

    assert training_step(Dense(), optimiser, sparse).isfinite()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        training_step(Dense(), optimiser, sparse._replace(frames=torch.zeros(4, 6, 1, 9).to_sparse_coo()))
