"""Speed of networks of neurons, compared with other libraries: ``python -m benchmarks.iaf [--size small|full] [--device cpu|cuda] [--json FILE]``.

The network of the blog post (docs/seed.md) has 100 inputs, three layers of 128 neurons and 35 outputs. It runs with batches of 128, 250 time steps and
float32, on frames as dense as those of cochlea recordings. A convolutional network runs on frames of N-MNIST's shape. Against
Sinabs, forward and backward are timed. Against EXODUS, SpikingJelly and jax, whole training steps are timed, including AdamW.
Both sides have the same weights and frames. torch uses as many threads as there are cores. Nothing else should run on the
machine; its load is printed. In a round, the best of three steps of each side counts.

SpikingJelly and jax run in environments of their own, which ``python -m benchmarks.peers`` makes.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.form import ROUNDS, arguments, measured, report, wanted_rows
from benchmarks.iaf.against_peers import exodus, jax, spikingjelly
from benchmarks.iaf.against_sinabs import (
    conv_fused_vs_sinabs,
    conv_fused_vs_unbind,
    floor,
    fused_vs_sinabs,
    fused_vs_unbind,
    kept,
)
from benchmarks.iaf.epoch import epoch
from benchmarks.iaf.linear_layers import joint_vs_apart, kept_vs_apart
from benchmarks.iaf.steps import Bench
from benchmarks.networks import DENSITY, STEPS

BATCH = 128
SSC_SAMPLES = 75_466
"""Number of recordings in the split ``train`` of SSC."""


def main() -> None:
    """Run the selected rows."""

    def more(parser: Any) -> None:
        parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} by default")

    options = arguments(__doc__ or "", more=more)
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    small = options.size == "small"
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: this torch sees no GPU")
    full = SSC_SAMPLES if device.type == "cuda" else 2048
    wanted = wanted_rows(ROWS, options)
    before = _load()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            device,
            batch=32 if small else BATCH,
            conv_batch=4 if small else 16,
            conv_steps=10 if small else 30,
            rounds=options.rounds,
            samples=64 if small else full,
            scratch=Path(folder),
        )
        rows = measured(wanted, lambda row: row(bench))
    data = {
        "batch": bench.batch,
        "steps": STEPS,
        "density": DENSITY,
        "threads": torch.get_num_threads(),
        "load_before": before,
        "load_after": _load(),
    }
    report("iaf", rows, data, options)


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


ROWS = [
    fused_vs_sinabs,
    fused_vs_unbind,
    floor,
    kept,
    joint_vs_apart,
    kept_vs_apart,
    conv_fused_vs_sinabs,
    conv_fused_vs_unbind,
    exodus,
    spikingjelly,
    jax,
    epoch,
]

if __name__ == "__main__":
    main()
