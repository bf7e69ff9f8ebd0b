"""Some training steps, alone or as one of several ranks: ``python3 -m benchmarks.gpu.ranks cuda|cpu OUT.pt``."""

from __future__ import annotations

import sys
from typing import Any

STEPS, BATCH = 5, 7
"""The batch is odd, so that the shares of two ranks differ."""


def main(device: str, out: str) -> None:
    """Train `seed_network`; the first rank writes the change of all weights as one flat tensor."""
    import torch

    from spikestore.train.runs.ranks import joined

    with joined(device) as (ranks, place):
        change = _train(ranks, place)
        if ranks.first:
            torch.save(change, out)


def _train(ranks: Any, device: Any) -> Any:
    """Train, and return the change of all weights as one flat tensor.

    The global batches do not depend on the number of ranks. Gradients are clipped: without clipping, the loss and the rounding
    errors would explode at this learning rate.
    """
    import torch

    from benchmarks.networks import CLASSES, frames, seed_network
    from spikestore.train import training_step
    from spikestore.train.data.batch import Batch
    from spikestore.train.data.epoch_order import RankShare

    network = seed_network(device, "fused")
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    parallel = ranks.parallel(network)
    before = _flat(network)
    x = frames("cpu", STEPS * BATCH)
    for number in range(STEPS):
        batch_rows = torch.arange(BATCH * number, BATCH * (number + 1))
        rows = torch.from_numpy(batch_rows.numpy()[RankShare(ranks.rank, ranks.count).of(len(batch_rows))])
        batch = Batch(x[rows], rows % CLASSES, torch.full((len(rows),), x.shape[1]), rows)
        training_step(parallel, optimiser, Batch(*(one.to(device) for one in batch)), 1.0, ranks=ranks)
    return _flat(network) - before


def _flat(network: Any) -> Any:
    import torch

    return torch.cat([one.detach().flatten().cpu() for one in network.parameters()])


if __name__ == "__main__":
    main(*sys.argv[1:])
