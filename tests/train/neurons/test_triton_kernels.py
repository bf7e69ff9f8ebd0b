"""The kernels of the GPU equal those of the CPU: in Triton's interpreter if it is installed, and on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import product
from typing import Any

import pytest
import torch
from sinabs.activation import MembraneReset
from torch import nn

from spikestore.train import ConvolutionSpec, NetworkSpec, build_network, forget_states
from spikestore.train.neurons import IAF, Heaviside, MultiGaussian, SingleExponential

CASES: list[dict[str, Any]] = [
    {},
    {"min_v_mem": -0.3},
    {"spike_fn": "single", "spike_threshold": 0.7},
    {"spike_threshold": 0.7, "min_v_mem": -1.0, "reset_fn": 0.5},
    {"reset_fn": "zero"},
    {"reset_fn": "zero", "min_v_mem": -0.3, "spike_fn": "single", "spike_threshold": 0.7},
    {"reset_fn": MembraneReset(-0.2), "min_v_mem": 0.0, "surrogate_grad_fn": MultiGaussian()},
    {"surrogate_grad_fn": MultiGaussian(), "min_v_mem": 0.0},
    {"surrogate_grad_fn": Heaviside(), "spike_fn": "single"},
    {"surrogate_grad_fn": SingleExponential(0.3, 2.0), "spike_threshold": 3.0},
]

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed: CPU builds of torch bring none"
)


def compare(device: str) -> None:
    """Assert that the passes of the GPU's kernels equal those of the CPU, for all cases."""
    from importlib import import_module

    cpu, triton_kernels = (
        import_module(f"spikestore.train.neurons.{name}") for name in ("cpu.passes", "gpu.passes")
    )

    torch.manual_seed(0)
    for case in CASES:
        neuron, other = IAF(**case).neuron, IAF(**case).to(device).neuron
        x, v = torch.randn(3, 9, 50) + 0.1, torch.randn(3, 50)
        x[0, 3, :3] = torch.tensor([1.0, 3.0, 0.7])
        mine, kept = cpu.forward(x, v, neuron, keep=True, record=True)
        found, found_kept = triton_kernels.forward(x.to(device), v.to(device), other, keep=True, record=True)
        for one, another in zip((*mine, kept), (*found, found_kept), strict=True):
            assert torch.equal(one, another.cpu())
        gradients = torch.randn(3, 9, 50), torch.randn(3, 50)
        wanted = cpu.backward(kept, *gradients, neuron)
        there = triton_kernels.backward(found_kept, *(one.to(device) for one in gradients), other)
        for one, another in zip(wanted, there, strict=True):
            assert float((one - another.cpu()).abs().max()) <= 1e-6 * float(one.abs().max())


@needs_triton
@pytest.mark.slow
def test_in_the_interpreter() -> None:
    """It runs in another process, because Triton's interpreter must be chosen before Triton is imported."""
    code = "from tests.train.neurons.test_triton_kernels import compare; compare('cpu')"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@needs_triton
@pytest.mark.slow
def test_compiles_without_fused_products(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling needs no GPU; products are not fused with sums, and divisions are exact."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from spikestore.train.neurons.gpu import passes as triton_kernels

    constants = {"own_reset": True, "single": False, "bounded": True, "block": 128}
    kernels = (
        (triton_kernels._forward, {"keep": True, "record": True, "fire": True, "pack": True}),
        (triton_kernels._backward, {"given": False, "add_up": True}),
    )
    for (kernel, more), to_zero in product(kernels, (False, True)):
        values = {**constants, **more, "to_zero": to_zero}
        kinds = {name: "*fp32" if name.endswith("_at") else "i32" for name in kernel.arg_names}
        kinds |= (
            {"packed_at": "*u8", "odd_count_at": "*i32", "odd_place_at": "*i64"} if "pack" in more else {}
        )
        kinds |= {"reset_amount": "fp32"} | dict.fromkeys(values, "constexpr")
        made = compile(
            ASTSource(fn=kernel, signature=kinds, constexprs=values),
            target=GPUTarget("cuda", 90, 32),
            options={"enable_fp_fusion": False},
        )
        code = made.asm["ptx"]
        assert "fma.rn.f32" not in code
        assert "div.full.f32" not in code
        assert "div.rn.f32" in code
    kinds = {"x_at": "*fp32", "odd_count_at": "*i32", "odd_place_at": "*i64", "odd_value_at": "*fp32"}
    kinds |= {"list_length": "i32", "block": "constexpr"}
    restore = ASTSource(fn=triton_kernels._restore_odd, signature=kinds, constexprs={"block": 128})
    target = GPUTarget("cuda", 90, 32)
    assert compile(restore, target=target, options={"enable_fp_fusion": False}).asm["ptx"]


@needs_triton
def test_globals_of_kernels_equal_themselves() -> None:
    """Before each launch Triton compares the global values that a kernel uses, and refuses one that has changed, as NaN does."""
    from triton.runtime.jit import JITFunction

    from spikestore.train.neurons.gpu import passes as triton_kernels

    kernels = [one for one in vars(triton_kernels).values() if isinstance(one, JITFunction)]
    assert len(kernels) >= 3
    for kernel in kernels:
        assert kernel.cache_key  # finds the globals
        for (name, _), (value, namespace) in kernel.used_global_vals.items():
            assert namespace[name] == value, name


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """The comparison runs on the GPU itself."""
    compare("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_a_gpu(dtype: torch.dtype) -> None:
    """Spikes of half-precision inputs equal those of the CPU, and states stay float32."""
    x = torch.randn(3, 40, 70).to(dtype)
    layer = IAF().cuda()
    assert torch.equal(layer(x.cuda()).cpu(), IAF()(x))
    assert layer.v_mem.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("convolutional", [False, True])
def test_networks_on_a_gpu(convolutional: bool) -> None:
    """Training on the GPU equals training with Sinabs there."""
    more: dict[str, Any] = (
        {"convolutions": (ConvolutionSpec(channels=4, pool="sum"),)} if convolutional else {}
    )
    axes = {"polarities": 2, "height": 8, "width": 8} if convolutional else {}
    found = []
    for backend in ("fused", "sinabs"):
        torch.manual_seed(0)
        spec = NetworkSpec(backend=backend, hidden=(32,), input_scale=2.0, **more)
        network: nn.Module = build_network(spec, sites=128, classes=5, **axes).cuda()
        torch.manual_seed(1)
        frames = (torch.rand(4, 20, 2, 8, 8) < 0.2).float().cuda()
        forget_states(network)
        network(frames).square().sum().backward()
        found.append([one.grad for one in network.parameters() if one.grad is not None])
    for one, another in zip(*found, strict=True):
        assert float((one - another).abs().max()) <= 1e-5 * float(another.abs().max())
