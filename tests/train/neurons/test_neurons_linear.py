"""Linear layers that run together with their neurons: the same results as separate layers of Sinabs, with less memory."""

from __future__ import annotations

from collections import Counter, OrderedDict
from itertools import pairwise
from typing import Any

import pytest
import sinabs.activation as reference
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sinabs import layers as sinabs_layers
from tests.hypothesis_profiles import examples
from torch import Tensor, nn

from spikestore.train.neurons import IAF, Heaviside, SingleExponential
from spikestore.train.neurons.linear import cpu_autograd, cpu_passes
from spikestore.train.neurons.linear.functions import pack
from spikestore.train.neurons.sequential import SpikingSequential

pytestmark = pytest.mark.bits

RESETS = {
    "subtract": reference.MembraneSubtract(),
    "amount": reference.MembraneSubtract(0.35),
    "zero": reference.MembraneReset(),
    "other": reference.MembraneReset(-0.3),
}
# Not so steep that 1 - b·sg, by which gradients are multiplied from step to step, falls below -1: rounding errors would grow.
SURROGATES: list[Any] = [SingleExponential(), SingleExponential(0.3, 0.5), reference.MultiGaussian()]


@pytest.fixture(autouse=True)
def _small_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use sums over non-zeros in networks of any size."""
    monkeypatch.setattr(cpu_autograd, "FEWEST_STEPS", 1)
    monkeypatch.setattr(cpu_autograd, "LARGEST", 1 << 40)


def neurons_of_sinabs(**options: Any) -> sinabs_layers.IAF:
    """Return Sinabs' layer for our options."""
    kind = reference.SingleSpike if options.pop("spike_fn") == "single" else reference.MultiSpike
    threshold = torch.tensor(options.pop("spike_threshold"))
    return sinabs_layers.IAF(spike_fn=kind, spike_threshold=threshold, **options)


def network(
    kind: Any, widths: tuple[int, ...], *, bias: bool = True, neurons: Any = IAF, **options: Any
) -> Any:
    """Return a stack of linear layers and neurons."""
    torch.manual_seed(3)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten(start_dim=2))
    for place, (inputs, outputs) in enumerate(pairwise(widths)):
        layers[f"linear{place}"] = nn.Linear(inputs, outputs, bias=bias)
        if place < len(widths) - 2:
            layers[f"iaf{place}"] = neurons(**options)
    made = kind(layers)
    with torch.no_grad():
        made.linear0.weight.mul_(3)
    return made


def with_exact_sums(net: Any) -> Any:
    """Return a network whose weights are multiples of 1/64: sums over counts are the same in any order.

    The order in which torch's matrix product sums depends on the processor, MKL and the number of threads.
    """
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((parameter * 64).round() / 64)
    return net


def results(net: nn.Module, frames: Tensor, calls: int = 1, *, initial: bool = False) -> list[Tensor]:
    """Return outputs, with the last potentials if there are `initial` ones, and all gradients."""
    frames, first = frames.clone().requires_grad_(), []
    torch.manual_seed(5)
    layers: list[Any] = [layer for name, layer in net.named_children() if initial and name.startswith("iaf")]
    for place, layer in enumerate(layers):
        width = net.get_parameter(f"linear{place}.weight").shape[0]
        first.append(torch.randn(len(frames), width).requires_grad_())
        layer.v_mem = first[-1] * 1
    outputs = [net(frames) for _ in range(calls)] + [layer.v_mem for layer in layers]
    torch.manual_seed(4)
    sum((one * torch.randn_like(one)).sum() for one in outputs).backward()
    gradients = (one.grad for one in (frames, *first, *net.parameters()) if one.grad is not None)
    return [one.detach() for one in (*outputs, *gradients)]


def compare(frames: Tensor, *arguments: Any, **options: Any) -> None:
    """Assert that outputs are equal and gradients close."""
    found = results(network(SpikingSequential, *arguments, **options), frames)
    wanted = results(network(nn.Sequential, *arguments, **options), frames)
    for place, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
        if place < 1:
            assert torch.equal(mine, theirs)
        assert float((mine - theirs).abs().max()) <= 1e-6 * float(theirs.abs().max())


def counts(shape: tuple[int, ...], density: float, most: int = 4, seed: int = 0) -> Tensor:
    """Return frames of counts."""
    torch.manual_seed(seed)
    return (torch.rand(shape) < density).float() * torch.randint(1, most, shape)


def sums_of_absolute_gradients(net: nn.Module) -> Counter[str]:
    """Return a dict that a backward pass fills: by name of a bias, the largest sum of the absolute terms of one of its gradients."""
    sums: Counter[str] = Counter()
    for name, layer in net.named_children():
        if isinstance(layer, nn.Linear):

            def add(_layer: nn.Module, _inputs: Any, outputs: Any, bias: str = f"{name}.bias") -> None:
                sums[bias] += float(outputs[0].abs().sum((0, 1)).max())  # type: ignore[assignment]

            layer.register_full_backward_hook(add)
    return sums


@settings(max_examples=examples(40, by_hand=2))
@given(
    widths=st.lists(st.integers(1, 150), min_size=3, max_size=4),
    batch=st.integers(1, 5),
    time=st.integers(1, 12),
    density=st.sampled_from([0.0, 0.05, 0.2, 0.9]),
    minimum=st.sampled_from([None, -0.2, 0.1]),
    threshold=st.sampled_from([1.0, 0.4]),
    reset=st.sampled_from(sorted(RESETS)),
    spike_fn=st.sampled_from(["multi", "single"]),
    surrogate=st.sampled_from(SURROGATES),
    bias=st.booleans(),
    calls=st.integers(1, 2),
    seed=st.integers(0, 99),
)
@example([40, 30, 20, 5], 3, 9, 0.05, -0.2, 1.0, "subtract", "multi", SURROGATES[0], True, 2, 0)
@example([40, 30, 20, 5], 3, 9, 0.05, -0.2, 0.4, "amount", "multi", SURROGATES[0], True, 2, 0)
@example([40, 30, 20, 5], 3, 9, 0.05, -0.2, 0.4, "zero", "multi", SURROGATES[1], True, 2, 0)
@example([40, 30, 20, 5], 3, 9, 0.05, -0.2, 0.4, "other", "single", SURROGATES[0], False, 2, 0)
@example([119, 1, 1], 2, 12, 0.0, 0.1, 1.0, "zero", "multi", SURROGATES[0], True, 1, 0)  # 1.4 remains of 24.5
def test_equals_sinabs(
    widths: list[int], batch: int, time: int, density: float, minimum: float | None, threshold: float, reset: str,
    spike_fn: str, surrogate: Any, bias: bool, calls: int, seed: int,
) -> None:  # fmt: skip
    """Networks differ in widths, densities, options of neurons, initial potentials, and calls with states of former calls."""
    frames = counts((batch, time, 1, widths[0]), density, seed=seed)
    options: dict[str, Any] = {
        "min_v_mem": minimum, "spike_threshold": threshold, "reset_fn": RESETS[reset], "spike_fn": spike_fn,
        "surrogate_grad_fn": surrogate,
    }  # fmt: skip
    net = network(SpikingSequential, tuple(widths), bias=bias, **options)
    sinabs = network(nn.Sequential, tuple(widths), bias=bias, neurons=neurons_of_sinabs, **options)
    sinabs.load_state_dict(net.state_dict(), strict=False)
    added = sums_of_absolute_gradients(sinabs)
    found, wanted = (results(one, frames, calls, initial=True) for one in (net, sinabs))
    # Close relative to the largest of all: where layers and steps cancel each other, little remains of much.
    allowed = 1e-6 * max(float(one.abs().max()) for one in wanted)
    parameters = [name for name, one in net.named_parameters() if one.grad is not None]
    names = [""] * (len(wanted) - len(parameters)) + parameters
    for place, (name, mine, theirs) in enumerate(zip(names, found, wanted, strict=True)):
        if place < calls + len(widths) - 2:
            assert torch.equal(mine, theirs)
        # The gradient of a bias is a sum over all steps: it is exact to two roundings of the size of its terms.
        assert float((mine - theirs).abs().max()) <= max(allowed, 2.4e-7 * added[name])


def test_potentials_are_recomputed_only_if_they_are_the_same() -> None:
    """If the matrix product sums in another order than our kernels, potentials are stored."""
    source, weight, bias = counts((40, 9, 30), 0.1), torch.randn(20, 30), torch.randn(20)
    weight, bias = (
        torch.round(one * 64) / 64 for one in (weight, bias)
    )  # with or without fused multiply-add
    packed = source.to(torch.uint8)
    in_order = bias.expand(40, 9, 20) * 0
    for k in range(30):
        in_order = torch.from_numpy(
            (source[..., k : k + 1].double() * weight[:, k] + in_order).float().numpy()
        )
    in_order += bias
    assert cpu_passes.is_repeatable(packed, weight, bias, in_order)
    for place in (0, -1):
        other = in_order.clone()
        other.view(-1, 20)[place, 3] = other.view(-1, 20)[place, 3].nextafter(torch.tensor(9e9))
        assert not cpu_passes.is_repeatable(packed, weight, bias, other)


def test_a_product_in_another_order_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a library sums in two halves, gradients are the same, from stored potentials."""

    def in_halves(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        half = x.shape[2] // 2
        return linear(x[..., :half], weight[:, :half], bias) + linear(x[..., half:], weight[:, half:])

    def told(*them: Any) -> bool:
        found.append(repeatable(*them))
        return found[-1]

    found: list[bool] = []
    linear, repeatable = nn.functional.linear, cpu_passes.is_repeatable
    monkeypatch.setattr(cpu_autograd, "linear", in_halves)
    monkeypatch.setattr(cpu_passes, "is_repeatable", told)
    results(network(SpikingSequential, (40, 30, 5)), counts((8, 30, 1, 40), 0.1))
    assert found == [False]


@pytest.mark.parametrize(
    "frames",
    [
        counts((70, 3, 1, 9), 0.1),  # more rows than groups
        counts((2, 5, 1, 9), 0.1, most=1000),  # does not fit uint8
        counts((2, 5, 1, 9), 0.1) * 0.3,  # no integers
        -counts((2, 5, 1, 9), 0.1),
    ],
)
def test_any_frames(frames: Tensor) -> None:
    """Large, fractional and negative inputs are stored unchanged; large batches are summed in groups."""
    compare(frames, (9, 20, 20, 5))


@pytest.mark.parametrize("density", [0.05, 0.2])
def test_more_spikes_than_a_byte_holds(density: float) -> None:
    """A neuron that spikes more than 255 times in a bin has the right count, whether potentials are stored or not."""
    frames = counts((2, 6, 1, 9), density, most=250)
    assert 0 < (frames != 0).float().mean() < 0.15 or density == 0.2
    compare(frames, (9, 20, 20, 5), spike_threshold=0.01)


def test_no_samples() -> None:
    """A rank's share of a short batch may be empty: gradients are 0."""
    found = results(network(SpikingSequential, (9, 20, 20, 5)), counts((0, 3, 1, 9), 0.1))
    assert found[0].shape == (0, 3, 5)
    assert not any(one.any() for one in found)


@pytest.mark.parametrize("width", [1, 63, 64, 70, 128, 200])
def test_what_fits_a_byte(width: int) -> None:
    """Integers up to 254 fit, at every place of a row; 255 stands for all other values, which are no counts."""
    x = torch.arange(3.0 * width).remainder(255).view(1, 3, width)
    found = pack(x)
    assert found is not None
    assert torch.equal(found.packed, x.to(torch.uint8))
    assert found.density == int(x.count_nonzero()) / x.numel()
    for odd in (255.0, 256.0, 2.0**31, -1.0, 0.5, float("nan"), float("inf")):
        for place in (0, width // 2, width - 1):
            other = x.clone()
            other[0, 1, place] = odd
            assert pack(other) is None


def test_other_surrogates() -> None:
    """Surrogates that torch evaluates have the same results."""
    compare(counts((3, 6, 1, 9), 0.1), (9, 20, 20, 5), surrogate_grad_fn=Heaviside())


def test_wide_layers_are_cut_into_strips() -> None:
    """The layers have more neurons than a strip."""
    compare(counts((2, 4, 1, 30), 0.2), (30, 1100, 1030, 5))


def test_keeps_a_byte_a_spike() -> None:
    """Stored for the backward pass are frames and spikes as uint8, and little more."""
    frames, widths = counts((16, 40, 1, 64), 0.05), (64, 64, 64, 10)
    kept: dict[int, int] = {}

    def keep(one: Tensor) -> Tensor:
        kept[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
        return one

    def bytes_of(kind: Any) -> int:
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            output = with_exact_sums(network(kind, widths))(frames)
        assert output.requires_grad
        return sum(kept.values())

    small = 4 * (2 * 64 * 64 + 64 * 10) + 4 * 2 * 64 * (16 + 1)  # weights, biases and initial potentials
    assert bytes_of(SpikingSequential) <= 3 * frames.numel() + small
    assert bytes_of(nn.Sequential) >= 4 * 5 * frames.numel()


def test_hooks_get_the_usual_arguments() -> None:
    """A linear layer with hooks runs separately; hooks of neurons see spikes; results stay the same."""
    frames = counts((3, 6, 1, 9), 0.1)
    net, plain = network(SpikingSequential, (9, 20, 5)), network(nn.Sequential, (9, 20, 5))
    seen: dict[str, Tensor] = {}
    for name in ("linear0", "iaf0", "linear1"):
        for one, prefix in ((net, "ours "), (plain, "theirs ")):
            one.get_submodule(name).register_forward_hook(
                lambda layer, inputs, output, key=prefix + name: seen.update({key: output})
            )
    net(frames), plain(frames)
    assert len(seen) == 6
    assert all(
        torch.equal(seen[f"ours {name}"], seen[f"theirs {name}"]) for name in ("linear0", "iaf0", "linear1")
    )


def test_runs_together_only_where_it_may(joint_steps: list[int]) -> None:
    """Layers run together in training; separately without gradients, under autocast and while states are recorded."""
    frames = counts((3, 6, 1, 9), 0.1)
    net = network(SpikingSequential, (9, 20, 5))
    net(frames)
    assert len(joint_steps) == 1
    with torch.no_grad():
        net(frames)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        net(frames)
    net.iaf0.record_states = True
    net(frames)
    assert len(joint_steps) == 1
    assert net.iaf0.recordings["v_mem"].shape == (3, 6, 20)


def test_our_sums_are_the_same_for_any_number_of_threads(joint_steps: list[int]) -> None:
    """Spikes, and gradients that our kernels sum over the batch, do not depend on the number of threads.

    torch's own matrix product may depend on it: on some processors narrow products do. So the weights are multiples of 1/64 here,
    with which any order of sums has the same potentials. Gradients are no such multiples, so another order would change them.
    """
    frames, before, found = counts((70, 5, 1, 9), 0.1), torch.get_num_threads(), []
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        try:
            torch.manual_seed(3)
            net: Any = SpikingSequential(
                OrderedDict(flatten=nn.Flatten(start_dim=2), linear0=nn.Linear(9, 20), iaf0=IAF())
            )
            with torch.no_grad():
                net.linear0.weight.mul_(3)
            output, *_, by_weight, by_bias = results(with_exact_sums(net), frames)
            found.append((output, by_weight, by_bias))
        finally:
            torch.set_num_threads(before)
    assert len(joint_steps) == len(found)
    assert found[0][0].any()
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))
