"""The fused layer of neurons against Sinabs: spikes and states to the last bit, gradients to 1e-6."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import sinabs.activation as reference
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sinabs import layers as sinabs_layers
from tests.hypothesis_profiles import examples
from torch import Tensor

from spikestore.store_schemas.errors import UsageError
from spikestore.train import neurons
from spikestore.train.neurons import IAF
from spikestore.train.neurons.cpu import openmp as threads
from spikestore.train.neurons.cpu.compile import STRIP

pytestmark = pytest.mark.bits

SURROGATES: list[tuple[Any, Any]] = [
    (neurons.SingleExponential(), reference.SingleExponential()),
    (neurons.SingleExponential(0.3, 2.0), reference.SingleExponential(0.3, 2.0)),
    (reference.SingleExponential(1.7), reference.SingleExponential(1.7)),
    (neurons.PeriodicExponential(), reference.PeriodicExponential()),
    (neurons.Heaviside(), reference.Heaviside()),
    (neurons.Gaussian(), reference.Gaussian()),
    (neurons.MultiGaussian(), reference.MultiGaussian()),
]
RESETS: list[tuple[Any, Any]] = [
    (None, reference.MembraneSubtract()),
    ("subtract", reference.MembraneSubtract()),
    (0.4, reference.MembraneSubtract(0.4)),
    ("zero", reference.MembraneReset()),
    (reference.MembraneReset(), reference.MembraneReset()),
    (reference.MembraneReset(-0.3), reference.MembraneReset(-0.3)),
]
SMALLEST = 1e-29
"""Smaller gradients are 0 on the CPU."""


@dataclass(frozen=True)
class Case:
    """A layer and its input."""

    shape: tuple[int, ...]
    threshold: float
    minimum: float | None
    single: bool
    reset: int
    surrogate: int
    calls: int
    scale: float
    coarse: bool
    seed: int

    def layers(self) -> tuple[IAF, sinabs_layers.IAF]:
        """Return our layer and Sinabs'."""
        ours, theirs = SURROGATES[self.surrogate]
        reset, their_reset = RESETS[self.reset]
        options: dict[str, Any] = {"min_v_mem": self.minimum, "spike_threshold": torch.tensor(self.threshold)}
        return (
            IAF(
                spike_fn="single" if self.single else "multi",
                reset_fn=reset,
                surrogate_grad_fn=ours,
                **options,
            ),
            sinabs_layers.IAF(
                spike_fn=reference.SingleSpike if self.single else reference.MultiSpike,
                reset_fn=their_reset,
                surrogate_grad_fn=theirs,
                **options,
            ),
        )

    def one_bit_away(self) -> sinabs_layers.IAF:
        """Return Sinabs' layer with derivatives that differ in their last bit, which steep surrogates amplify from step to step."""
        theirs = self.layers()[1]
        derivative = theirs.surrogate_grad_fn
        theirs.surrogate_grad_fn = lambda v_mem, threshold: derivative(v_mem, threshold) * (1 + 2**-23)
        return theirs

    def tensors(self) -> list[Tensor]:
        """Return the first membrane potentials, then an input for each call; coarse ones meet the threshold exactly."""
        torch.manual_seed(self.seed)
        batch, _, *rest = self.shape
        made = [torch.randn(batch, *rest)] + [torch.randn(self.shape) for _ in range(self.calls)]
        made = [one * self.scale + self.scale / 4 for one in made]
        return [torch.round(one * 4) / 4 * self.threshold if self.coarse else one for one in made]


cases = st.builds(
    Case,
    shape=st.one_of(
        st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 70)),
        st.tuples(
            st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)
        ),
    ),
    threshold=st.sampled_from([1.0, 0.5, 0.7, 3.0, 0.1]),
    minimum=st.sampled_from([None, -1.0, 0.0, -0.3, 0.2]),
    single=st.booleans(),
    reset=st.integers(0, len(RESETS) - 1),
    surrogate=st.integers(0, len(SURROGATES) - 1),
    calls=st.integers(1, 3),
    scale=st.sampled_from([0.2, 1.0, 5.0]),
    coarse=st.booleans(),
    seed=st.integers(0, 2**16),
)


def gradients(layer: Any, tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return spikes of each call and the last potentials, and the gradients of a weighted sum of them w.r.t. the tensors."""
    first, *inputs = (one.clone().requires_grad_() for one in tensors)
    layer.v_mem = first * 1
    spikes = [layer(x) for x in inputs]
    torch.manual_seed(1)
    outputs = [*spikes, layer.v_mem]
    sum((one * torch.randn_like(one)).sum() for one in outputs).backward()
    return [one.detach() for one in outputs], [one.grad for one in (first, *inputs) if one.grad is not None]


@settings(max_examples=examples(100, by_hand=4))
@given(cases)
@example(Case((3, 9, 40), 0.7, -0.3, False, 0, 0, 2, 1.0, False, 0))
@example(Case((3, 9, 40), 0.1, -0.3, True, 2, 1, 2, 0.2, False, 0))
@example(Case((3, 9, 40), 0.5, -0.3, False, 3, 2, 2, 1.0, True, 0))
@example(Case((3, 9, 40), 3.0, -0.3, True, 5, 0, 2, 5.0, False, 0))
@example(Case((3, 8, 3), 0.7, None, False, 0, 1, 2, 1.0, True, 5718))
def test_equals_sinabs(case: Case) -> None:
    """Spikes, states and gradients are equal over shapes, thresholds, minima, resets, surrogates, states and calls."""
    ours, theirs = case.layers()
    outputs, found = gradients(ours, case.tensors())
    expected, wanted = gradients(theirs, case.tensors())
    for mine, their in zip(outputs, expected, strict=True):
        assert torch.equal(mine, their)
    exact = "Exponential" not in type(SURROGATES[case.surrogate][0]).__name__ or case.surrogate == 3
    nearby = wanted if exact else gradients(case.one_bit_away(), case.tensors())[1]
    for mine, their, near in zip(found, wanted, nearby, strict=True):
        allowed = 0.0 if exact else max(1e-6 * float(their.abs().max()), float((near - their).abs().max()))
        assert float((mine - their).abs().max()) <= allowed + SMALLEST


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 3.0, 0.25])
def test_multiples_of_the_threshold(threshold: float) -> None:
    """Potentials at and around multiples of the threshold have the spikes of Sinabs' division."""
    exact = torch.arange(1, 3000, dtype=torch.float32) * threshold
    x = torch.stack([exact, exact.nextafter(torch.tensor(0.0)), exact.nextafter(torch.tensor(1e9))])[:, None]
    theirs = sinabs_layers.IAF(spike_threshold=torch.tensor(threshold))
    assert torch.equal(IAF(threshold)(x), theirs(x))


def test_no_gradient_no_keeping() -> None:
    """Without gradients, and for an input that needs none, spikes are the same."""
    x = torch.randn(3, 20, 40)
    with_gradient = IAF()(x.clone().requires_grad_())
    with torch.no_grad():
        assert torch.equal(IAF()(x), with_gradient)
    assert not IAF()(x).requires_grad
    assert torch.equal(IAF()(x), with_gradient)


def test_strips_and_threads_change_nothing() -> None:
    """With more neurons than a strip has, and any number of threads of torch or of our own, results are the same to the last bit."""
    x = torch.randn(3, 6, 2 * STRIP + 77)
    expected, wanted = gradients(sinabs_layers.IAF(min_v_mem=-0.5), [torch.zeros(3, x.shape[2]), x])
    before = torch.get_num_threads()
    for count, pool in ((1, None), (2, None), (5, None), (4, threads._plain_threads)):
        torch.set_num_threads(count)
        patch = pytest.MonkeyPatch()
        if pool is not None:
            patch.setattr(threads, "_openmp", lambda: None)
        try:
            outputs, found = gradients(IAF(min_v_mem=-0.5), [torch.zeros(3, x.shape[2]), x])
        finally:
            torch.set_num_threads(before)
            patch.undo()
        assert torch.equal(outputs[0], expected[0])
        assert float((found[1] - wanted[1]).abs().max()) <= 1e-6 * float(wanted[1].abs().max())


def test_torchs_own_threads_are_found() -> None:
    """On Linux torch brings GNU's OpenMP, and its entry point is used."""
    if torch.__config__.parallel_info().find("OpenMP") < 0:
        pytest.skip("this torch has no OpenMP")
    assert threads._openmp() is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_passed_on(value: float) -> None:
    """NaN and infinities have the results of Sinabs, so that a run that goes wrong is noticed."""
    x = torch.randn(2, 6, 20)
    x[0, 2, 3] = value
    for minimum, (reset, their_reset) in product((None, -1.0), (RESETS[0], RESETS[3])):
        mine = IAF(min_v_mem=minimum, reset_fn=reset)(x)
        theirs = sinabs_layers.IAF(min_v_mem=minimum, reset_fn=their_reset)(x)
        assert torch.equal(mine.isnan(), theirs.isnan())
        assert torch.equal(mine.nan_to_num(), theirs.nan_to_num())


def test_states_stay_until_they_are_reset() -> None:
    """Two halves have the results of the whole; after a reset the layer is as new; another shape starts from 0."""
    x = torch.randn(4, 20, 8)
    layer = IAF()
    whole = layer(x)
    layer.reset_states()
    assert torch.equal(torch.cat([layer(x[:, :7]), layer(x[:, 7:])], 1), whole)
    state = torch.get_rng_state()
    assert torch.equal(layer(x[:3]), whole[:3])
    assert torch.equal(torch.get_rng_state(), state)


def test_records_states() -> None:
    """Recordings are those of Sinabs."""
    x = torch.randn(3, 7, 5)
    ours, theirs = (kind(record_states=True, min_v_mem=-0.2) for kind in (IAF, sinabs_layers.IAF))
    ours(x), theirs(x)
    assert torch.equal(ours.recordings["v_mem"], theirs.recordings["v_mem"])


def test_parameters_are_those_of_sinabs() -> None:
    """The state dict has the same names, and loads both ways."""
    ours, theirs = IAF(0.5, min_v_mem=-1.0), sinabs_layers.IAF(torch.tensor(0.5), min_v_mem=-1.0)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    other = IAF(1.0, min_v_mem=0.0)
    other.load_state_dict(theirs.state_dict())
    assert torch.equal(other(x := torch.randn(2, 9, 4)), theirs(x))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])  # noqa: S301
def test_copies_within_a_graph(again: Callable[[IAF], IAF]) -> None:
    """A layer whose state is part of a graph can be copied and pickled; the copy continues from the same state."""
    layer, x = IAF(), torch.randn(2, 5, 4, requires_grad=True)
    layer(x)
    other = again(layer)
    assert not other.v_mem.requires_grad
    assert torch.equal(other(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_membranes_in_float32(dtype: torch.dtype) -> None:
    """Input and output are in half precision; everything between them is float32."""
    x = torch.randn(2, 30, 8).to(dtype)
    layer = IAF()
    spikes = layer(x)
    assert spikes.dtype == dtype
    assert layer.v_mem.dtype == torch.float32
    assert torch.equal(spikes.float(), IAF()(x.float()))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: IAF(0.0), "spike_threshold must be above 0.*got 0"),
        (lambda: IAF(torch.ones(3)), "spike_threshold must be one finite number"),
        (lambda: IAF(min_v_mem=float("nan")), "min_v_mem must be one finite number"),
        (lambda: IAF(spike_fn="some"), "spike_fn must be 'multi' or 'single', got 'some'"),
        (lambda: IAF(spike_fn=reference.MaxSpike(3)), "got MaxSpike"),
        (lambda: IAF(reset_fn="none"), "must be 'subtract', 'zero' or an amount to subtract, got 'none'"),
        (lambda: IAF(reset_fn="MembraneReset"), "an amount to subtract, got 'MembraneReset'"),
        (lambda: IAF(reset_fn=torch.relu), "an amount to subtract, got builtin"),
        (lambda: IAF(reset_fn=math.nan), "an amount to subtract, got nan"),
        (lambda: IAF(reset_fn=-math.inf), "an amount to subtract, got -inf"),
        (lambda: IAF()(torch.zeros(3)), r"must have shape \(batch, time, \*neurons\), got \(3,\)"),
        (lambda: IAF()(torch.zeros(3, 2, 2).double()), r"float64: use .float\(\)"),
        (lambda: IAF()(torch.zeros(3, 2, 2, device="meta")), "not on meta: use the backend 'sinabs'"),
    ],
)
def test_unsupported_requests_are_reported(wrong: Callable[[], Any], message: str) -> None:
    """Each message has the rejected value."""
    with pytest.raises(UsageError, match=message):
        wrong()


@dataclass(frozen=True)
class _Flat(neurons.SingleExponential):
    def __call__(self, v_mem: Tensor, spike_threshold: Tensor) -> Tensor:
        return torch.ones_like(v_mem)


def test_a_subclass_of_the_single_exponential_is_called() -> None:
    """Its own derivative is used; the compiled exponential was used instead."""
    x = torch.full((1, 1, 3), 0.25, requires_grad=True)
    IAF(surrogate_grad_fn=_Flat())(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_empty_inputs(shape: tuple[int, ...]) -> None:
    """An axis of length 0 results in an empty output, and in gradients of that shape."""
    x = torch.zeros(shape, requires_grad=True)
    spikes = IAF()(x)
    spikes.sum().backward()
    assert spikes.shape == shape
    assert x.grad is not None
