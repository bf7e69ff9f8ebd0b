"""litdata as a peer of ``benchmarks.loading``: the same packed columns in its chunks, made dense by its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def litdata_loader(columns: Any, folder: Path, *, batch_size: int, workers: int) -> Any:
    """Write a packed set in litdata's format, and return its shuffling loader of dense float32 batches.

    Parameters
    ----------
    columns : PackedColumns
        The set.
    folder : Path
        Where the chunks go; empty.
    batch_size : int
        Samples in a batch.
    workers : int
        Worker processes, which stay from epoch to epoch.
    """
    import torch
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import Cache

    cache = Cache(str(folder), chunk_bytes="64MB")
    for i in range(len(columns)):
        part = slice(*columns.offsets[i : i + 2])
        cache[i] = {
            "index": columns.index[part].tobytes(),
            "value": columns.value[part].tobytes(),
            "bins": int(columns.n_bins[i]),
            "label": int(columns.label[i]),
        }
    cache.done()
    cache.merge()
    sites, kinds = columns.site_count, (columns.index.dtype, columns.value.dtype)

    def dense(samples: list[dict[str, Any]]) -> tuple[Any, Any]:
        frames = np.zeros((len(samples), max(one["bins"] for one in samples) * sites), np.float32)
        for place, one in zip(frames, samples, strict=True):
            place[np.frombuffer(one["index"], kinds[0])] = np.frombuffer(one["value"], kinds[1])
        shaped = torch.from_numpy(frames).view(len(samples), -1, *columns.sites)
        return shaped, torch.tensor([one["label"] for one in samples])

    return StreamingDataLoader(
        StreamingDataset(str(folder), shuffle=True),
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dense,
    )
