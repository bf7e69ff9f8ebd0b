"""Networks of neurons against Sinabs: ``python -m benchmarks.iaf [--size small|full] [--device cpu|cuda] [--json FILE]``.

The seed's network (100 inputs, three layers of 128 neurons, 35 outputs), batch 128, 250 time steps, forward and
backward in float32, on frames as dense as those of cochlea recordings; and a convolutional network on frames of
N-MNIST's shape. Both sides have the same weights and frames, torch's threads are as many as there are cores, and
nothing else should run: the load is printed. A round takes the best of three steps of each side.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.form import Row, arguments, compare, report
from benchmarks.networks import CLASSES, DENSITY, STEPS, conv_network, frames, seed_network

BATCH = 128
SSC_SAMPLES = 75_466


@dataclass(frozen=True)
class Bench:
    """What the rows share."""

    device: Any
    batch: int
    conv_batch: int
    conv_steps: int
    rounds: int
    samples: int
    """Of the epoch on the GPU."""


def main() -> None:
    """Run the rows that were asked for."""
    options = arguments(__doc__ or "")
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    small = options.size == "small"
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: this torch sees no GPU")
    bench = Bench(device, 32 if small else BATCH, 4 if small else 16, 10 if small else 30, 5, SSC_SAMPLES)
    wanted = [row for row in ROWS if not options.rows or options.rows in row.__name__]
    before = os.getloadavg()[0]
    rows = [row(bench) for row in wanted]
    data = {
        "batch": bench.batch,
        "steps": STEPS,
        "density": DENSITY,
        "threads": torch.get_num_threads(),
        "load_before": round(before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    report("iaf", rows, data, options)


def stepper(network: Any, x: Any, best_of: int = 3) -> Callable[[], float]:
    """Return a function that gives samples/s of forward and backward, after a first step that is not timed."""
    import torch

    from spikestore.train import forget_states

    def step() -> float:
        forget_states(network)
        network.zero_grad(set_to_none=True)
        _wait(x.device)
        began = time.perf_counter()
        network(x).backward(weights)
        _wait(x.device)
        return time.perf_counter() - began

    with torch.no_grad():
        forget_states(network)
        weights = torch.randn_like(network(x))
    step()
    return lambda: len(x) / min(step() for _ in range(best_of))


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _against(bench: Bench, row: Row, peer: str) -> Row:
    x = frames(bench.device, bench.batch)
    ours, theirs = (stepper(seed_network(bench.device, one), x) for one in ("fused", peer))
    return compare(row, ours, theirs, unit="samples/s", rounds=bench.rounds)


# ---------------------------------------------------------------- rows


def fused_vs_sinabs(bench: Bench) -> Row:
    """The seed's network, against Sinabs as shipped."""
    return _against(bench, Row(f"fused_vs_sinabs_{bench.device.type}", 10, 13), "sinabs")


def fused_vs_unbind(bench: Bench) -> Row:
    """The same against Sinabs with one line changed."""
    return _against(bench, Row(f"fused_vs_sinabs_unbind_{bench.device.type}", 3, 4), "unbind")


def floor(bench: Bench) -> Row:
    """Linear layers alone, the floor: their time as share of the whole network's. Single steps of both take turns."""
    x = frames(bench.device, bench.batch)
    ours, theirs = (stepper(seed_network(bench.device, one), x, best_of=1) for one in ("fused", "linear"))
    row = Row(f"linear_layers_alone_vs_fused_{bench.device.type}", 0.65, 0.8)
    return compare(row, ours, theirs, unit="samples/s", rounds=bench.rounds, turns=10)


def kept(bench: Bench) -> Row:
    """Bytes that the network keeps for the backward pass, parameters and all, frames included."""
    row = Row("bytes_kept_for_backward_vs_sinabs", 1 / 3, better="lower")
    x = frames(bench.device, bench.batch)
    ours, peer = (_bytes_kept(seed_network(bench.device, one), x) for one in ("fused", "sinabs"))
    row.ratios, row.ours, row.peer = [ours / peer], {"bytes": ours}, {"bytes": peer}
    return row


def _bytes_kept(network: Any, x: Any) -> int:
    import torch

    from spikestore.train import forget_states

    storages: dict[int, tuple[int, Any]] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    forget_states(network)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(x)
    return sum(size for size, _ in storages.values())


def conv_fused_vs_sinabs(bench: Bench) -> Row:
    """A convolutional network on frames of N-MNIST's shape."""
    return _conv(bench, Row(f"conv_fused_vs_sinabs_{bench.device.type}", 3), "sinabs")


def conv_fused_vs_unbind(bench: Bench) -> Row:
    """The same against Sinabs with one line changed."""
    return _conv(bench, Row(f"conv_fused_vs_sinabs_unbind_{bench.device.type}"), "unbind")


def _conv(bench: Bench, row: Row, peer: str) -> Row:
    import torch

    torch.manual_seed(1)
    x = (torch.rand(bench.conv_batch, bench.conv_steps, 2, 34, 34) < 0.03).float().to(bench.device)
    ours, theirs = (stepper(conv_network(bench.device, one), x) for one in ("fused", peer))
    return compare(row, ours, theirs, unit="samples/s", rounds=bench.rounds)


def gpu_fused_vs_exodus(bench: Bench) -> Row:
    """On a GPU, against EXODUS."""
    row = Row("gpu_fused_vs_exodus", 2, 4)
    row.skipped = _no_gpu(bench) or _missing("sinabs.exodus.layers", "make exodus")
    return row if row.skipped else _against(bench, row, "exodus")


def gpu_fused_vs_spikingjelly(bench: Bench) -> Row:
    """On a GPU, against SpikingJelly's fastest backend: its multi-step IF neurons on CuPy or Triton."""
    row = Row("gpu_fused_vs_spikingjelly", 2, 4)
    row.skipped = _no_gpu(bench) or _missing(
        "spikingjelly.activation_based.neuron", "pip install spikingjelly"
    )
    if row.skipped:
        return row
    from torch import nn

    x = frames(bench.device, bench.batch)
    best: tuple[float, Any, str] | None = None
    for backend in ("triton", "cupy", "torch"):
        try:
            rate = stepper(
                _spikingjelly(seed_network(bench.device, "linear"), backend, nn), x.transpose(0, 1)
            )
            speed = rate()
        except Exception as error:
            print(f"spikingjelly's backend {backend} does not run: {error}")
            continue
        if best is None or speed > best[0]:
            best = speed, rate, backend
    if best is None:
        row.skipped = "none of spikingjelly's backends runs"
        return row
    # Its frames have time in front, so that its rate counts time steps: brought to samples.
    scale, theirs = len(x) / STEPS, best[1]
    row.peer |= {f"backend {best[2]}": 1.0}
    ours = stepper(seed_network(bench.device, "fused"), x)
    return compare(row, ours, lambda: theirs() * scale, unit="samples/s", rounds=bench.rounds)


def _spikingjelly(network: Any, backend: str, nn: Any) -> Any:
    """Put SpikingJelly's neurons between the linear layers; membranes start anew in each call."""
    from spikingjelly.activation_based import functional, neuron

    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.Identity):
            made = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m", backend=backend)
            setattr(network, name, made.to(next(network.parameters()).device))
    network.register_forward_pre_hook(lambda module, inputs: functional.reset_net(module))
    return network


def gpu_epoch(bench: Bench) -> Row:
    """On a GPU: an epoch of SSC's size, from packed counts on the device, in seconds; the floor is the linear layers."""
    row = Row("gpu_epoch_s", 3.0, 1.0, better="lower")
    row.skipped = _no_gpu(bench)
    if row.skipped:
        return row
    import torch

    from spikestore.train import forget_states

    unique = 2048
    packed = frames(bench.device, unique).to(torch.uint8)
    labels = torch.randint(0, CLASSES, (unique,), device=bench.device)
    batches = bench.samples // BATCH

    def epoch(backend: str) -> float:
        network = seed_network(bench.device, backend)
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

        def run(count: int) -> None:
            for number in range(count):
                start = number * BATCH % unique
                forget_states(network)
                outputs = network(packed[start : start + BATCH].float()).sum(1)
                loss = torch.nn.functional.cross_entropy(outputs, labels[start : start + BATCH])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
            torch.cuda.synchronize()

        run(5)
        began = time.perf_counter()
        run(batches)
        return time.perf_counter() - began

    seconds = [epoch("fused") for _ in range(bench.rounds)]
    row.ratios = seconds
    row.ours = {"s": statistics.median(seconds)}
    row.peer = {"linear layers alone s": epoch("linear"), "seed on an RTX 2070 s": 16.0}
    return row


def _no_gpu(bench: Bench) -> str | None:
    return None if bench.device.type == "cuda" else "no GPU: runs with --device cuda"


def _missing(module: str, command: str) -> str | None:
    from importlib import import_module

    try:
        import_module(module)
    except ImportError as error:
        return f"{error}: {command}"
    return None


ROWS = [
    fused_vs_sinabs,
    fused_vs_unbind,
    floor,
    kept,
    conv_fused_vs_sinabs,
    conv_fused_vs_unbind,
    gpu_fused_vs_exodus,
    gpu_fused_vs_spikingjelly,
    gpu_epoch,
]

if __name__ == "__main__":
    main()
