"""Training steps that a GPU replays as CUDA graphs equal plain steps to the bit."""

from __future__ import annotations

import copy
import logging
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tests.train.runs.test_graphs import batches, network_of

from spikestore.train.models.networks import spiking_layers
from spikestore.train.neurons.sequential import watch_spikes
from spikestore.train.runs.graphs import WARM_UP, TrainingStep
from spikestore.train.runs.monitor import SpikeCounts
from spikestore.train.runs.precision import Arithmetic
from spikestore.train.runs.step import training_step


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_replays_on_a_gpu(convolutional: bool, precision: Any) -> None:
    """Losses, weights, gradients and potentials equal those of plain steps, for two alternating shapes and a short batch."""
    network = network_of(convolutional).cuda()
    other = copy.deepcopy(network)
    arithmetics = [Arithmetic(precision, "cuda") for _ in range(2)]
    ours, theirs = (
        torch.optim.AdamW(one.parameters(), lr=0.01, fused=True, capturable=True) for one in (network, other)
    )
    counts, other_counts = SpikeCounts(network), SpikeCounts(other)
    step = TrainingStep(network, ours, 0.5, arithmetic=arithmetics[0], cuda_graphs=True)
    made = batches([64, 80] * (WARM_UP + 4), device="cuda") + batches([64], samples=2, device="cuda")
    with torch.backends.cudnn.flags(deterministic=True) if convolutional else nullcontext():
        for batch in made:
            expected = training_step(other, theirs, batch, 0.5, arithmetic=arithmetics[1])
            assert torch.equal(step(batch), expected)
            for one, another in zip(network.parameters(), other.parameters(), strict=True):
                assert torch.equal(one, another)
                # The first scale of float16 is too large: gradients are infinite or NaN, and the step is skipped.
                torch.testing.assert_close(one.grad, another.grad, rtol=0, atol=0, equal_nan=True)
            for layer, same in zip(
                spiking_layers(network).values(), spiking_layers(other).values(), strict=True
            ):
                assert torch.equal(layer.get_buffer("v_mem"), same.get_buffer("v_mem"))
    assert step.graphs == 2
    assert counts.totals() == other_counts.totals()


@pytest.mark.gpu
def test_a_loss_that_is_not_finite_on_a_gpu() -> None:
    """A replayed step does not change weights, and does not wait for the loss; later steps equal plain steps."""
    network = network_of().cuda()
    other = copy.deepcopy(network)
    ours, theirs = (
        torch.optim.AdamW(one.parameters(), lr=0.01, fused=True, capturable=True) for one in (network, other)
    )
    step = TrainingStep(network, ours, cuda_graphs=True)
    made = batches([64] * (WARM_UP + 5), device="cuda")
    made.insert(-2, made[0]._replace(frames=made[0].frames * float("nan")))
    for batch in made:
        losses = step(batch), training_step(other, theirs, batch)
        torch.testing.assert_close(*losses, rtol=0, atol=0, equal_nan=True)
        assert all(torch.equal(*pair) for pair in zip(network.parameters(), other.parameters(), strict=True))
    assert step.graphs == 1


@pytest.mark.gpu
def test_a_failed_recording_on_a_gpu(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that waits for the device within a step can't be recorded: one warning, and plain steps."""
    network = network_of().cuda()
    optimiser = torch.optim.AdamW(network.parameters(), fused=True, capturable=True)
    watch_spikes(network.iaf1, lambda layer, spikes: spikes.sum().item(), on_device=True)
    step = TrainingStep(network, optimiser, cuda_graphs=True)
    with caplog.at_level(logging.WARNING, "spikestore"):
        losses = [step(batch) for batch in batches([64] * (WARM_UP + 3), device="cuda")]
    assert all(torch.isfinite(loss) for loss in losses)
    assert len(caplog.records) == 1
    assert step.graphs == 0
