"""Which steps can be replayed as a CUDA graph, and the reasons why others cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.train.runs.test_graphs import network_of
from torch import nn

from spikestore.train.neurons.sequential import watch_spikes
from spikestore.train.runs.capturable import why_not_network, why_not_optimiser
from spikestore.train.runs.monitor import SpikeCounts


def with_states() -> Any:
    """Return a network that records states."""
    network = network_of()
    network.iaf1.record_states = True
    return network


def with_watcher() -> Any:
    """Return a network with a watcher of spikes that can't be replayed."""
    network = network_of()
    watch_spikes(network.iaf1, lambda layer, spikes: None)
    return network


def with_parameter_hook() -> Any:
    """Return a network with a hook on a gradient."""
    network = network_of()
    network.readout.weight.register_hook(lambda gradient: gradient)
    return network


def with_surrogate() -> Any:
    """Return a network with a user's surrogate."""
    network = network_of()
    network.iaf1.surrogate_grad_fn = lambda v_mem, threshold: torch.ones_like(v_mem)
    return network


def compiled_in_place() -> Any:
    """Return a network that `compile()` has compiled."""
    network = network_of()
    network.compile(backend="eager")
    return network


def with_compiled_layer() -> Any:
    """Return a network with a compiled layer."""
    network = network_of()
    network.iaf1.compile(backend="eager")
    return network


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.compile(network_of(), backend="eager"), "the network is compiled by torch.compile"),
        (compiled_in_place, "the network is compiled by torch.compile"),
        (with_compiled_layer, "layer iaf1 is compiled by torch.compile"),
        (lambda: network_of(backend="sinabs"), "layer iaf1 is a IAF, which is not known to be safe"),
        (lambda: nn.Sequential(network_of(), nn.Dropout()), "layer 1 is a Dropout"),
        (with_states, "layer iaf1 records its states"),
        (with_watcher, "layer iaf1 has hooks"),
        (with_parameter_hook, "the parameter readout.weight has hooks"),
        (with_surrogate, "layer iaf1 has a custom surrogate"),
    ],
)
def test_what_is_not_replayed(make: Callable[[], nn.Module], reason: str) -> None:
    """For these networks, a replay would leave something out."""
    assert reason in (why_not_network(make()) or "")


def test_what_is_replayed() -> None:
    """Networks of configurations can be replayed, also while spikes are counted."""
    for convolutional in (False, True):
        network = network_of(convolutional)
        SpikeCounts(network)
        assert why_not_network(network) is None


def test_optimisers() -> None:
    """Optimisers can be replayed if they are capturable and have no hooks."""
    network = network_of()
    assert "capturable=True" in (why_not_optimiser(torch.optim.AdamW(network.parameters())) or "")
    capturable = torch.optim.AdamW(network.parameters(), capturable=True)
    assert why_not_optimiser(capturable) is None
    capturable.register_step_post_hook(lambda *them: None)
    assert "has hooks" in (why_not_optimiser(capturable) or "")
