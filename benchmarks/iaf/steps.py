"""Sizes and timed training steps that the modules of ``benchmarks.iaf`` share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Bench:
    """Settings that all rows of the results share.

    Attributes
    ----------
    device : torch.device
        Device of the networks.
    batch : int
        Number of samples in a batch, for the network of the blog post in docs/seed.md.
    conv_batch, conv_steps : int
        For the convolutional network: number of samples in a batch, and number of time steps.
    rounds : int
        Number of rounds of every comparison.
    samples : int
        Number of training samples in the row that times whole epochs.
    scratch : Path
        Folder for the files that rows write.
    """

    device: Any
    batch: int
    conv_batch: int
    conv_steps: int
    rounds: int
    samples: int
    scratch: Path


def wait(device: Any) -> None:
    """Wait until all work of a device is done."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def stepper(network: Any, x: Any, best_of: int = 3) -> Callable[[], float]:
    """Run a first step; return a function that measures forward and backward passes, in samples/s. The fastest of `best_of` steps counts."""
    import torch

    from spikestore.train import forget_states

    def step() -> float:
        forget_states(network)
        network.zero_grad(set_to_none=True)
        wait(x.device)
        began = time.perf_counter()
        network(x).backward(weights)
        wait(x.device)
        return time.perf_counter() - began

    with torch.no_grad():
        forget_states(network)
        weights = torch.randn_like(network(x))
    step()
    return lambda: len(x) / min(step() for _ in range(best_of))


def bytes_kept(network: Any, x: Any) -> int:
    """Return the bytes that a network keeps for the backward pass, its parameters and `x` included."""
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


def trainer(network: Any, x: Any, labels: Any, best_of: int = 3) -> tuple[Callable[[], float], float]:
    """Return two results: a function that measures the speed of training, and the loss of the first step.

    The function takes `best_of` training steps with AdamW, and returns the samples/s of the fastest step.
    """
    import torch

    from spikestore.train.data.batch import Batch

    batch = Batch(x, labels, torch.full((len(x),), x.shape[1]), torch.arange(len(x)))
    take = training_step_of(network)

    def step() -> float:
        wait(x.device)
        began = time.perf_counter()
        take(batch)
        wait(x.device)
        return time.perf_counter() - began

    first = float(take(batch))
    for _ in range(WARM_UP):
        step()
    return lambda: len(x) / min(step() for _ in range(best_of)), first


WARM_UP = 5
"""Number of training steps that are not timed: in these, kernels are compiled and graphs are recorded."""


def training_step_of(network: Any) -> Callable[[Any], Any]:
    """Return a function that takes a training step with a batch, as `spikestore train` does, and returns its loss.

    On a GPU, steps of fused networks are replayed as CUDA graphs; other networks take plain steps.
    """
    import torch

    from spikestore.train.runs.graphs import TrainingStep

    cuda = next(network.parameters()).is_cuda
    trained = [one for one in network.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3, fused=cuda, capturable=cuda)
    return TrainingStep(network, optimiser)
