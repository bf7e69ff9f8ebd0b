"""Every process takes its share of each global batch.

torchrun --standalone --nproc-per-node 2 docs/examples/torchrun_ranks.py STORE NAME:SPLIT ROWS.json

Writes which rows all ranks drew together in one epoch, from memory and streamed.
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from spikestore.store import Store
from spikestore.train import FeatureLoader


def main(store: str, name: str, out: str) -> None:
    """Draw an epoch on each rank; rank 0 writes what was drawn."""
    dist.init_process_group("gloo")
    features = Store(store)[name]
    drawn = {}
    for residence in ("host", "stream"):
        loader = FeatureLoader(
            features, 16, residence, shuffle=True, rank=dist.get_rank(), ranks=dist.get_world_size()
        )
        mine = [row for batch in loader for row in batch.samples.tolist()]
        parts = [None] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
        drawn[residence] = [row for part in parts for row in part or []]
    if dist.get_rank() == 0:
        Path(out).write_text(json.dumps(drawn), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:4])
