"""The rows of the benchmark that count stored bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, build, target
from benchmarks.form import Row
from benchmarks.preprocess.builds import fill_cache


def index_and_value_bytes(bench: Bench) -> Row:
    """Stored bytes of ``index`` and ``value`` per non-zero, divided by the sum of the entropies of gaps (`gaps_of`) and values."""
    from spikestore.pipeline.execution.schedulers import InProcess

    features = build(bench, target(bench, bench.recordings), InProcess())
    columns = features.read()
    row = Row("bytes_a_non_zero_vs_order_0_entropy", 1.05, 1.0, better="lower")
    if len(columns.index) == 0:
        row.skipped = "the recordings have no events"
        return row
    bits = sum(entropy(symbols) for symbols in (gaps_of(columns), columns.value))
    per_value, floor = stored_bytes(features) / len(columns.index), bits / 8
    row.ratios, row.ours, row.peer = [per_value / floor], {"bytes": per_value}, {"bytes": floor}
    return row


def stored_bytes(features: Any) -> int:
    """Return the stored bytes of index and value."""
    return sum(
        entry.size
        for name in ("index", "value")
        for entry in features.storage.list(f"{features.data_path}/{name}/c")
    )


def gaps_of(columns: Any) -> Any:
    """Return the differences of neighbouring indices of each sample; for the first index of a sample, the index itself."""
    import numpy as np

    gaps = np.diff(columns.index.astype(np.int64), prepend=0)
    first = columns.offsets()[:-1][columns.nnz > 0]
    gaps[first] = columns.index[first]
    return gaps


def entropy(symbols: Any) -> float:
    """Return the order-0 entropy of symbols, in bits per symbol."""
    import numpy as np

    share = np.unique(symbols, return_counts=True)[1] / len(symbols)
    return float(-(share * np.log2(share)).sum())


def set_bytes(bench: Bench) -> Row:
    """Bytes of all files of the feature set, divided by the bytes of Tonic's cache of the same samples."""
    from spikestore.pipeline.execution.schedulers import InProcess

    features = build(bench, target(bench, bench.peers), InProcess())
    cache = Path(tempfile.mkdtemp(dir=bench.scratch))
    fill_cache(bench, cache)
    ours = sum(entry.size for entry in features.storage.list(features.address.folder))
    peer = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    row = Row("bytes_of_the_set_vs_tonics_cache", 1 / 5, 1 / 6, better="lower", ratios=[ours / peer])
    row.ours, row.peer = {"bytes": ours}, {"bytes": peer}
    return row
