"""Mixed precision: layers in half precision, membrane potentials in float32, on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
from tests.train.models.test_backends import build
from tests.train.runs.test_loop import Stop, config, go, silent
from torch import Tensor, nn

from spikestore.store import FeatureSet, Store
from spikestore.store_schemas.errors import SpecError, UsageError
from spikestore.train import forget_states, training_step
from spikestore.train.data.batch import Batch
from spikestore.train.models.networks import spiking_layers
from spikestore.train.runs.checkpoint.checkpoint import load_checkpoint
from spikestore.train.runs.loop import train
from spikestore.train.runs.precision import Arithmetic, Precision
from spikestore.train.runs.run import evaluate, run

pytestmark = pytest.mark.bits

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture(scope="module")
def splits(store_folder: Path) -> dict[str, FeatureSet]:
    """Return both splits."""
    return Store(store_folder).splits("small")


def batch_of(frames: Tensor) -> Batch:
    """Return a batch with some labels."""
    count = len(frames)
    return Batch(frames, torch.arange(count) % 5, torch.full((count,), frames.shape[1]), torch.arange(count))


@pytest.mark.parametrize("name", ["linear", "convolutional"])
@pytest.mark.parametrize("backend", ["fused", "sinabs"])
@pytest.mark.parametrize("precision", HALF)
def test_membranes_are_float32(name: str, backend: str, precision: Precision) -> None:
    """Linear and convolutional layers return half precision; potentials, parameters, gradients and loss are float32."""
    network, frames = build(name, backend)
    outputs: dict[str, torch.dtype] = {}
    membranes: dict[str, torch.dtype] = {}

    def look(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        key = next(one for one, module in network.named_children() if module is layer)
        if not hasattr(layer, "v_mem"):
            outputs[key] = output.dtype
        else:
            membranes[key] = layer.get_buffer("v_mem").dtype
            assert output.is_floating_point()
            assert torch.equal(output, output.round())

    for layer in network.children():
        if isinstance(layer, nn.Linear | nn.Conv2d) or hasattr(layer, "v_mem"):
            layer.register_forward_hook(look)
    optimiser = torch.optim.AdamW(network.parameters())
    loss = training_step(network, optimiser, batch_of(frames), arithmetic=Arithmetic(precision))
    assert membranes.keys() == spiking_layers(network).keys()
    assert set(membranes.values()) == {torch.float32}
    assert set(outputs.values()) == {HALF[precision]}
    assert loss.dtype == torch.float32
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is None or parameter.grad.dtype == torch.float32


@pytest.mark.parametrize("name", ["linear", "convolutional"])
@pytest.mark.parametrize("precision", HALF)
def test_backends_agree(name: str, precision: Precision) -> None:
    """In half precision, too, fused neurons spike as Sinabs' do, and not as in float32, so that the test would notice a missing cast."""
    found = {}
    for backend in ("fused", "sinabs"):
        network, frames = build(name, backend)
        spikes: list[Tensor] = []
        for layer in spiking_layers(network).values():
            layer.register_forward_hook(
                lambda layer, inputs, output, into=spikes: into.append(output.float())
            )
        with Arithmetic(precision).cast(), torch.no_grad():
            found[backend] = network(frames), spikes
    assert torch.equal(found["fused"][0], found["sinabs"][0])
    assert all(torch.equal(*pair) for pair in zip(found["fused"][1], found["sinabs"][1], strict=True))
    forget_states(network)
    assert not torch.equal(network(frames), found["sinabs"][0].float())


def test_a_step_that_overflows_is_left_out() -> None:
    """With float16 the loss is scaled; gradients that overflow change no weight, and lower the scale."""
    network, frames = build("linear", "fused")
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    arithmetic = Arithmetic("float16")
    arithmetic.restore({**arithmetic.state(), "scale": 2.0**40})
    before = [one.detach().clone() for one in network.parameters()]
    loss = training_step(network, optimiser, batch_of(frames), 1.0, arithmetic=arithmetic)
    assert torch.isfinite(loss)
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert arithmetic.state()["scale"] == 2.0**39
    arithmetic.restore({**arithmetic.state(), "scale": 2.0**8})
    training_step(network, optimiser, batch_of(frames), 1.0, arithmetic=arithmetic)
    assert not torch.equal(before[0], next(network.parameters()))
    norms = [float(one.grad.norm()) for one in network.parameters() if one.grad is not None]
    assert sum(norm**2 for norm in norms) ** 0.5 == pytest.approx(1.0, rel=1e-3)  # unscaled, then clipped


@pytest.mark.parametrize("precision", get_args(Precision))
def test_gradients_are_those_of_float32_to_rounding(precision: Precision) -> None:
    """The scale is removed again, and half precision is close."""
    gradients: list[Tensor] = []
    for one in cast("tuple[Precision, ...]", ("float32", precision)):
        network, frames = build("linear", "fused")
        optimiser = torch.optim.SGD(network.parameters(), lr=0.0)
        arithmetic = Arithmetic(one)
        arithmetic.restore(
            {**arithmetic.state(), "scale": 2.0**8}
        )  # with the initial scale of 2^16, these would overflow
        training_step(network, optimiser, batch_of(frames), arithmetic=arithmetic)
        gradient = network.get_parameter("readout.weight").grad
        assert gradient is not None
        gradients.append(gradient)
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=0, atol=0.05 * float(gradients[0].abs().max())
    )


@pytest.mark.parametrize("precision", HALF)
def test_a_run_in_half_precision(store_folder: Path, tmp_path: Path, precision: str) -> None:
    """The loss falls, the checkpoint has the precision, evaluation gives the measured accuracy, and the precision can't be changed."""
    store, plan = Store(store_folder), config(epochs=4, precision=precision)
    outcome = run(plan, store, tmp_path / "run", device="cpu", progress=silent)
    assert outcome.epochs[-1].loss < outcome.epochs[0].loss
    assert outcome.best > 0.8
    kept = load_checkpoint(tmp_path / "run/best.pt")
    assert kept.config.precision == precision
    assert bool(kept.scaler) == (precision == "float16")
    seen: set[torch.dtype] = set()

    def look(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            seen.add(output.dtype)

    handle = nn.modules.module.register_module_forward_hook(look)
    try:
        found, _ = evaluate(tmp_path / "run/best.pt", store, split="valid", device="cpu", progress=silent)
    finally:
        handle.remove()
    assert found == outcome.best
    assert seen == {HALF[precision]}
    with pytest.raises(UsageError, match=f"precision: {precision} before, float32 now"):
        run(config(epochs=4), store, tmp_path / "run", device="cpu", progress=silent)


def test_resume_keeps_the_scale(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """A float16 run that is stopped and resumed ends with the weights and the scale of one that was not stopped."""
    plan = config(epochs=2, checkpoint_batches=2, precision="float16")
    go(plan, splits, tmp_path / "whole")
    steps = 0

    def stopping(done: int, total: int, label: str) -> None:
        nonlocal steps
        steps += label.startswith("epoch")
        if steps == 13:
            raise Stop

    folder = tmp_path / "parts"
    folder.mkdir()
    with pytest.raises(Stop):
        train(plan, splits, folder, device=torch.device("cpu"), progress=stopping)
    go(plan, splits, folder, start=load_checkpoint(folder / "last.pt"))
    one, other = (load_checkpoint(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert one.scaler == other.scaler
    assert one.scaler["_growth_tracker"] > 12
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_checkpoints_without_a_precision(splits: dict[str, FeatureSet], tmp_path: Path) -> None:
    """A checkpoint without a scale or a precision is read as float32."""
    go(config(epochs=1), splits, tmp_path)
    content = torch.load(tmp_path / "last.pt")
    del content["scaler"], content["config"]["precision"], content["sha256"]
    torch.save(content, tmp_path / "last.pt")
    kept = load_checkpoint(tmp_path / "last.pt")
    assert (kept.config.precision, kept.scaler) == ("float32", {})


def test_what_is_refused() -> None:
    """Unknown names, and devices without half precision, are rejected."""
    with pytest.raises(SpecError, match="precision: must be 'float32', 'bfloat16' or 'float16', got 'half'"):
        config(precision="half")
    with pytest.raises(UsageError, match="bfloat16 is not available on meta: use float32"):
        Arithmetic("bfloat16", "meta")
    with pytest.raises(UsageError, match="precision must be float32, bfloat16 or float16, got 'half'"):
        Arithmetic(cast("Precision", "half"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", HALF)
def test_on_a_gpu(precision: Precision) -> None:
    """The GPU's kernels accept and return half precision; potentials are float32, and spikes equal those of Sinabs."""
    found = {}
    for backend in ("fused", "sinabs"):
        network, frames = build("linear", backend)
        network.cuda()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.0)
        batch = Batch(*(one.cuda() for one in batch_of(frames)))
        loss = training_step(network, optimiser, batch, arithmetic=Arithmetic(precision, "cuda"))
        assert {layer.v_mem.dtype for layer in spiking_layers(network).values()} == {torch.float32}
        found[backend] = float(loss)
    assert found["fused"] == pytest.approx(found["sinabs"], rel=1e-3)
