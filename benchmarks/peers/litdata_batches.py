"""litdata as a peer of ``benchmarks.loading``: ``python -m …litdata_batches COLUMNS.npz FOLDER BATCH WORKERS``.

litdata's chunks contain the same packed columns as our store, and litdata's workers make the samples dense.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.serve import answers, serve


def main(columns: str, folder: str, batch_size: str, workers: str) -> None:
    """For each line of standard input, go through all batches and print the samples/s."""
    stream = answers()
    import numpy as np

    with np.load(columns) as found:
        loader = _loader(
            {name: found[name] for name in found.files}, Path(folder), int(batch_size), int(workers)
        )

    def one_pass() -> float:
        began, count = time.perf_counter(), 0
        for frames, _ in loader:
            count += len(frames)
        return count / (time.perf_counter() - began)

    one_pass()
    serve(stream, one_pass)


def _loader(columns: dict[str, Any], folder: Path, batch_size: int, workers: int) -> Any:
    """Write packed columns in litdata's format; return litdata's loader, which shuffles and yields dense float32 batches.

    `columns` are those of `PackedColumns`: index and value (non-zeros,), offsets (samples + 1,), n_bins and label
    (samples,), and sites, the sizes of the axes after time. Worker processes are not restarted between epochs.
    """
    import numpy as np
    import torch
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import Cache

    cache, offsets = Cache(str(folder), chunk_bytes="64MB"), columns["offsets"]
    for i in range(len(offsets) - 1):
        part = slice(*offsets[i : i + 2])
        cache[i] = {
            "index": columns["index"][part].tobytes(),
            "value": columns["value"][part].tobytes(),
            "bins": int(columns["n_bins"][i]),
            "label": int(columns["label"][i]),
        }
    cache.done()
    cache.merge()
    sites, kinds = tuple(columns["sites"].tolist()), (columns["index"].dtype, columns["value"].dtype)

    def dense(samples: list[dict[str, Any]]) -> tuple[Any, Any]:
        longest = max(one["bins"] for one in samples)
        frames = np.zeros((len(samples), longest * int(np.prod(sites))), np.float32)
        for place, one in zip(frames, samples, strict=True):
            place[np.frombuffer(one["index"], kinds[0])] = np.frombuffer(one["value"], kinds[1])
        shaped = torch.from_numpy(frames).view(len(samples), -1, *sites)
        return shaped, torch.tensor([one["label"] for one in samples])

    return StreamingDataLoader(
        StreamingDataset(str(folder), shuffle=True),
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dense,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
