"""Linear layers with neurons as one step on a GPU: in Triton's interpreter if it is installed, and on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import torch
from tests.train.neurons.test_triton_kernels import CASES, needs_triton
from torch import Tensor, nn
from torch.nn.functional import linear

from spikestore.train import NetworkSpec, build_network, forget_states
from spikestore.train.neurons import IAF
from spikestore.train.neurons.dynamics import integrate_and_fire

MANY = 3000.0
"""Factor for weights with which a third of all spikes are above 254 in a step."""


def triton_linear() -> Any:
    """Return the module with the functions of the GPU."""
    return import_module("spikestore.train.neurons.gpu.linear_autograd")


def leaves(scale: float, device: str) -> dict[str, Tensor]:
    """Return the tensors whose gradients are compared: input, weights, bias, initial potentials."""
    torch.manual_seed(0)
    made = {
        "x": (torch.rand(3, 9, 20) < 0.3).float(),
        "weight": torch.randn(50, 20) * scale,
        "bias": torch.randn(50),
        "v_mem": torch.randn(3, 50),
        "readout": torch.randn(5, 50) / scale,
    }
    return {name: one.to(device).requires_grad_() for name, one in made.items()}


def gradients(outputs: tuple[Tensor, Tensor], by: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a loss."""
    loss = outputs[0].square().sum() + outputs[1].sum()
    return dict(zip(by, torch.autograd.grad(loss, list(by.values())), strict=True))


def compare(device: str) -> None:
    """Assert that joint steps on the GPU equal separate layers on the CPU, however many spikes there are."""
    passes: Any = import_module("spikestore.train.neurons.gpu.passes")
    joint = triton_linear()
    passes._LEAST_LENGTH = 2000
    for number, case in enumerate(CASES):
        some = number < 3  # in the interpreter each case takes a second
        for scale, recompute in ((1.0, True), (MANY, True), (1.0, False))[: 3 if some else 1]:
            joint.RECOMPUTE = recompute
            ours, theirs = leaves(scale, device), leaves(scale, "cpu")
            notes: list[Any] = []
            x, weight, bias, v_mem, readout = ours.values()
            spikes, last = joint.LinearIAF.apply(
                x, weight, bias, v_mem, IAF(**case).to(device).neuron, None, notes
            )
            assert torch.equal(notes[0].unpacked(), spikes)
            assert (int(notes[0].odd_count) > 0) == (scale == MANY and "single" not in case.values())
            found = gradients((joint.LinearOfSpikes.apply(spikes, readout, None, notes[0]), last), ours)
            current = linear(theirs["x"], theirs["weight"], theirs["bias"])
            wanted = integrate_and_fire(current, theirs["v_mem"], IAF(**case).neuron)
            if device == "cpu":  # matrix products of other libraries sum in another order
                assert torch.equal(spikes, wanted.spikes)
                assert torch.equal(last, wanted.v_mem)
                expected = gradients((linear(wanted.spikes, theirs["readout"]), wanted.v_mem), theirs)
                for name, one in expected.items():
                    assert float((one - found[name]).abs().max()) <= 1e-6 * float(one.abs().max()), (
                        case,
                        name,
                    )
    passes._LEAST_LENGTH, joint.RECOMPUTE = 16, True
    notes = []
    x, weight, bias, v_mem, readout = leaves(MANY, device).values()
    spikes, last = joint.LinearIAF.apply(x, weight, bias, v_mem, IAF().to(device).neuron, None, notes)
    joint.LinearOfSpikes.apply(spikes, readout, None, notes[0]).sum().backward()
    assert readout.grad is not None
    assert readout.grad.isnan().any(), "a list that is too short must not give a wrong gradient"


def kept_bytes(network: nn.Module, frames: Tensor) -> tuple[int, Tensor, list[Tensor]]:
    """Return the bytes that a network stores for its backward pass, without parameters; its output; and its gradients."""
    kept: dict[int, int] = {}
    own = {one.untyped_storage().data_ptr() for one in network.parameters()}
    held = []  # otherwise memory is reused, and counted once

    def keep(tensor: Tensor) -> Tensor:
        held.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    forget_states(network)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output: Tensor = network(frames)
    output.square().sum().backward()
    there = sum(size for place, size in kept.items() if place not in own)
    return there, output, [one.grad for one in network.parameters() if one.grad is not None]


def network_and_frames(backend: str, device: str) -> tuple[nn.Module, Tensor]:
    """Return a small network of the seed's kind, and frames."""
    torch.manual_seed(0)
    spec = NetworkSpec(backend=backend, hidden=(64, 64), input_scale=2.0)  # type: ignore[arg-type]
    network = build_network(spec, sites=30, classes=5).to(device)
    return network, (torch.rand(4, 60, 1, 30) < 0.1).float().to(device)


def whole_network() -> None:
    """Assert that a network stores a third of what it stores with Sinabs, with the CPU's outputs and gradients."""
    dynamics: Any = import_module("spikestore.train.neurons.dynamics")
    functions: Any = import_module("spikestore.train.neurons.linear.functions")
    sequential: Any = import_module("spikestore.train.neurons.sequential")
    joint = triton_linear()
    theirs, on_cpu = (kept_bytes(*network_and_frames(one, "cpu")) for one in ("sinabs", "fused"))
    # as if this were a GPU
    functions._joint_functions = lambda x: (joint.LinearIAF, joint.LinearOfSpikes)
    sequential.pack = lambda x: None
    dynamics._kernels = lambda x: import_module("spikestore.train.neurons.gpu.passes")
    ours = kept_bytes(*network_and_frames("fused", "cpu"))
    assert ours[0] <= theirs[0] / 3
    assert torch.equal(ours[1], on_cpu[1])
    for one, other in zip(ours[2], on_cpu[2], strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("what", ["compare('cpu')", "whole_network()"])
def test_in_the_interpreter(what: str) -> None:
    """It runs in another process, because Triton's interpreter must be chosen before Triton is imported."""
    name = what.split("(")[0]
    code = f"from tests.train.neurons.test_triton_linear import {name}; {what}"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """The comparison runs on the GPU itself, in another process, because it changes module settings."""
    code = "from tests.train.neurons.test_triton_linear import compare; compare('cuda')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.gpu
def test_a_network_keeps_a_third_on_a_gpu() -> None:
    """Bytes that are stored for the backward pass, and gradients, are compared with Sinabs'."""
    ours, theirs = (kept_bytes(*network_and_frames(one, "cuda")) for one in ("fused", "sinabs"))
    assert ours[0] <= theirs[0] / 3
    assert torch.equal(ours[1], theirs[1])
    for one, other in zip(ours[2], theirs[2], strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.gpu
def test_potentials_are_recomputed_to_the_bit_on_a_gpu() -> None:
    """The matrix product of the backward pass has the bits of that of the forward pass."""
    joint, found = triton_linear(), []
    network, frames = network_and_frames("fused", "cuda")
    try:
        for joint.RECOMPUTE in (True, False):
            network.zero_grad()
            found.append([one.clone() for one in kept_bytes(network, frames)[2]])
    finally:
        joint.RECOMPUTE = True
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
