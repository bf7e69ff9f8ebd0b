"""Rows of ``benchmarks.iaf`` against other libraries: whole training steps of the network of the blog post (docs/seed.md), AdamW included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.form import Row, compare
from benchmarks.iaf.steps import Bench, trainer
from benchmarks.networks import CLASSES, frames, seed_network
from benchmarks.peers.process import PeerError, PeerProcess

UNROLLS = {"cuda": "1,5,10,25", "cpu": "1,5"}
"""Numbers of steps that ``lax.scan`` unrolls, by device; the fastest of them is compared."""
SAME_LOSS = 0.02
"""Share by which the loss of a peer's first step may differ; with a larger difference, the peer computes something else."""


def exodus(bench: Bench) -> Row:
    """Compare training steps with the backend ``fused`` to those with EXODUS, in the same process; only on a GPU."""
    row = Row("gpu_fused_vs_exodus", 3.5, 4)
    if bench.device.type != "cuda":
        row.skipped = "EXODUS has kernels only for a GPU: --device cuda"
        return row
    from spikestore.train.models.build_exodus import works

    if not works():
        row.skipped = "EXODUS is not built: make exodus, or python -m benchmarks.gpu.exodus build"
        return row
    x, labels = _batch(bench)
    ours, peer = (trainer(seed_network(bench.device, one), x, labels)[0] for one in ("fused", "exodus"))
    return compare(row, ours, peer, unit="samples/s", rounds=bench.rounds)


def spikingjelly(bench: Bench) -> Row:
    """Compare training steps with the backend ``fused`` to those with SpikingJelly 2.0, whose multi-step node chooses its kernels itself.

    SpikingJelly's neurons spike at most once per step.
    """
    on_gpu = bench.device.type == "cuda"
    row = Row(f"{_place(bench)}_fused_vs_spikingjelly", *((1.6, 2.5) if on_gpu else ()))
    return _against(bench, row, "spikingjelly", "benchmarks.peers.spikingjelly_steps", same_loss=False)


def jax(bench: Bench) -> Row:
    """Against a jitted training step of jax that uses ``lax.scan`` over time, with the fastest of several values of ``unroll``."""
    on_gpu = bench.device.type == "cuda"
    row = Row(f"{_place(bench)}_fused_vs_jax_scan", *((1.2, 1.8) if on_gpu else ()))
    return _against(
        bench, row, "jax", "benchmarks.peers.jax_steps", UNROLLS[bench.device.type], same_loss=True
    )


def _place(bench: Bench) -> str:
    return "gpu" if bench.device.type == "cuda" else "cpu"


def _batch(bench: Bench) -> tuple[Any, Any]:
    import torch

    x = frames(bench.device, bench.batch)
    return x, torch.arange(len(x), device=bench.device) % CLASSES


def _against(bench: Bench, row: Row, name: str, module: str, *more: str, same_loss: bool) -> Row:
    network = seed_network(bench.device, "fused")
    x, labels = _batch(bench)
    path = write_batch(bench.scratch / f"{name}.npz", network, x, labels)
    try:
        with PeerProcess(name, module, path, bench.device.type, *more) as peer:
            ours, loss = trainer(network, x, labels)
            if same_loss and abs(peer.facts["loss"] / loss - 1) > SAME_LOSS:
                row.skipped = (
                    f"{name} computes something else: its loss is {peer.facts['loss']:.4f}, ours {loss:.4f}"
                )
                return row
            compare(row, ours, peer.rate, unit="samples/s", rounds=bench.rounds)
            row.peer |= {key: value for key, value in peer.facts.items() if isinstance(value, int | float)}
    except PeerError as error:
        row.skipped = str(error)
    return row


def write_batch(path: Path, network: Any, x: Any, labels: Any) -> Path:
    """Write frames, labels and weights for a peer in another process.

    The arrays are ``frames`` (samples, time, inputs), ``labels`` (samples,), and for each linear layer, in order, ``weight0``
    (outputs, inputs), ``bias0`` (outputs,) and so on.
    """
    import numpy as np
    from torch import nn

    arrays = {"frames": x.flatten(2).byte(), "labels": labels}
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    for place, layer in enumerate(linear):
        arrays |= {f"weight{place}": layer.weight.detach(), f"bias{place}": layer.bias.detach()}
    np.savez(path, **{name: tensor.cpu().numpy() for name, tensor in arrays.items()})
    return path
