"""Training steps in all variants in which ranks must agree: run by torchrun, and in one process for comparison.

torchrun --standalone --nproc-per-node 2 tests/train/rank_steps.py STORE OUT.pt
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spikestore.store import Store
from spikestore.train import ConvolutionSpec, FeatureLoader, NetworkSpec, build_network, training_step
from spikestore.train.data.batch import Batch
from spikestore.train.data.epoch_order import RankShare
from spikestore.train.data.placement import Residence
from spikestore.train.models.networks import weights
from spikestore.train.runs.monitor import SpikeCounts
from spikestore.train.runs.precision import Arithmetic, Precision
from spikestore.train.runs.ranks import ALONE, Ranks, joined
from spikestore.train.runs.step import accuracy

LINEAR = NetworkSpec(hidden=(12, 8), input_scale=3.0)
CONVOLUTIONS = (
    ConvolutionSpec(channels=3, pool="sum"),
    ConvolutionSpec(channels=4, kernel=2, pool="average"),
)
CASES: dict[str, tuple[NetworkSpec, Precision, Residence | None, int, int]] = {
    "fused": (LINEAR, "float32", "host", 16, 25),
    "streamed": (LINEAR, "float32", "stream", 16, 25),
    "sinabs": (LINEAR.model_copy(update={"backend": "sinabs"}), "float32", "host", 74, 6),
    "bfloat16": (LINEAR, "bfloat16", "host", 74, 6),
    "convolutional": (NetworkSpec(convolutions=CONVOLUTIONS, hidden=(8,)), "float32", None, 5, 25),
}
"""Network, precision, residence of the data (None: made here), batch size and steps. Of 149 samples the last batch of 16
is short, and the last one of 74 has one sample: a share is empty."""


def case(name: str, store: Path, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Return losses, weights, spikes and accuracy after some steps."""
    spec, precision, residence, batch_size, steps = CASES[name]
    torch.manual_seed(0)
    arithmetic = Arithmetic(precision)
    splits = Store(store).splits("small")
    if residence is not None:
        network = build_network(spec, sites=10, classes=2)
        batches = _repeated(
            FeatureLoader(
                splits["train"], batch_size, residence, shuffle=True, rank=ranks.rank, ranks=ranks.count
            )
        )
    else:
        network = build_network(spec, sites=162, classes=2, polarities=2, height=9, width=9)
        batches = _made(batch_size, ranks)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01)
    spikes = SpikeCounts(network, ranks=ranks)
    parallel = ranks.parallel(network)
    losses = [
        float(training_step(parallel, optimiser, next(batches), 1.0, arithmetic=arithmetic, ranks=ranks))
        for _ in range(steps)
    ]
    found: dict[str, Any] = {
        "losses": torch.tensor(losses),
        "weights": weights(network),
        "spikes": spikes.totals(),
    }
    if residence is not None:
        valid = FeatureLoader(splits["valid"], batch_size, rank=ranks.rank, ranks=ranks.count)
        found["accuracy"] = accuracy(network, valid, arithmetic=arithmetic, ranks=ranks)
    return found


def _repeated(loader: FeatureLoader) -> Iterator[Batch]:
    while True:
        yield from loader


def _made(batch_size: int, ranks: Ranks) -> Iterator[Batch]:
    """Yield this rank's shares of batches of frames with y; samples differ in length."""
    generator = torch.Generator().manual_seed(1)
    while True:
        frames = torch.randint(0, 3, (batch_size, 9, 2, 9, 9), generator=generator).float()
        lengths = torch.randint(3, 10, (batch_size,), generator=generator)
        for one, length in zip(frames, lengths, strict=True):
            one[length:] = 0
        labels = torch.randint(0, 2, (batch_size,), generator=generator)
        mine: Tensor = torch.arange(batch_size)[RankShare(ranks.rank, ranks.count).of(batch_size)]
        longest = int((lengths if ranks.count == 1 else lengths[mine]).max())
        yield Batch(frames[mine, :longest], labels[mine], lengths[mine], mine)


def main(store: str, out: str) -> None:
    """Run all cases; the first rank writes the results."""
    torch.set_num_threads(1)
    with joined("cpu") as (ranks, _):
        found: dict[str, Any] = {name: case(name, Path(store), ranks) for name in CASES}
    if ranks.first:
        found["threads left"] = _threads_of_gloo()
        torch.save(found, out)


def _threads_of_gloo() -> list[str]:
    """Return the names of gloo's threads in this process, if the system has them."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


if __name__ == "__main__":
    main(*sys.argv[1:])
