"""Training steps of the blog post's network (docs/seed.md), with SpikingJelly's neurons: ``python -m …spikingjelly_steps BATCH.npz DEVICE``.

SpikingJelly 2.0 itself chooses the kernels of its neurons. These neurons spike at most once per step.
"""

from __future__ import annotations

import sys
import time

from benchmarks.peers.serve import answers, serve


def main(batch: str, device: str) -> None:
    """For each line of standard input, take three steps and print the samples/s of the fastest step."""
    stream = answers()
    import numpy as np
    import torch
    from spikingjelly.activation_based import functional, neuron
    from torch import nn

    with np.load(batch) as found:
        arrays = {name: torch.from_numpy(found[name]).to(device) for name in found.files}
    # Its multi-step nodes have time in front.
    x, labels = arrays["frames"].float().transpose(0, 1).contiguous(), arrays["labels"]
    layers: list[nn.Module] = []
    count = sum(name.startswith("weight") for name in arrays)
    for place in range(count):
        weight, bias = arrays[f"weight{place}"], arrays[f"bias{place}"]
        linear = nn.Linear(weight.shape[1], weight.shape[0], device=device)
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
        layers.append(linear)
        if place < count - 1:
            layers.append(neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m").to(device))
    network = nn.Sequential(*layers)
    optimiser = torch.optim.AdamW(network.parameters(), fused=device == "cuda")

    def step() -> float:
        _wait(device)
        began = time.perf_counter()
        functional.reset_net(network)
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(network(x).sum(0), labels)
        loss.backward()
        optimiser.step()
        _wait(device)
        return time.perf_counter() - began

    for _ in range(3):
        step()
    serve(stream, lambda: len(labels) / min(step() for _ in range(3)), torch=torch.__version__)


def _wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


if __name__ == "__main__":
    main(*sys.argv[1:])
