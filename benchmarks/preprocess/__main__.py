"""Preprocessing against Tonic: ``python -m benchmarks.preprocess [--size small|full] [--rows NAMES] [--data DIR] [--json FILE]``.

Both sides work on the same files, warm in the page cache, and on the same disk. Each worker has one thread. Tonic fills
its cache (``DiskCachedDataset``) with only the first recordings of the set, because each recording takes about the same time.
All results are recordings per second.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.form import arguments, measured, report, wanted_rows
from benchmarks.preprocess.builds import (
    build_warm,
    dask_against_bare,
    from_start,
    memory,
    threads_against_one,
    transform_only,
    two_against_one,
)
from benchmarks.preprocess.cores import two_encoders_against_one
from benchmarks.preprocess.starts import first_fragment, second_run
from benchmarks.preprocess.stored_bytes import index_and_value_bytes, set_bytes
from benchmarks.recordings import recordings_of


def main() -> None:
    """Run the benchmark's rows that the command line selects."""
    options = arguments(__doc__ or "")
    wanted = wanted_rows(ROWS, options)
    small = options.size == "small"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        recordings, peers, many = (600, 100, 1000) if small else (8000, 1000, 20_000)
        data = recordings_of(options.data, scratch, max(recordings, many))
        bench = Bench.of(data, scratch, recordings, peers, many)
        rows = measured(wanted, lambda row: row(bench))
        from benchmarks.preprocess.stages import stages

        report("preprocess", rows, {"recordings": bench.recordings, **stages(bench)}, options)


ROWS = [
    transform_only,
    build_warm,
    from_start,
    index_and_value_bytes,
    set_bytes,
    dask_against_bare,
    two_against_one,
    two_encoders_against_one,
    threads_against_one,
    memory,
    first_fragment,
    second_run,
]

if __name__ == "__main__":
    main()
