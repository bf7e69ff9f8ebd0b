"""annbatch as a peer of ``benchmarks.loading``: ``python -m …annbatch_batches COLUMNS.npz FOLDER BATCH WINDOW RUN THREADS CACHE``.

annbatch stores the samples as rows of a sparse matrix in its own Zarr layout, and reads these rows with zarrs. SciPy
makes the rows dense. annbatch needs an environment of its own with Python 3.12 or newer;
``python -m benchmarks.peers annbatch`` makes this environment.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers.page_cache import forget_pages
from benchmarks.peers.serve import answers, serve


def main(columns: str, folder: str, batch: str, window: str, run: str, threads: str, cache: str) -> None:
    """For each line of standard input, go through all batches once and print the samples/s.

    Samples are read in runs of `run` consecutive samples, and are shuffled within windows of `window` samples. If `cache` is
    "cold", the files are removed from the page cache before each pass.
    """
    stream = answers()
    os.environ.update(dict.fromkeys(("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), threads))
    import numpy as np
    import zarr

    zarr.config.set(
        {
            "threading.max_workers": int(threads),
            "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
            "codec_pipeline.chunk_concurrent_maximum": int(threads),
        }
    )
    path = Path(folder)
    with np.load(columns) as packed:
        _write({name: packed[name] for name in packed.files}, path)
    loader = _loader(path, int(batch), int(window), int(run))

    def one_pass() -> float:
        if cache == "cold":
            forget_pages(path)
        began, count = time.perf_counter(), 0
        for frames in _dense(loader, int(batch)):
            count += len(frames)
        return count / (time.perf_counter() - began)

    one_pass()
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    serve(stream, one_pass, stored_bytes=stored)


def _write(columns: dict[str, Any], folder: Path) -> None:
    """Write packed columns as annbatch stores a sparse matrix: each sample is a row, and each cell of its frames is a column."""
    import annbatch.io
    import anndata
    import numpy as np
    import pandas as pd
    import zarr
    from scipy import sparse

    samples = len(columns["n_bins"])
    places = int(columns["n_bins"].max()) * int(np.prod(columns["sites"]))
    matrix = sparse.csr_matrix(
        (columns["value"], columns["index"].astype(np.int32), columns["offsets"]), shape=(samples, places)
    )
    names = pd.Index([str(i) for i in range(samples)])
    labels = pd.DataFrame({"label": columns["label"]}, index=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        annbatch.io.write_sharded(zarr.open_group(folder, mode="w"), anndata.AnnData(matrix, obs=labels))


def _loader(folder: Path, batch: int, window: int, run: int) -> Any:
    """Return annbatch's loader: it reads `run` consecutive samples at a time, and shuffles about `window` samples at a time."""
    import annbatch
    import anndata
    import zarr

    group = zarr.open_group(folder, mode="r")
    read = anndata.AnnData(anndata.io.sparse_dataset(group["X"]), obs=anndata.io.read_elem(group["obs"]))
    return annbatch.Loader(
        chunk_size=run,
        preload_nchunks=max(1, window // run),
        batch_size=batch,
        shuffle=True,
        preload_to_gpu=False,
    ).add_adata(read)


def _dense(loader: Any, batch: int) -> Iterator[Any]:
    """Yield batches as dense float32 arrays. Two buffers take turns, so only the last two batches are valid."""
    import numpy as np

    buffers = [np.zeros((batch, loader.n_var), np.float32) for _ in range(2)]
    for number, rows in enumerate(loader):
        matrix = rows["X"]
        frames = buffers[number % 2][: matrix.shape[0]]
        yield matrix.astype(np.float32).toarray(out=frames)


if __name__ == "__main__":
    main(*sys.argv[1:])
