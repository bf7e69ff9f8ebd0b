"""The backend ``exodus``: its own Python code with a reference of its kernels equals Sinabs.

`make test` downloads this code once (`exodus_source`); $EXODUS_SOURCE may name another folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sinabs
import torch
from tests.train.models.test_backends import SPECS, assert_equal_networks, build, outputs_and_gradients
from tests.train.runs.test_loop import config, silent
from torch import Tensor

from spikestore.store import Store
from spikestore.store_schemas.errors import UsageError
from spikestore.train import forget_states
from spikestore.train.models import backends
from spikestore.train.models.networks import spiking_layers
from spikestore.train.runs.precision import Arithmetic
from spikestore.train.runs.run import evaluate, run

SOURCE = Path(os.environ.get("EXODUS_SOURCE", Path(sys.prefix) / "exodus-source"))


def reference_kernels() -> ModuleType:
    """Return a module in place of EXODUS' compiled one, with the recursions of its kernels in torch."""
    made: Any = ModuleType("exodus_cuda")

    def lif_forward(
        spikes: Tensor, kept: Tensor, x: Tensor, first: Tensor, alpha: Tensor, subtract: Tensor, threshold: Tensor,
        minimum: Tensor, bounded: bool, most: int,
    ) -> None:  # fmt: skip
        v, fired = first.clone(), torch.zeros_like(first)
        for step in range(x.shape[1]):
            v = (v - fired * subtract) * alpha + x[:, step]
            if bounded:
                v = torch.maximum(v, minimum)
            fired = torch.where(v >= threshold, torch.trunc(v / threshold), 0.0)
            fired = fired if most < 0 else fired.clamp(max=most)
            spikes[:, step], kept[:, step] = fired, v

    def lif_backward(
        slope: Tensor, gradient: Tensor, free: Tensor, alpha: Tensor, subtract: Tensor
    ) -> Tensor:
        result, later = torch.empty_like(gradient), torch.zeros_like(alpha)
        for step in range(gradient.shape[1] - 1, -1, -1):
            later = free[:, step] * (gradient[:, step] + (alpha - subtract * slope[:, step]) * later)
            result[:, step] = later
        return result

    made.lifForward, made.lifBackward = lif_forward, lif_backward
    return made  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def exodus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make sinabs-exodus importable, with reference kernels that run on a CPU."""
    monkeypatch.setattr(sinabs, "__path__", [*sinabs.__path__, str(SOURCE / "sinabs")])
    if find_spec("sinabs.exodus") is None:
        pytest.skip("sinabs-exodus is not here: tests/train/exodus_source.py fetches it")
    monkeypatch.setitem(sys.modules, "exodus_cuda", reference_kernels())
    monkeypatch.setattr(backends, "_EXODUS_DEVICES", ("cpu",))
    yield
    for name in [name for name in sys.modules if name.startswith("sinabs.exodus")]:
        del sys.modules[name]
    vars(sinabs).pop("exodus", None)


@pytest.mark.parametrize("name", SPECS)
def test_equals_sinabs(name: str) -> None:
    """Names and outputs are the same, gradients are equal up to rounding."""
    assert_equal_networks(name, "exodus")


@pytest.mark.parametrize("surrogate", backends.SURROGATES)
def test_all_surrogates(surrogate: str) -> None:
    """The results equal Sinabs' for every surrogate."""
    assert_equal_networks("linear", "exodus", surrogate=surrogate)


def test_a_minimum_would_give_other_gradients() -> None:
    """The reason why `min_v_mem` is rejected: EXODUS applies the minimum before neurons spike, Sinabs after, and gradients differ."""
    with pytest.raises(UsageError, match="leave min_v_mem out"):
        build("linear", "exodus", min_v_mem=-0.3)
    network, frames = build("linear", "sinabs", min_v_mem=-0.3)
    wanted = outputs_and_gradients(network, frames)
    network.zero_grad()
    from sinabs.exodus.layers import IAF

    for name, layer in spiking_layers(network).items():
        setattr(network, name, IAF(spike_threshold=layer.spike_threshold, min_v_mem=layer.min_v_mem))
    found = outputs_and_gradients(network, frames)
    assert torch.equal(found[0], wanted[0])
    assert any(
        float((a - b).abs().max()) > 0.01 * float(b.abs().max()) for a, b in zip(found, wanted, strict=True)
    )


def test_knows_no_reset_to_zero() -> None:
    """The reason why `reset` is rejected: EXODUS has no kernel for it."""
    from sinabs.activation import MembraneReset
    from sinabs.exodus.layers import IAF

    with pytest.raises(UsageError, match="omit reset"):
        build("linear", "exodus", reset="zero")
    with pytest.raises(NotImplementedError, match="MembraneSubtract"):
        IAF(reset_fn=MembraneReset())


def test_trains_and_evaluates(store_folder: Path, tmp_path: Path) -> None:
    """A run with a smaller last batch has Sinabs' losses, and other backends evaluate the trained network."""
    store = Store(store_folder)
    plans = {one: config(epochs=2, network={"backend": one}) for one in ("exodus", "sinabs")}
    runs = {
        one: run(plan, store, tmp_path / one, device="cpu", progress=silent) for one, plan in plans.items()
    }
    for mine, wanted in zip(runs["exodus"].epochs, runs["sinabs"].epochs, strict=True):
        assert mine.loss == pytest.approx(wanted.loss, rel=1e-4)
    pairs: tuple[tuple[str, backends.Backend], ...] = (
        ("exodus", "fused"),
        ("exodus", "sinabs"),
        ("sinabs", "exodus"),
    )
    for path, backend in pairs:
        found = evaluate(
            tmp_path / path / "best.pt", store, split="valid", device="cpu", backend=backend, progress=silent
        )  # fmt: skip
        assert found[0] == runs[path].best


@pytest.mark.parametrize("name", ["linear", "convolutional"])
def test_half_precision(name: str) -> None:
    """EXODUS' kernels support only float32: after a layer in half precision, their input is converted, and spikes equal Sinabs'."""
    found: dict[str, Tensor] = {}
    for backend in ("exodus", "sinabs"):
        network, frames = build(name, backend)
        # For further layers, rounding in half precision depends on the layout of memory, and EXODUS' is transposed.
        network.get_submodule("iaf1").register_forward_hook(
            lambda layer, inputs, output, name=backend: found.setdefault(name, output.detach())
        )
        with Arithmetic("bfloat16").cast():
            outputs_and_gradients(network, frames)
        assert {layer.v_mem.dtype for layer in spiking_layers(network).values()} == {torch.float32}
    assert found["exodus"].any()
    assert torch.equal(found["exodus"], found["sinabs"])


def test_an_empty_share_of_a_batch() -> None:
    """A rank may have no sample of a short batch: no kernel runs, and gradients are 0."""
    network, frames = build("linear", "exodus")
    made: Any = sys.modules["exodus_cuda"]
    made.lifForward = made.lifBackward = None
    forget_states(network)
    outputs = network(frames[:0])
    outputs.sum().backward()
    assert outputs.shape == (0, 15, 5)
    assert all(one.grad is None or not one.grad.any() for one in network.parameters())
    assert [len(layer.get_buffer("v_mem")) for layer in spiking_layers(network).values()] == [0, 0]


def test_refuses_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels would read addresses of another memory, so a CPU is rejected before."""
    monkeypatch.setattr(backends, "_EXODUS_DEVICES", ("cuda",))
    network, frames = build("linear", "exodus")
    with pytest.raises(UsageError, match=r"'exodus' must be float32 on a GPU, got torch.float32 on cpu"):
        network(frames)
