"""EXODUS, built and compared: ``python3 -m benchmarks.gpu.exodus build|compare [--device cuda|cpu] [--json FILE]``.

``build`` compiles EXODUS against this torch and CUDA. If ``wheels.sh`` has packed a source distribution, this
distribution is used; if not, `spikestore.train.models.build_exodus` downloads a source distribution. ``compare`` runs
the network of the blog post (docs/seed.md) with EXODUS, with Sinabs and with fused neurons. The exit status is 77 if EXODUS can't be built or
can't run on this machine; the last line of output states the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from benchmarks.form import Row, arguments, report
from benchmarks.gpu.kit import KIT
from benchmarks.gpu.parts import ROOT, SKIPPED

BOUNDS = {"outputs": 1e-2, "gradients": 1e-3}
"""Largest allowed differences, as a share of the largest number: a sum in another order may shift a spike to another time step."""


def main() -> int:
    """Run the requested command; return an exit status."""

    def more(parser: object) -> None:
        parser.add_argument("what", choices=("build", "compare"))  # type: ignore[attr-defined]

    options = arguments(__doc__ or "", more=more)
    if options.what == "build":
        return build(ROOT / KIT / "sources")
    return compare_with_sinabs(options)


def build(sources: Path) -> int:
    """Build EXODUS unless it is installed; return an exit status."""
    from spikestore.store_schemas.errors import SpikestoreError
    from spikestore.train.models import build_exodus

    try:
        toolkit = build_exodus.find_toolkit()
    except SpikestoreError as error:
        sys.stderr.write(f"{error}\n")
        return SKIPPED
    if build_exodus.works():
        sys.stderr.write("exodus is built\n")
        return 0
    archives = sorted(sources.glob("sinabs?exodus-*.tar.gz"))
    if not archives:
        return build_exodus.main()
    import sinabs

    # Beside Sinabs, whose package it goes into.
    site = Path(sinabs.__file__).parents[1]
    environment = {
        **os.environ,
        "CUDA_HOME": str(toolkit),
        "MAX_JOBS": os.environ.get("MAX_JOBS", str(os.cpu_count() or 1)),
    }
    environment.setdefault("TORCH_CUDA_ARCH_LIST", _capability())
    with tempfile.TemporaryDirectory() as folder:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-index",
            "--no-build-isolation",
            "--no-deps",
            "-w",
            folder,
        ]
        if subprocess.run([*pip, str(archives[-1])], env=environment, check=False).returncode != 0:
            sys.stderr.write("exodus could not be compiled, see above\n")
            return 1
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(site)
    # This also works without a GPU if CUDA's libraries are installed.
    if not build_exodus.works():
        sys.stderr.write(
            "exodus was built but can't be imported: python3 -c 'import torch, exodus_cuda' shows the cause\n"
        )
        return 1
    sys.stderr.write(f"exodus is built, in {site}\n")
    return 0


def _capability() -> str:
    import torch

    if not torch.cuda.is_available():
        return "9.0"
    return "{}.{}".format(*torch.cuda.get_device_capability())


def compare_with_sinabs(options: object) -> int:
    """Compare outputs and gradients of EXODUS, and of fused neurons, with those of Sinabs; return an exit status.

    The network is that of the blog post in docs/seed.md.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.networks import CLASSES, frames, seed_network
    from spikestore.train import forget_states

    device = torch.device(options.device)  # type: ignore[attr-defined]
    if device.type != "cuda":
        sys.stderr.write("EXODUS has kernels only for a GPU: nothing to compare on a CPU\n")
        return SKIPPED
    found = {}
    for backend in ("exodus", "sinabs", "fused"):
        try:
            network = seed_network(device, backend)
        except ImportError as error:
            sys.stderr.write(f"{error}\n")
            return SKIPPED
        x = frames(device, 16)
        forget_states(network)
        outputs = network(x)
        cross_entropy(outputs.sum(1), torch.arange(len(x), device=device) % CLASSES).backward()
        gradients = [one.grad.flatten() for one in network.parameters() if one.grad is not None]
        found[backend] = outputs.detach().flatten(), torch.cat(gradients)
    rows = []
    for backend in ("exodus", "fused"):
        for name, one, truth in zip(("outputs", "gradients"), found[backend], found["sinabs"], strict=True):
            share = float((one - truth).abs().max() / truth.abs().max())
            row = Row(
                f"{backend}: {name} against Sinabs', share of the largest", BOUNDS[name], better="lower"
            )
            row.ratios = [share]
            rows.append(row)
    report("exodus", rows, {}, options)  # type: ignore[arg-type]
    return int(any(row.verdict() == "MISSED" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
