"""Training steps as CUDA graphs: which steps are recorded and replayed.

A stand-in replaces torch's recorder. It has the two properties of a CUDA graph: recorded work does not run, and replayed work
uses the tensors of the recording.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from spikestore.store_schemas.errors import UsageError
from spikestore.train import Batch, ConvolutionSpec, NetworkSpec, build_network, forget_states, training_step
from spikestore.train.models.networks import spiking_layers
from spikestore.train.runs import graphs
from spikestore.train.runs.graphs import MOST_SHAPES, WARM_UP, TrainingStep
from spikestore.train.runs.monitor import SpikeCounts
from spikestore.train.runs.ranks import Ranks
from spikestore.train.runs.step import warm_up


class StandIn:
    """Records Python functions in place of kernels."""

    def __init__(
        self, network: nn.Module, optimiser: torch.optim.Optimizer, counts: SpikeCounts | None
    ) -> None:
        self.network, self.optimiser, self.counts = network, optimiser, counts
        self.recordings, self.replays = 0, 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        self.recordings += 1
        before = [(one, one.detach().clone()) for one in self._lasting()]
        result = work()
        with torch.no_grad():  # recording leaves no traces
            for tensor, value in before:
                tensor.copy_(value)
        if result is None:
            return None, self._counting(work)
        gradients = {one: one.grad for one in self.network.parameters() if one.grad is not None}
        states = {
            layer: layer.get_buffer("v_mem").detach() for layer in spiking_layers(self.network).values()
        }

        def replay() -> None:
            forget_states(self.network)
            self.network.zero_grad(set_to_none=True)
            again = work()
            with torch.no_grad():
                result.copy_(again)
                for parameter, gradient in gradients.items():
                    assert parameter.grad is not None
                    gradient.copy_(parameter.grad)
                for layer, state in states.items():
                    state.copy_(layer.get_buffer("v_mem"))

        return result, self._counting(replay)

    def _counting(self, replay: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            self.replays += 1
            replay()

        return counted

    def _lasting(self) -> list[Tensor]:
        states = [value for one in self.optimiser.state.values() for value in one.values()]
        states += [one.grad for one in self.network.parameters() if one.grad is not None]
        return [*self.network.parameters(), *states, *([] if self.counts is None else [self.counts._counts])]


def batches(bins: list[int], samples: int = 6, device: str = "cpu") -> list[Batch]:
    """Return batches with these numbers of time bins."""
    generator = torch.Generator().manual_seed(5)
    made = []
    for count in bins:
        frames = (torch.rand(samples, count, 2, 4, 4, generator=generator) < 0.3).float().to(device)
        labels = torch.randint(0, 3, (samples,), generator=generator).to(device)
        made.append(Batch(frames, labels, labels, labels))
    return made


def network_of(convolutional: bool = False, backend: Any = "fused") -> Any:
    """Return a small network."""
    torch.manual_seed(1)
    more: dict[str, Any] = (
        {"convolutions": (ConvolutionSpec(channels=3, pool="sum"),)} if convolutional else {}
    )
    spec = NetworkSpec(backend=backend, hidden=(16,), input_scale=3.0, **more)
    return build_network(spec, sites=32, classes=3, polarities=2, height=4, width=4)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[TrainingStep, StandIn]]:
    """Return a function that creates a `TrainingStep` with a stand-in."""

    def make(
        network: nn.Module, optimiser: torch.optim.Optimizer, *more: Any, counts: Any = None, **options: Any
    ) -> Any:
        recorder = StandIn(network, optimiser, counts)
        monkeypatch.setattr(graphs, "_why_not_device", lambda device, ranks: None)
        monkeypatch.setattr(graphs, "_recorder_for", lambda device: recorder)
        monkeypatch.setattr(graphs, "why_not_optimiser", lambda optimiser: None)  # capturable is for GPUs
        return TrainingStep(network, optimiser, *more, **options), recorder

    return make


def assert_equal_training(
    step: TrainingStep,
    network: nn.Module,
    optimiser: Any,
    made: list[Batch],
    plain: Callable[[], tuple[Any, ...]],
) -> None:
    """Assert that each step has the same effect as a plain step of an equal network, to the bit."""
    other, other_optimiser, clip_norm = plain()
    for batch in made:
        loss, expected = step(batch), training_step(other, other_optimiser, batch, clip_norm)
        assert torch.equal(loss, expected)
        for one, another in zip(network.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, another)
            assert one.grad is None or (another.grad is not None and torch.equal(one.grad, another.grad))
        for layer, same in zip(spiking_layers(network).values(), spiking_layers(other).values(), strict=True):
            assert torch.equal(layer.get_buffer("v_mem"), same.get_buffer("v_mem"))


@pytest.mark.parametrize("convolutional", [False, True])
def test_steps_are_those_of_plain_steps(stand_in: Any, convolutional: bool) -> None:
    """Losses, weights, gradients, potentials and spike counts are equal during warm-up, recording, replays and other shapes."""
    network = network_of(convolutional)
    other = copy.deepcopy(network)
    ours, theirs = (torch.optim.AdamW(one.parameters(), lr=0.01) for one in (network, other))
    counts, other_counts = SpikeCounts(network), SpikeCounts(other)
    step, recorder = stand_in(network, ours, 0.5, counts=counts)
    made = batches([7] * (WARM_UP + 4) + [9] + [7] * 2 + [9] * WARM_UP) + batches([7], samples=2)
    assert_equal_training(step, network, ours, made, lambda: (other, theirs, 0.5))
    assert step.graphs == 2
    assert (
        recorder.recordings == 2 + 1
    )  # the optimiser's step is recorded when its numbers no longer change; for 9 bins this is too late
    assert recorder.replays > 8
    assert counts.totals() == other_counts.totals()


def test_few_shapes_are_recorded(stand_in: Any) -> None:
    """Memory is bounded: after the first shapes, all others take plain steps."""
    network = network_of()
    optimiser = torch.optim.AdamW(network.parameters())
    step, _ = stand_in(network, optimiser)
    for bins in range(2, 2 + MOST_SHAPES + 3):
        for batch in batches([bins] * (WARM_UP + 1)):
            step(batch)
    assert step.graphs == MOST_SHAPES


def test_a_changed_learning_rate_counts(stand_in: Any) -> None:
    """A changed learning rate is used in the next step; when it no longer changes, the step is recorded again."""
    network, other = network_of(), network_of()
    ours, theirs = (torch.optim.SGD(one.parameters(), lr=0.1) for one in (network, other))
    step, recorder = stand_in(network, ours)
    for number, batch in enumerate(batches([5] * 12)):
        for optimiser in (ours, theirs):
            optimiser.param_groups[0]["lr"] = 0.1 if number < 8 else 0.02
        step(batch)
        training_step(other, theirs, batch)
        assert all(torch.equal(*pair) for pair in zip(network.parameters(), other.parameters(), strict=True))
    assert recorder.recordings == 3


def test_frozen_and_moved_parameters_are_recorded_anew(stand_in: Any) -> None:
    """A layer that is frozen during the run stays the same, and a parameter whose memory moves is still trained."""
    network = network_of()
    step, _ = stand_in(network, torch.optim.SGD(network.parameters(), lr=0.1))
    for batch in batches([5] * (WARM_UP + 2)):
        step(batch)
    network.linear1.requires_grad_(False)
    network.readout.weight.data = network.readout.weight.data.clone()
    before = [one.detach().clone() for one in network.parameters()]
    step(batches([5])[0])
    names = [name for name, _ in network.named_parameters()]
    changed = {
        name
        for name, one, old in zip(names, network.parameters(), before, strict=True)
        if not torch.equal(one, old)
    }
    assert changed == {"readout.weight", "readout.bias"}


@pytest.mark.parametrize(
    "make",
    [
        lambda weights: torch.optim.SGD(weights, lr=0.1),
        lambda weights: torch.optim.AdamW(weights, fused=True),
    ],
    ids=["waits", "fused"],
)
def test_a_loss_that_is_not_finite_takes_no_step(stand_in: Any, make: Callable[..., Any]) -> None:
    """Weights and the optimiser's counts of steps stay the same: later steps equal plain steps."""
    network, other = network_of(), network_of()
    ours, theirs = (make(one.parameters()) for one in (network, other))
    step, recorder = stand_in(network, ours)
    made = batches([5] * (WARM_UP + 3))
    for batch in made:
        step(batch)
        training_step(other, theirs, batch)
    before = [one.detach().clone() for one in network.parameters()]
    bad = made[0]._replace(frames=made[0].frames * float("nan"))
    training_step(other, theirs, bad)
    replays = recorder.replays
    assert not torch.isfinite(step(bad))
    # A fused optimiser checks the loss on the device: its graph runs too.
    assert recorder.replays - replays == (2 if ours.defaults.get("fused") else 1)
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), before, strict=True))
    assert not hasattr(ours, "found_inf")
    for batch in made:
        assert torch.equal(step(batch), training_step(other, theirs, batch))
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("at", [1, 2])
def test_steps_that_cannot_be_recorded_run_as_plain_steps(
    stand_in: Any, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    """If the recording of passes or of the optimiser's step fails, there is one warning, and plain steps are taken."""
    network, other = network_of(), network_of()
    ours, theirs = (torch.optim.AdamW(one.parameters()) for one in (network, other))
    step, recorder = stand_in(network, ours)
    record = recorder.record

    def failing(work: Any) -> Any:
        if recorder.recordings + 1 == at:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        return record(work)

    recorder.record = failing
    with caplog.at_level(logging.WARNING, "spikestore"):
        assert_equal_training(step, network, ours, batches([5] * 9), lambda: (other, theirs, None))
    (line,) = caplog.records
    assert line.getMessage() == (
        "training continues without CUDA graphs, which this GPU or network does not allow: operation not permitted when "
        "stream is capturing"
    )
    assert step.graphs == 0


def test_a_hook_is_called_in_each_step(stand_in: Any) -> None:
    """A hook is called even if it is added after recording; after its removal, steps are replayed again."""
    network = network_of()
    step, recorder = stand_in(network, torch.optim.AdamW(network.parameters()))
    for batch in batches([5] * (WARM_UP + 2)):
        step(batch)
    calls: list[int] = []
    handle = network.readout.register_forward_hook(lambda *them: calls.append(1))
    for batch in batches([5] * 3):
        step(batch)
    assert len(calls) == 3
    handle.remove()
    before = recorder.replays
    step(batches([5])[0])
    assert recorder.replays > before


def test_autocast_around_a_step_is_not_replayed(stand_in: Any) -> None:
    """Its copies of weights would be those of the recording; a run's own precision is supported."""
    network = network_of()
    step, recorder = stand_in(network, torch.optim.SGD(network.parameters(), lr=0.1))
    made = batches([5] * (WARM_UP + 2))
    with torch.autocast("cpu", torch.bfloat16):
        for batch in made:
            step(batch)
    assert recorder.recordings == 0
    for batch in made:
        step(batch)
    assert recorder.recordings > 0


def test_graphs_that_were_asked_for_are_an_error_where_they_can_not_be() -> None:
    """With True, the error names the reason; "auto" and False log nothing."""
    network = network_of()
    optimiser = torch.optim.AdamW(network.parameters())
    with pytest.raises(UsageError, match="cuda_graphs = true is not possible: the network is on cpu"):
        TrainingStep(network, optimiser, cuda_graphs=True)
    with pytest.raises(UsageError, match='"auto", true or false'):
        TrainingStep(network, optimiser, cuda_graphs="yes")  # type: ignore[arg-type]
    settings: tuple[Any, ...] = ("auto", False)
    for setting in settings:
        assert TrainingStep(network, optimiser, cuda_graphs=setting).graphs == 0
    assert (
        graphs._why_not_device(torch.device("cuda"), Ranks(0, 2))
        == "2 ranks wait for each other within a step"
    )


@pytest.fixture
def alone_in_a_group() -> Iterator[None]:
    """Make this process the only one of a group, so that `DistributedDataParallel` can be created."""
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("wrap", "reason"),
    [
        (DistributedDataParallel, "the network is a DistributedDataParallel"),
        pytest.param(
            lambda network: torch.compile(network, backend="eager"),
            "the network is compiled by torch.compile",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["parallel", "compiled"],
)
@pytest.mark.usefixtures("alone_in_a_group")
@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning"
)  # Dynamo's warnings about our kernels
def test_networks_in_wrappers_take_plain_steps(
    wrap: Callable[[nn.Module], nn.Module], reason: str, stand_in: Any
) -> None:
    """They train like the network without a wrapper; with cuda_graphs = True, the error names the wrapper."""
    network, other = network_of(), network_of()
    wrapped = wrap(network)
    ours, theirs = (torch.optim.SGD(one.parameters(), lr=0.1) for one in (network, other))
    step, recorder = stand_in(wrapped, ours)
    for batch in batches([5] * (WARM_UP + 2)):
        torch.testing.assert_close(step(batch), training_step(other, theirs, batch))
    assert recorder.recordings == step.graphs == 0
    for one, another in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, another)
    with pytest.raises(UsageError, match=reason):
        TrainingStep(wrapped, ours, cuda_graphs=True)


def test_warming_up_changes_nothing() -> None:
    """Weights, gradients, states and random numbers do not change."""
    network, frames = network_of(), batches([60])[0].frames
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    warm_up(network, torch.zeros_like(frames))
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(one.grad is None for one in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)
