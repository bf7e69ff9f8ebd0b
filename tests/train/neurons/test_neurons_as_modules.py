"""Neurons and `SpikingSequential` as plain modules: hooks, subclasses, states set by hand, in-place changes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import sinabs.activation as reference
import torch
from sinabs import layers as sinabs_layers
from torch import Tensor, nn
from torch.autograd import forward_ad

from spikestore.store_schemas.errors import UsageError
from spikestore.train.neurons import IAF, Heaviside, SingleExponential
from spikestore.train.neurons.linear import cpu_autograd
from spikestore.train.neurons.linear.counts import Counts
from spikestore.train.neurons.sequential import SpikingSequential, watch_spikes

pytestmark = pytest.mark.bits

COUNTS = (torch.rand(6, 60, 30, generator=torch.Generator().manual_seed(0)) < 0.1).float()


def stack(kind: Any = SpikingSequential, neurons: Any = IAF, **options: Any) -> Any:
    """Return two layers of neurons and a read-out."""
    torch.manual_seed(0)
    linear = [nn.Linear(30, 20), nn.Linear(20, 20), nn.Linear(20, 7)]
    return kind(linear[0], neurons(**options), linear[1], neurons(**options), linear[2])


def learn(net: nn.Module, x: Tensor = COUNTS) -> list[Tensor]:
    """Return output and gradients."""
    output = net(x)
    torch.manual_seed(1)
    (output * torch.randn_like(output)).sum().backward()
    return [output.detach(), *(one.grad for one in net.parameters() if one.grad is not None)]


def assert_close(found: list[Tensor], wanted: list[Tensor]) -> None:
    """Assert that outputs are equal and gradients close."""
    assert torch.equal(found[0], wanted[0])
    for mine, theirs in zip(found, wanted, strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-6 * float(theirs.abs().max())


def halve(net: Any, place: int) -> None:
    """Replace the ``forward`` of a layer, as libraries that offload layers do."""
    layer, own = net[place], net[place].forward
    layer.forward = lambda *them: own(*them) * 0.5


CHANGES: dict[str, Callable[[Any], object]] = {
    "neurons' output": lambda net: net[1].register_forward_hook(lambda layer, x, output: output * 0.5),
    "neurons' input": lambda net: net[1].register_forward_pre_hook(lambda layer, x: (x[0] + 0.1,)),
    "neurons' forward": lambda net: halve(net, 1),
    "linear output": lambda net: net[2].register_forward_hook(lambda layer, x, output: output * 0.5),
    "linear forward": lambda net: halve(net, 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_layers_run_by_themselves(change: str, joint_steps: list[int]) -> None:
    """A hook or another ``forward`` has its effect as in ``nn.Sequential``; the other layers run together."""
    ours, theirs = stack(), stack(nn.Sequential)
    for net in (ours, theirs):
        CHANGES[change](net)
    assert_close(learn(ours), learn(theirs))
    assert len(joint_steps) == 1


def test_watched_layers_run_together(joint_steps: list[int]) -> None:
    """A watcher that only counts spikes does not separate the layers."""
    net, plain, seen = stack(), stack(), []
    handle = watch_spikes(net[1], lambda layer, spikes: seen.append((layer, int(spikes.detach().sum()))))
    assert_close(learn(net), learn(plain))
    assert len(joint_steps) == 4
    assert seen == [(net[1], seen[0][1])]
    assert seen[0][1] > 0
    handle.remove()
    net(COUNTS)
    assert len(seen) == 1


def test_hooks_of_neurons_see_currents() -> None:
    """Such hooks get the same currents as without gradients."""
    net, seen = stack(), []
    net[1].register_forward_hook(lambda layer, x, output: seen.append(x[0].shape))
    net[1].register_full_backward_hook(lambda layer, before, after: seen.append(before[0].shape))
    learn(net)
    assert seen == [(6, 60, 20), (6, 60, 20)]


def test_subclasses_run_by_themselves() -> None:
    """A subclass of IAF may have a ``forward`` with one argument."""

    class Louder(IAF):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x) * 2

    assert_close(learn(stack(neurons=Louder)), learn(stack(nn.Sequential, neurons=Louder)))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_layers_and_no_inputs() -> None:
    """A sequence without layers, and inputs without elements, are supported."""
    assert SpikingSequential()(COUNTS) is COUNTS
    for inputs, outputs in ((0, 4), (4, 0)):
        net = SpikingSequential(nn.Linear(inputs, outputs), IAF())
        assert net(torch.zeros(2, 60, inputs)).shape == (2, 60, outputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", [SpikingSequential, nn.Sequential])
def test_states_of_other_dtypes(kind: Any, dtype: torch.dtype) -> None:
    """Potentials of another dtype become float32 at the next call, in both ways of running."""
    ours, theirs = stack(kind), stack(kind)
    ours[1].v_mem = torch.full((6, 20), 0.5, dtype=dtype)
    theirs[1].v_mem = torch.full((6, 20), 0.5)
    assert_close(learn(ours), learn(theirs))
    assert ours[1].v_mem.dtype == torch.float32


@pytest.mark.parametrize("strange", ["slices", "transposed", "expanded"])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_input_in_any_layout(strange: str, density: float) -> None:
    """Frames need not be contiguous, whether they are counts or not."""
    torch.manual_seed(2)
    x = (torch.rand(60, 12, 30) < density).float() * (torch.rand(60, 12, 30) if density == 1 else 1)
    views = {"slices": x.transpose(0, 1)[::2], "transposed": x.transpose(0, 1)[:6], "expanded": x[:, :1].transpose(0, 1).expand(6, -1, -1)}  # fmt: skip
    view = views[strange]
    assert not view.is_contiguous()
    assert_close(learn(stack(), view), learn(stack(nn.Sequential), view))


def test_spikes_may_be_changed_in_place() -> None:
    """The spikes belong to the caller."""
    net: Any = SpikingSequential(nn.Linear(30, 20), IAF())
    (net(COUNTS).mul_(2)).sum().backward()
    twice = net[0].weight.grad.clone()
    net[1].reset_states()
    net.zero_grad()
    net(COUNTS).sum().backward()
    assert torch.equal(twice, 2 * net[0].weight.grad)


def test_learning_after_inference() -> None:
    """States of inference mode can be used in training, as with Sinabs."""
    ours, theirs = stack(), stack(nn.Sequential, neurons=sinabs_layers.IAF)
    for net in (ours, theirs):
        with torch.inference_mode():
            net(COUNTS)
    assert torch.equal(ours(COUNTS), theirs(COUNTS))


def test_parameters_are_those_of_the_forward_pass() -> None:
    """If a threshold changes before the backward pass, the gradients do not change."""
    found: list[Any] = []
    for change in (False, True):
        for net in (IAF(min_v_mem=-0.2), SpikingSequential(nn.Linear(30, 30), IAF(min_v_mem=-0.2))):
            torch.manual_seed(0)
            x = (COUNTS * 0.7).requires_grad_()
            for one in net.parameters():
                one.data.copy_(one.data if one.dim() == 0 else torch.rand(one.shape) - 0.4)
            output = net(x)
            for name, one in net.named_parameters():
                if change and one.dim() == 0:
                    one.data.fill_(2.0 if "threshold" in name else -1.0)
            output.sum().backward()
            found.append(x.grad)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])


def test_thresholds_are_not_learned(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says so once."""
    layer = IAF().requires_grad_()
    with caplog.at_level(logging.WARNING, "spikestore"):
        layer(COUNTS)
        layer(COUNTS)
    assert caplog.text.count("spike_threshold gets no gradient") == 1


@pytest.mark.parametrize("axes", [(), (5, 6)])
def test_reset_and_zero_grad_as_in_sinabs(axes: tuple[int, ...]) -> None:
    """Potentials are drawn between bounds; `zero_grad` and `detach_` drop their graph, also with several axes of neurons."""
    layer = IAF()
    layer(COUNTS.requires_grad_(False))
    layer.reset_states(randomize=True, value_ranges={"v_mem": (-3.0, -2.0)})
    assert -3 <= float(layer.v_mem.min()) < float(layer.v_mem.max()) <= -2
    layer.reset_states(randomize=True)
    assert 0 <= float(layer.v_mem.min()) < float(layer.v_mem.max()) <= 1
    for let_go in (layer.zero_grad, lambda: layer.v_mem.detach_()):
        x = COUNTS.clone().requires_grad_()
        for _ in range(2):
            layer(x.unflatten(2, axes) if axes else x).sum().backward()
            let_go()
            assert layer.v_mem.grad_fn is None


def test_states_load_in_any_shape() -> None:
    """A state dict of one batch size loads into a network that has seen another, or none."""
    net = stack()
    net(COUNTS)
    other = stack()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other[1].v_mem, net[1].v_mem)
    other.load_state_dict(stack().state_dict())
    assert other[1].v_mem.shape == (0,)
    assert torch.equal(copy.deepcopy(net)[3].v_mem, net[3].v_mem)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    """Forward-mode differentiation is an error, because tangents would be lost silently."""
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        IAF()(forward_ad.make_dual(COUNTS, torch.ones_like(COUNTS)))


@pytest.mark.parametrize("spikes", ["single", "multi"])
@pytest.mark.parametrize("odd", [float("nan"), -float("inf"), float("inf")])
def test_no_number_after_a_reset_to_zero(odd: float, spikes: str) -> None:
    """Gradients w.r.t. inputs around a NaN or an infinity equal Sinabs' too."""
    fn = reference.SingleSpike if spikes == "single" else reference.MultiSpike
    theirs = sinabs_layers.IAF(spike_fn=fn, reset_fn=reference.MembraneReset(), surrogate_grad_fn=Heaviside())
    ours = IAF(spike_fn=spikes, reset_fn="zero", surrogate_grad_fn=Heaviside())
    found: list[Any] = []
    for layer in (ours, theirs):
        x = torch.tensor([[[0.4], [odd], [0.3]]], requires_grad=True)
        layer(x)
        layer.v_mem.sum().backward()
        found.append(x.grad)
    assert torch.equal(*found)


def test_numbers_that_divide_by_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Thresholds that are not normal numbers are rejected; a width of 0 has the result of torch."""
    for threshold in (1e-45, 0.0):
        with pytest.raises(UsageError, match="spike_threshold must be above 0"):
            IAF(threshold)
    layer = IAF()
    layer.spike_threshold.data.zero_()
    with pytest.raises(UsageError, match=r"spike_threshold must be above 0, got 0\.0"):
        layer(COUNTS)
    x = (COUNTS * 0.3).requires_grad_()
    IAF(surrogate_grad_fn=SingleExponential(grad_width=0.0))(x).sum().backward()
    assert "ignored" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("inputs", "time", "density", "pays"),
    [(100, 250, 0.1, True), (100, 250, 0.5, False), (8192, 250, 0.1, False), (100, 5, 0.1, False)],
)
def test_sums_only_where_they_pay(inputs: int, time: int, density: float, pays: bool) -> None:
    """For large weights and short recordings, matrix products are used: sums would need a copy of the weight for each group."""
    counts = Counts(torch.zeros(2, time, inputs, dtype=torch.uint8), density)
    assert cpu_autograd._is_summed(counts, torch.zeros(128, inputs)) is pays
    torch.manual_seed(0)
    x = (torch.rand(2, time, inputs) < density).float()
    net = SpikingSequential(nn.Linear(inputs, 8), IAF(), nn.Linear(8, 3))
    plain = nn.Sequential(*copy.deepcopy(list(net)))
    assert_close(learn(net, x), learn(plain, x))
