"""Backends: each runs the same network, and a network trained with one runs with another."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from spikestore.store_schemas.errors import MissingExtraError, UnknownNameError, UsageError
from spikestore.train import ConvolutionSpec, NetworkSpec, build_network, forget_states
from spikestore.train.models import backends
from spikestore.train.models.backends import Backend, SurrogateName
from spikestore.train.models.networks import load_weights, weights

pytestmark = pytest.mark.bits

SPECS = {
    "linear": (NetworkSpec(hidden=(24, 16), input_scale=3.0), (1, 10), {}),
    "single": (NetworkSpec(hidden=(24, 16), input_scale=3.0, spikes="single", surrogate="heaviside"), (1, 10), {}),
    "convolutional": (
        NetworkSpec(
            convolutions=(
                ConvolutionSpec(channels=4, pool="sum"),
                ConvolutionSpec(channels=6, padding=1, stride=2, pool="average"),
            ),
            hidden=(12,),
            input_scale=2.0,
        ),
        (2, 14, 12),
        {"polarities": 2, "height": 14, "width": 12},
    ),
}  # fmt: skip


def build(name: str, backend: str, **changes: Any) -> tuple[nn.Sequential, Tensor]:
    """Return a network and frames for it."""
    spec, frame, axes = SPECS[name]
    spec = spec.model_copy(update={"backend": backend, **changes})
    torch.manual_seed(0)
    network = build_network(spec, sites=int(torch.tensor(frame).prod()), classes=5, **axes)
    frames = (torch.rand(3, 15, *frame) < 0.2).float() * torch.randint(1, 4, (3, 15, *frame))
    return network, frames


def outputs_and_gradients(network: nn.Module, frames: Tensor) -> list[Tensor]:
    """Return outputs, and gradients of a weighted sum of them."""
    forget_states(network)
    outputs = network(frames)
    torch.manual_seed(1)
    (outputs * torch.randn_like(outputs)).sum().backward()
    return [outputs.detach(), *(one.grad for one in network.parameters() if one.grad is not None)]


def assert_equal_networks(name: str, backend: str, **changes: Any) -> None:
    """Assert that a backend has the outputs and gradients of Sinabs, and that weights load both ways."""
    network, frames = build(name, backend, **changes)
    sinabs, _ = build(name, "sinabs", **changes)
    assert network.state_dict().keys() == sinabs.state_dict().keys()
    assert [one for one, _ in network.named_children()] == [one for one, _ in sinabs.named_children()]
    with torch.no_grad():
        for one in sinabs.parameters():
            one.mul_(1.1)
    load_weights(network, weights(sinabs))
    found, wanted = outputs_and_gradients(network, frames), outputs_and_gradients(sinabs, frames)
    assert torch.equal(found[0], wanted[0])
    assert found[0].abs().max() > 0
    for mine, theirs in zip(found, wanted, strict=True):
        assert float((mine - theirs).abs().max()) <= 2e-6 * float(theirs.abs().max())


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("minimum", [None, -0.1])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_fused_equals_sinabs(name: str, minimum: float | None, reset: str) -> None:
    """Names are the same, weights load both ways, outputs are equal, and gradients are equal up to rounding."""
    assert_equal_networks(name, "fused", min_v_mem=minimum, reset=reset)


convolutions = st.builds(
    ConvolutionSpec,
    channels=st.integers(1, 5),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    pool=st.sampled_from([None, "sum", "average"]),
)
specs = st.builds(
    NetworkSpec,
    convolutions=st.lists(convolutions, max_size=2).map(tuple),
    hidden=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
    spike_threshold=st.sampled_from([1.0, 0.7]),
    min_v_mem=st.sampled_from([None, -1.0]),
    spikes=st.sampled_from(["multi", "single"]),
    reset=st.sampled_from(["subtract", "zero"]),
    surrogate=st.sampled_from(sorted(backends.SURROGATES)),
    input_scale=st.sampled_from([1.0, 2.0]),
)


@settings(max_examples=examples(12))
@given(specs, st.integers(0, 99))
def test_same_parameters_for_any_network(spec: NetworkSpec, seed: int) -> None:
    """Names, shapes, dtypes, order, trainable parameters and, for a seed, the values are the same for all backends."""
    found = []
    for backend in ("fused", "sinabs"):
        torch.manual_seed(seed)
        network = build_network(
            spec.model_copy(update={"backend": backend}), sites=1152, classes=3, polarities=2, height=24, width=24
        )  # fmt: skip
        network(torch.zeros(2, 1, 2, 24, 24))  # the states have a shape now, and are no weights
        found.append(network)
    fused, sinabs = found
    assert list(weights(fused)) == list(weights(sinabs))
    for name, value in weights(sinabs).items():
        assert weights(fused)[name].dtype == value.dtype
        assert torch.equal(weights(fused)[name], value)
    learned = [[name for name, one in net.named_parameters() if one.requires_grad] for net in found]
    assert learned[0] == learned[1]
    load_weights(fused, weights(sinabs))
    load_weights(sinabs, weights(fused))


@pytest.mark.parametrize("surrogate", backends.SURROGATES)
def test_surrogates_are_those_of_sinabs(surrogate: SurrogateName) -> None:
    """Each name in a configuration selects Sinabs' class of that name, with its defaults."""
    import sinabs.activation

    kind = "".join(word.capitalize() for word in surrogate.split("_"))
    ours, theirs = backends.SURROGATES[surrogate](), getattr(sinabs.activation, kind)()
    v_mem, threshold = torch.linspace(-3, 5, 1001), torch.tensor(0.7)
    assert torch.equal(ours(v_mem, threshold), theirs(v_mem, threshold))
    assert_equal_networks("linear", "fused", surrogate=surrogate)


def test_layers_of_a_convolutional_network() -> None:
    """Numbers in names continue from convolutions to linear layers, and sizes follow from the frame."""
    network, _ = build("convolutional", "fused")
    assert [name for name, _ in network.named_children()] == [
        "conv1", "iaf1", "pool1", "conv2", "iaf2", "pool2", "flatten", "linear3", "iaf3", "readout",
    ]  # fmt: skip
    assert network.get_submodule("linear3").in_features == 6


def test_sum_pooling_is_sinabs() -> None:
    """Sums and averages of windows, and their gradients, equal torch's; sums equal those of Sinabs' layer."""
    from sinabs.layers import SumPool2d as Reference

    from spikestore.train.models.folded import SumPool2d

    spikes = torch.randint(0, 9, (2, 3, 4, 7, 9)).float().requires_grad_()
    for size, average in ((2, True), (3, True), (2, False), (3, False)):
        ours = SumPool2d(size, average=average)(spikes)
        weights = torch.randn_like(ours)
        divisor = None if average else 1
        theirs = avg_pool2d(spikes.flatten(0, 1), size, divisor_override=divisor).unflatten(0, (2, 3))
        assert torch.equal(ours, theirs)
        mine, wanted = (torch.autograd.grad((one * weights).sum(), spikes)[0] for one in (ours, theirs))
        assert torch.allclose(mine, wanted, rtol=1e-6)
    for size in (2, 3):
        expected = Reference(size)(spikes.flatten(0, 1)).unflatten(0, (2, 3))
        assert torch.allclose(SumPool2d(size)(spikes), expected, rtol=1e-6)
        assert torch.equal(SumPool2d(size)(spikes), SumPool2d(size)(spikes).round())


def test_frames_that_do_not_fit_convolutions() -> None:
    """Frames without y, and frames that are too small, are rejected."""
    spec = NetworkSpec(convolutions=(ConvolutionSpec(channels=4, kernel=5),))
    with pytest.raises(UsageError, match=r"these frames have no y"):
        build_network(spec, sites=10, classes=2)
    with pytest.raises(UsageError, match=r"convolutions\[0\] is too large for frames of 4 × 9"):
        build_network(spec, sites=72, classes=2, polarities=2, height=4, width=9)


@pytest.mark.slow
def test_fused_needs_no_sinabs() -> None:
    """A fused network is built and runs where Sinabs can't be imported."""
    import subprocess

    code = (
        "import sys; sys.modules['sinabs'] = None\n"
        "import torch; from spikestore.train import NetworkSpec, build_network, forget_states\n"
        "net = build_network(NetworkSpec(hidden=(4,)), sites=3, classes=2)\n"
        "forget_states(net); net(torch.ones(2, 4, 1, 3)).sum().backward()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_backend_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the command; no other backend is used instead."""
    monkeypatch.setitem(sys.modules, "sinabs.layers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'spikestore\[train\]'"):
        build("linear", "sinabs")
    monkeypatch.setitem(sys.modules, "sinabs.exodus", None)
    with pytest.raises(MissingExtraError, match=r"`make exodus`"):
        build("linear", "exodus")
    with pytest.raises(UnknownNameError, match=r"no backend 'slayer': use fused, sinabs, exodus"):
        backends.known_backend("slayer")


def test_exodus_refuses_a_minimum() -> None:
    """EXODUS bounds potentials before neurons spike, so gradients would differ: a minimum is rejected."""
    with pytest.raises(UsageError, match=r"leave min_v_mem out"):
        build("linear", "exodus", min_v_mem=-1.0)


def test_exodus_refuses_reset_to_zero() -> None:
    """EXODUS can only subtract; without this check, its own error would be raised."""
    with pytest.raises(UsageError, match=r"can only subtract .*: omit reset, or use the backend 'fused'"):
        build("linear", "exodus", reset="zero")


@pytest.mark.parametrize("backend", ["fused", "sinabs"])
@pytest.mark.parametrize(
    "fields", [{"spike_threshold": 1e-300}, {"spike_threshold": 1e300}, {"min_v_mem": 1e300}]
)
def test_numbers_that_are_none_in_float32(backend: Backend, fields: dict[str, float]) -> None:
    """They are rejected by name on every backend, before they are used."""
    with pytest.raises(UsageError, match=f"{next(iter(fields))} must be"):
        build_network(NetworkSpec(backend=backend, **fields), sites=4, classes=2)  # type: ignore[arg-type]
