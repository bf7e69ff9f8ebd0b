"""Speed of two cores that only encode with PCodec, relative to one core: an upper limit for the gain of a second worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.bench import WORKERS, Bench
from benchmarks.form import Row, compare, timed

CHUNKS = 60
"""Number of chunks that a process encodes in one round."""


def encode(core: int, chunks: int) -> None:
    """Encode one chunk of 65,536 values many times, on one core."""
    import numpy as np
    from pcodec import ChunkConfig, standalone

    os.sched_setaffinity(0, {core})
    values = np.random.default_rng(0).geometric(0.1, 65_536).astype(np.uint16)
    for _ in range(chunks):
        standalone.simple_compress(values, ChunkConfig())


def two_encoders_against_one(bench: Bench) -> Row:
    """Chunks per second of two processes that only encode, divided by those of one process.

    The ratio is an upper limit for the row ``2_workers_vs_1``, whose workers also read, store and use Dask.
    """
    del bench
    cores = sorted(os.sched_getaffinity(0))[:WORKERS]
    row = Row("2_bare_encoders_vs_1")
    if len(cores) < WORKERS:
        row.skipped = f"this process may use only {len(cores)} core"
        return row
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:

        def rate(used: list[int]) -> Callable[[], float]:
            def encoded() -> float:
                return len(used) * CHUNKS / timed(lambda: list(pool.map(encode, used, [CHUNKS] * len(used))))

            return encoded

        rate(cores)()
        return compare(row, rate(cores), rate(cores[:1]), unit="chunks/s", rounds=7)
