"""Checks of the results of a device: ``python3 -m benchmarks.gpu.sanity [--device cuda|cpu] [--json FILE]``.

Each row shows the largest difference from the CPU, or from Sinabs on the same device, and the allowed maximum. Spikes and
frames must be equal to the bit, gradients up to rounding. The exit status is 1 if a difference is larger or a check fails.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.form import Row, arguments, report

ROUNDING = 1e-5
"""Largest difference of gradients, as share of the largest gradient."""


def main() -> int:
    """Run all checks, even if some fail; return an exit status."""
    options = arguments(__doc__ or "")
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: this torch sees no GPU")
    torch.backends.cuda.matmul.allow_tf32 = False
    rows = [row for check in CHECKS for row in _checked(check, torch.device(options.device))]
    report("gpu sanity", rows, {"failed": [row.name for row in rows if row.verdict() == "MISSED"]}, options)
    return int(any(row.verdict() == "MISSED" for row in rows))


def _checked(check: Callable[[Any], list[Row]], device: Any) -> list[Row]:
    try:
        return check(device)
    except Exception as error:
        sys.stderr.write(f"{check.__name__}: {type(error).__name__}: {error}\n")
        # One difference too many: a check that fails must not look like one that was left out.
        return [Row(f"{check.__name__} failed: {type(error).__name__}", 0.0, better="lower", ratios=[1.0])]


def _row(name: str, bound: float, difference: float) -> Row:
    return Row(name, bound, better="lower", ratios=[difference])


def _differing(one: Any, another: Any) -> float:
    """Return how many numbers differ; a NaN always counts as a difference."""
    return float((one.detach().cpu() != another.detach().cpu()).sum())


def _share(one: Any, another: Any) -> float:
    """Return the largest absolute difference of the two tensors, divided by the largest absolute value of `another`."""
    one, another = one.detach().cpu().float(), another.detach().cpu().float()
    return float((one - another).abs().max() / another.abs().max().clamp_min(1e-30))


# ---------------------------------------------------------------- checks


def neuron_options() -> dict[str, dict[str, Any]]:
    """Return sets of arguments for `IAF`, by name; together they use each option of a neuron at least once."""
    from spikestore.train.neurons import (
        Gaussian,
        Heaviside,
        MultiGaussian,
        PeriodicExponential,
        SingleExponential,
    )

    return {
        "defaults": {},
        "minimum": {"min_v_mem": -0.3},
        "single spikes": {"spike_fn": "single", "spike_threshold": 0.7},
        "own reset and minimum": {"spike_threshold": 0.7, "min_v_mem": -1.0, "reset_fn": 0.5},
        "reset to zero": {"reset_fn": "zero"},
        "all together": {
            "reset_fn": "zero",
            "min_v_mem": -0.3,
            "spike_fn": "single",
            "spike_threshold": 0.7,
        },
        "exponential, wide": {"surrogate_grad_fn": SingleExponential(0.3, 2.0), "spike_threshold": 3.0},
        "multi-Gaussian": {"surrogate_grad_fn": MultiGaussian(), "min_v_mem": 0.0},
        "Gaussian": {"surrogate_grad_fn": Gaussian()},
        "Heaviside": {"surrogate_grad_fn": Heaviside(), "spike_fn": "single"},
        "periodic exponential": {"surrogate_grad_fn": PeriodicExponential()},
    }


def neurons(device: Any) -> list[Row]:
    """Compare the neurons of the GPU with those of the CPU, for each option, with sizes that are not multiples of the kernels' blocks.

    Spikes, states and recorded potentials must be equal to the bit, gradients up to rounding.
    """
    import torch

    from spikestore.train.neurons import IAF

    torch.manual_seed(0)
    x, first, weights = torch.randn(3, 41, 131) + 0.1, torch.randn(3, 131), torch.randn(3, 41, 131)
    differing, gradients = 0.0, 0.0
    for options in neuron_options().values():
        found = []
        for place in ("cpu", device):
            layer = IAF(**options, record_states=True).to(place)
            layer.v_mem = first.to(place)
            inputs = x.detach().to(place).requires_grad_()
            spikes = layer(inputs)
            (spikes * weights.to(place)).sum().backward()
            found.append((spikes, layer.v_mem, layer.recordings["v_mem"], inputs.grad))
        differing += sum(_differing(*pair) for pair in list(zip(*found, strict=True))[:3])
        gradients = max(gradients, _share(found[1][3], found[0][3]))
    return [
        _row("neurons: spikes and states that differ from the CPU's", 0, differing),
        _row("neurons: gradients against the CPU's, share of the largest", ROUNDING, gradients),
    ]


def states(device: Any) -> list[Row]:
    """Compare neurons that get a sequence in two halves, in two calls, with neurons that get the whole sequence in one call.

    Membrane potentials persist between calls, so the results must be equal.
    """
    import torch

    from spikestore.train.neurons import IAF

    torch.manual_seed(1)
    x = torch.randn(4, 60, 50, device=device) + 0.1
    whole, halves = IAF().to(device), IAF().to(device)
    parts = [halves(half) for half in x.split(30, 1)]
    differing = _differing(torch.cat(parts, 1), whole(x)) + _differing(halves.v_mem, whole.v_mem)
    return [_row("states: spikes of two halves that differ from the whole's", 0, differing)]


def half_precision(device: Any) -> list[Row]:
    """Compare spikes of half-precision inputs with spikes on the CPU, and the loss of a step in half precision with the loss in float32."""
    import torch

    from spikestore.train import training_step
    from spikestore.train.data.batch import Batch
    from spikestore.train.neurons import IAF
    from spikestore.train.runs.precision import Arithmetic

    rows, losses = [], {}
    for name in ("bfloat16", "float16"):
        torch.manual_seed(2)
        x = torch.randn(3, 40, 70).to(getattr(torch, name))
        layer = IAF().to(device)
        rows.append(
            _row(f"{name}: spikes that differ from the CPU's", 0, _differing(layer(x.to(device)), IAF()(x)))
        )
        if layer.v_mem.dtype != torch.float32:
            raise TypeError(f"potentials are {layer.v_mem.dtype}")
    for precision in ("float32", "bfloat16", "float16"):
        network, x, labels = _network(device, "fused")
        optimiser = torch.optim.AdamW(network.parameters())
        batch = Batch(x, labels, torch.full((len(x),), x.shape[1]), torch.arange(len(x)))
        arithmetic = Arithmetic(precision, device)
        losses[precision] = float(training_step(network, optimiser, batch, arithmetic=arithmetic))
    worst = max(abs(loss / losses["float32"] - 1) for loss in losses.values())
    return [*rows, _row("half precision: loss of a training step against float32's", 0.05, worst)]


def _network(device: Any, backend: str) -> tuple[Any, Any, Any]:
    import torch

    from benchmarks.networks import CLASSES, frames, seed_network

    network, x = seed_network(device, backend), frames(device, 16)
    return network, x, torch.arange(len(x), device=device) % CLASSES


def networks(device: Any) -> list[Row]:
    """Compare the gradients of `seed_network` with those of Sinabs on `device`, and the gradients of `conv_network` on `device` and on the CPU."""
    import torch
    from torch.nn.functional import cross_entropy

    from benchmarks.networks import conv_network
    from spikestore.train import forget_states

    def gradients(network: Any, x: Any, labels: Any) -> Any:
        forget_states(network)
        cross_entropy(network(x).sum(1), labels).backward()
        return torch.cat([one.grad.flatten().cpu() for one in network.parameters() if one.grad is not None])

    ours, sinabs = (gradients(*_network(device, backend)) for backend in ("fused", "sinabs"))
    torch.manual_seed(3)
    x = (torch.rand(2, 10, 2, 34, 34) < 0.05).float()
    labels = torch.arange(2)
    convolutional = [
        gradients(conv_network(place, "fused"), x.to(place), labels.to(place)) for place in ("cpu", device)
    ]
    # A potential that two orders of summation put on different sides of a threshold is a whole spike more or less.
    return [
        _row("seed's network: gradients against Sinabs', share of the largest", 1e-3, _share(ours, sinabs)),
        _row("convolutional network: gradients against the CPU's", 1e-2, _share(*reversed(convolutional))),
    ]


def loaders(device: Any) -> list[Row]:
    """Compare batches that loaders of each residence make on the device with batches on the CPU. All bits must be equal, even while the device is busy."""
    import torch
    from tests.store.small_sets import small_set

    from spikestore.store import Store
    from spikestore.train import FeatureLoader

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        features = small_set(170).build(Store(Path(folder) / "store").storage)
        truth = list(FeatureLoader(features, 32, "host", reuse=False))
        for residence in ("host", "device", "stream"):
            found, other = [], torch.ones(1024, 1024, device=device)
            for batch in FeatureLoader(features, 32, residence, device=device, reuse=False):
                for _ in range(100 if device.type == "cuda" else 0):
                    other = other @ other / 1024
                found.append(batch)
            differing = sum(
                _differing(a, b)
                for pair in zip(found, truth, strict=True)
                for a, b in zip(*pair, strict=True)
            )
            rows.append(_row(f"loader, {residence}: numbers that differ from the CPU's", 0, differing))
    return rows


def ranks(device: Any) -> list[Row]:
    """Compare the training steps of two ranks with the steps of one process; on GPUs, the ranks communicate through NCCL."""
    import torch

    # A spike that two orders of summation put on different sides of a threshold is a whole one.
    row = Row("two ranks: change of weights in 5 steps against one process's", 1e-2, better="lower")
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        row.skipped = "one GPU: NCCL wants a GPU for each rank"
        return [row]
    module = ("-m", "benchmarks.gpu.ranks", device.type)
    with tempfile.TemporaryDirectory() as folder:
        alone, together = (str(Path(folder) / name) for name in ("alone.pt", "together.pt"))
        torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        for command in ((*module, alone), (*torchrun, *module, together)):
            subprocess.run([sys.executable, *command], check=True, timeout=60)
        row.ratios = [_share(torch.load(together), torch.load(alone))]
    return [row]


CHECKS = (neurons, states, half_precision, networks, loaders, ranks)

if __name__ == "__main__":
    sys.exit(main())
