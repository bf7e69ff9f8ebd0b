"""Stored bytes with different sizes of chunks: ``python -m benchmarks.preprocess.chunks [--size small|full] [--data DIR]``.

Two tables are printed. Their numbers depend only on the recordings: they are the stored bytes of ``index`` and ``value``, divided by
the sum of the order-0 entropies of gaps and values. A gap is the difference of neighbouring indices. The first table shows feature
sets as a build writes them. The second table compares sizes of inner chunks, and three ways to fill up the last chunk (docs/decisions/0060).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, target
from benchmarks.form import PINNED, arguments
from benchmarks.preprocess.stored_bytes import entropy, gaps_of, stored_bytes

os.environ.update(PINNED)

FRAGMENTS = (64, 192)
CHUNKS = (16_384, 65_536, 131_072, 262_144)
SMALL, LARGE = 1.15, 1.05
"""Targets, of sets with at least 5,000 and 100,000 non-zeros."""


def main() -> None:
    """Print both tables."""
    from benchmarks.recordings import recordings_of

    options = arguments(__doc__ or "")
    counts = (2, 24, 230) if options.size == "small" else (2, 24, 230, 1000, 3700)
    with tempfile.TemporaryDirectory() as folder:
        data = recordings_of(options.data, Path(folder), max(counts))
        bench = Bench.of(data, Path(folder), max(counts), 0, 0)
        built = [row for count in counts for row in as_built(bench, count)]
        chunks = [row for count in counts if count <= 1000 for row in by_chunk(bench, count)]
    if options.json is not None:
        options.json.write_text(json.dumps({"built": built, "chunks": chunks}, indent=1), encoding="utf-8")
    _print(built)
    _print(chunks)


def as_built(bench: Bench, recordings: int) -> Iterator[dict[str, Any]]:
    """Yield the size of each of several builds: by one worker, by two workers, and by one worker with each size of fragments in `FRAGMENTS`."""
    for workers, rows in [(1, None), (2, None), *((1, rows) for rows in FRAGMENTS)]:
        features = _built(bench, recordings, workers, rows)
        columns = features.read()
        ratio = stored_bytes(features) / _floor(columns)
        allowed = LARGE if len(columns.index) >= 100_000 else SMALL
        yield {
            "non-zeros": f"{len(columns.index):,}",
            "workers": workers,
            "fragments": f"{len(features.manifest.fragments)} of {features.manifest.fragment_samples}",
            "bytes per non-zero": f"{stored_bytes(features) / max(len(columns.index), 1):.4f}",
            "against entropy": f"{ratio:.4f}",
            "target": f"≤ {allowed}, {'met' if ratio <= allowed else 'MISSED'}",
        }


def by_chunk(bench: Bench, recordings: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table that compares sizes of inner chunks: one row for each pair of a fragment size and a chunk size."""
    for rows in FRAGMENTS:
        features = _built(bench, recordings, 1, rows)
        columns, shard = features.read(), features.manifest.shard_values
        starts = columns.offsets()
        ends = [int(end) for end in [*starts[:-1:rows], starts[-1]]]
        for chunk in CHUNKS:
            table = 2 * (len(ends) - 1) * (16 * (shard // chunk) + 4)
            sizes = [table, table, table]
            for first, last in pairwise(ends):
                for begin in range(first, last, chunk):
                    span = slice(begin, min(begin + chunk, last))
                    for order, column in ((1, columns.index), (0, columns.value)):
                        for way, size in enumerate(_encoded(column[span], order, chunk)):
                            sizes[way] += size
            shares = [f"{size / _floor(columns):.4f}" for size in sizes]
            yield {
                "non-zeros": f"{len(columns.index):,}",
                "fragments of": rows,
                "chunks": f"{chunk:,}",
                **dict(zip(("fill value", "goes on", "parts"), shares, strict=True)),
            }


def _encoded(values: Any, order: int, chunk: int) -> Iterator[int]:
    """Yield the size of an encoded chunk with its checksum, in bytes, for each of three ways to fill the rest of the chunk after `values`."""
    import numpy as np
    from pcodec import ChunkConfig, DeltaSpec, PagingSpec, standalone

    rest = chunk - len(values)
    filled = np.concatenate([values, np.full(rest, 2**32 - 1, np.uint32)])
    goes_on = filled.copy()
    if rest:
        steps = np.diff(values) if order else values
        common, counts = np.unique(steps, return_counts=True)
        step = common[counts.argmax()] if len(counts) else np.uint32(1)
        goes_on[len(values) :] = (
            values[-1] + step * np.arange(1, rest + 1, dtype=np.uint32) if order else step
        )
    together = PagingSpec.equal_pages_up_to(2**18)
    apart = PagingSpec.exact_page_sizes([len(values), rest]) if rest else together
    for numbers, parts in ((filled, together), (goes_on, together), (filled, apart)):
        config = ChunkConfig(
            compression_level=8, delta_spec=DeltaSpec.try_consecutive(order), paging_spec=parts
        )
        yield len(standalone.simple_compress(numbers, config)) + 4


def _built(bench: Bench, recordings: int, workers: int, rows: int | None) -> Any:
    """Build a set in this process; a fragment has `rows` rows, or, if `rows` is None, as many as a build by `workers` processes would choose."""
    from spikestore.pipeline.building.feature_build import BuildRequest, build_features, open_build
    from spikestore.pipeline.execution.schedulers import InProcess
    from spikestore.store import Store

    what = target(bench, recordings)
    request = BuildRequest(workers, fragment_samples=rows)
    begun = open_build(Store(bench.store()).storage, what.located, what.transform, request)
    return build_features(begun, what.located, what.transform, InProcess(), progress=lambda *_: None)


def _floor(columns: Any) -> float:
    """Return the order-0 entropy of all gaps between indices plus the order-0 entropy of all values, in bytes."""
    if len(columns.index) == 0:
        raise SystemExit("the recordings have no events: there is nothing to encode")
    return (entropy(gaps_of(columns)) + entropy(columns.value)) / 8 * len(columns.index)


def _print(rows: list[dict[str, Any]]) -> None:
    out = sys.stdout.write
    out(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}\n")
    for row in rows:
        out(f"| {' | '.join(map(str, row.values()))} |\n")
    out("\n")


if __name__ == "__main__":
    main()
