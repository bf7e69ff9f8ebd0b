"""Some training steps, alone or as one of several ranks: ``python3 -m benchmarks.gpu.ranks cuda|cpu OUT.pt``."""

from __future__ import annotations

import sys


def main(device: str, out: str) -> None:
    """Train the seed's network on the same global batches; the first rank writes its weights, flat, on the CPU."""
    import torch

    from benchmarks.networks import CLASSES, frames, seed_network
    from spikestore.train import training_step
    from spikestore.train.data.batch import Batch
    from spikestore.train.data.epoch_order import share
    from spikestore.train.runs.ranks import joined

    with joined(device) as (ranks, place):
        network = seed_network(place, "fused")
        optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
        parallel = ranks.parallel(network)
        x = frames("cpu", 30)
        for number in range(5):
            rows = torch.from_numpy(
                share(torch.arange(6 * number, 6 * number + 6).numpy(), ranks.rank, ranks.count)
            )
            batch = Batch(x[rows], rows % CLASSES, torch.full((len(rows),), x.shape[1]), rows)
            training_step(parallel, optimiser, Batch(*(one.to(place) for one in batch)), ranks=ranks)
        if ranks.first:
            torch.save(torch.cat([one.detach().flatten().cpu() for one in network.parameters()]), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
