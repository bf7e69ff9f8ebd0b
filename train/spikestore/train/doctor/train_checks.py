"""Checks of training for ``spikestore doctor``: torch, GPUs, the backends, and whether spikes of ``fused`` equal those of plain torch."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import torch

from spikestore.store.doctor.findings import Finding, versions
from spikestore.train.neurons import IAF


def train_checks() -> Iterator[Finding]:
    """Yield findings on torch, Sinabs, TensorBoard, threads and GPUs, and on whether a small network runs on this machine.

    If torch finds a GPU, there are also findings on Triton, EXODUS, and the small network on the GPU.
    """
    yield from versions("torch", "sinabs", "tensorboard")
    yield Finding("threads", "ok", f"torch uses {torch.get_num_threads()}")
    yield from _gpus()
    yield small_network("cpu")


def _gpus() -> Iterator[Finding]:
    if not torch.cuda.is_available():
        detail = (
            "torch finds none" if torch.version.cuda else f"torch {torch.__version__} was built without CUDA"
        )
        yield Finding("GPU", "absent", f"{detail}: training uses the CPU")
        return
    for number in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(number)
        yield Finding(
            "GPU", "ok", f"{device.name}, {device.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    if find_spec("triton") is None:
        yield Finding(
            "Triton", "absent", "not installed", "pip install triton, or use --backend sinabs on the GPU"
        )
    else:
        yield from versions("triton")
        yield small_network("cuda")
    yield exodus()


def exodus() -> Finding:
    """Return a finding on whether the backend ``exodus`` can be used."""
    try:
        import sinabs.exodus.layers  # noqa: F401 - only whether it can be imported
    except ImportError as error:
        return Finding(
            "EXODUS",
            "absent",
            str(error),
            "`make exodus` builds it; the backend 'fused' does not need EXODUS",
        )
    return Finding("EXODUS", "ok", "installed")


def small_network(device: str) -> Finding:
    """Compare the spikes of the backend ``fused`` with those of a loop in torch, and check that gradients are finite.

    Inputs, threshold and ``min_v_mem`` are whole numbers, so both computations are exact.
    """
    generator = torch.Generator().manual_seed(0)
    current = torch.randint(-1, 3, (4, 20, 8), generator=generator).float()
    ours = current.clone().to(device).requires_grad_()
    spikes = IAF(spike_threshold=2.0, min_v_mem=-2.0).to(device)(ours)
    spikes.sum().backward()
    membrane, expected = torch.zeros(4, 8), []
    for step in current.unbind(1):
        membrane = membrane + step
        fired = torch.div(membrane, 2.0, rounding_mode="floor").clamp(min=0)
        membrane = (membrane - 2.0 * fired).clamp(min=-2.0)
        expected.append(fired)
    same = torch.equal(spikes.detach().cpu(), torch.stack(expected, 1))
    if not same or ours.grad is None or not bool(torch.isfinite(ours.grad).all()):
        remedy = (
            "train with --backend sinabs, and report this problem with the output of spikestore doctor --json"
        )
        return Finding(
            f"neurons on {device}",
            "problem",
            "spikes differ from those of plain torch, or gradients are not finite",
            remedy,
        )
    return Finding(f"neurons on {device}", "ok", "spikes equal those of plain torch")
