"""Loaders of other libraries, each in an environment of its own, as rows of ``benchmarks.loading``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.form import Row, compare
from benchmarks.peers.page_cache import forget_pages
from benchmarks.peers.process import PeerError, PeerProcess
from benchmarks.peers.slow_disk import slow_disk

BATCH = 128
WORKERS = 2
WINDOW = 8192
"""Number of samples among which our loader shuffles, by default."""


def against_litdata(bench: Any) -> Row:
    """Compare, on the CPU, `stream` from local disk with litdata's StreamingDataset with 2 persistent workers."""
    return _against(
        bench, Row("stream_vs_litdata"), "litdata", "benchmarks.peers.litdata_batches", BATCH, WORKERS
    )


def against_annbatch_64(bench: Any) -> Row:
    """Compare `stream` from local disk with annbatch, which reads runs of 64 samples with the package zarrs.

    Both make dense float32 batches on the CPU, and all files are in the page cache.
    """
    return _against_annbatch(bench, Row("stream_vs_annbatch_runs_of_64", 1.2, 1.5), 64)


def against_annbatch_128(bench: Any) -> Row:
    """Compare `stream` with annbatch, which reads runs of 128 samples."""
    return _against_annbatch(bench, Row("stream_vs_annbatch_runs_of_128", 1.2, 1.5), 128)


def against_annbatch_512(bench: Any) -> Row:
    """Compare `stream` with annbatch, which reads runs of 512 samples. The longer its runs, the worse its shuffle."""
    return _against_annbatch(bench, Row("stream_vs_annbatch_runs_of_512"), 512)


def against_annbatch_cold(bench: Any) -> Row:
    """Compare `stream` with annbatch; before each pass, the files are dropped from the page cache."""
    return _against_annbatch(bench, Row("stream_vs_annbatch_cold", 2.5, 3), 128, cold=True)


def against_annbatch_cold_200_mb(bench: Any) -> Row:
    """Compare `stream` with annbatch, both from a disk that is limited to 200 MB/s, without the page cache."""
    return _on_slow_disk(bench, Row("stream_vs_annbatch_cold_200_MB/s", 2.5, 3), 200_000_000)


def against_annbatch_cold_20_mb(bench: Any) -> Row:
    """Compare `stream` with annbatch; both read from a disk that is limited to 20 MB/s, and nothing is in the page cache.

    Both wait for the disk, so the ratio of their rates is at most annbatch's stored bytes divided by ours.
    """
    return _on_slow_disk(bench, Row("stream_vs_annbatch_cold_20_MB/s"), 20_000_000)


def _on_slow_disk(bench: Any, row: Row, bytes_per_second: int) -> Row:
    try:
        with slow_disk(Path(bench.features.storage.url), bytes_per_second):
            return _against_annbatch(bench, row, 128, cold=True)
    except OSError as error:
        row.skipped = str(error)
        return row


def _against_annbatch(bench: Any, row: Row, run: int, *, cold: bool = False) -> Row:
    window = max(min(WINDOW, bench.samples) // 512, 1) * 512  # whole runs, and whole batches
    module, how = "benchmarks.peers.annbatch_batches", "cold" if cold else "warm"
    return _against(bench, row, "annbatch", module, BATCH, window, run, WORKERS, how, cold=cold)


def _against(bench: Any, row: Row, name: str, module: str, *options: object, cold: bool = False) -> Row:
    """Compare residence ``stream`` with a peer that gets the packed columns of the same samples."""
    from benchmarks.datasets.written import bytes_below
    from spikestore.train import FeatureLoader

    folder = Path(tempfile.mkdtemp(dir=bench.raw.scratch))
    try:
        with PeerProcess(
            name, module, bench.packed_columns, folder / "stored", *(str(option) for option in options)
        ) as peer:
            loader = FeatureLoader(bench.features, BATCH, "stream", shuffle=True, threads=WORKERS)
            store = Path(bench.features.storage.url)

            def ours() -> float:
                if cold:
                    forget_pages(store)
                began, count = time.perf_counter(), 0
                for _ in range(1 if cold else 3):
                    count += sum(len(batch.frames) for batch in loader)
                return count / (time.perf_counter() - began)

            ours()
            row = compare(row, ours, peer.rate, unit="samples/s")
            row.ours |= {"stored_bytes": bytes_below(store)}
            row.peer |= peer.facts
            return row
    except (PeerError, OSError) as error:
        row.skipped = str(error)
        return row


AGAINST_PEERS = [
    against_litdata,
    against_annbatch_64,
    against_annbatch_128,
    against_annbatch_512,
    against_annbatch_cold,
    against_annbatch_cold_200_mb,
    against_annbatch_cold_20_mb,
]
"""The rows of this module."""
