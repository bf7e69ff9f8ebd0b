"""Gain of our own reader of the HDF5 heap (decision 52): the same recordings, read with our reader and with plain h5py.

    python -m benchmarks.heap_parser                        # demo recordings, 2,000 and 8,000 of them
    python -m benchmarks.heap_parser --data ~/data/SSC      # the first recordings of real files

Rounds are interleaved. The table shows the minimum and the median of the CPU time (all threads) and of the wall time, for our
reader (``heap``) and for h5py; a ratio is the time of h5py divided by the time of our reader. CPU time does not include waiting,
and wall time is unreliable on a machine with other work. The table has these parts:

- read: all blocks, one thread
- read in 2 threads: each thread reads half of the recordings, as when threads of one process build a small set
- build: a whole feature set is built, once in one thread and once in two threads of this process
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

from benchmarks.bench import Bench, build, measure_each, target

ROUNDS = 5
BLOCK = 256


@contextmanager
def plain_h5py() -> Iterator[None]:
    """Make readers read every block through h5py."""
    from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader

    with mock.patch.object(CochleaReader, "_from_heap", CochleaReader._through_h5py):
        yield


def read(wanted: Any, threads: int) -> None:
    """Read all recordings of a source in blocks."""
    from spikestore.pipeline.readers.registry import open_reader

    def span(start: int, stop: int) -> None:
        with open_reader(wanted.located.source, wanted.located.root) as reader:
            for first in range(start, stop, BLOCK):
                reader.read_block(first, min(first + BLOCK, stop))

    count = wanted.located.source.limit
    bounds = [count * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(span, bounds[:-1], bounds[1:]))


def measure(bench: Bench, recordings: int) -> None:
    """Print the times of reads and builds of `recordings` recordings, with our heap parser and with h5py."""
    from spikestore.pipeline.execution.schedulers import InProcess, Threads

    wanted = target(bench, recordings)
    ways: dict[str, Callable[[], object]] = {
        "read": lambda: read(wanted, 1),
        "read in 2 threads": lambda: read(wanted, 2),
        "build": lambda: build(bench, wanted, InProcess()),
        "build in 2 threads": lambda: build(bench, wanted, Threads(2)),
    }
    print(f"\n{recordings:,} recordings, ms per thousand, least and median of {ROUNDS} interleaved rounds")
    print(f"{'':<20}{'':<6}{'heap':>8}{'median':>8}{'h5py':>8}{'median':>8}{'ratio':>7}{'median':>8}")
    for name, run in ways.items():
        run()
        heap: list[tuple[float, float]] = []
        h5py: list[tuple[float, float]] = []
        for _ in range(ROUNDS):
            heap.append(seconds(run))
            with plain_h5py():
                h5py.append(seconds(run))
        for clock, ours, theirs in zip(
            ("CPU", "wall"), zip(*heap, strict=True), zip(*h5py, strict=True), strict=True
        ):
            times = (min(ours), statistics.median(ours), min(theirs), statistics.median(theirs))
            shown = "".join(f"{1e6 * each / recordings:>8.0f}" for each in times)
            print(
                f"{name:<20}{clock:<6}{shown}{times[2] / times[0]:>7.2f}{times[3] / times[1]:>8.2f}",
                flush=True,
            )


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Return CPU time and wall time of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Run the benchmark with the demo's recordings, or with those in the folder after ``--data``."""
    measure_each(measure, __doc__)


if __name__ == "__main__":
    main()
