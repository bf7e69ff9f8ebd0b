"""Preprocessing against Tonic: ``python -m benchmarks.preprocess [--size small|full] [--data DIR] [--json FILE]``.

Both sides work on the same files and disk, warm in the page cache, with one thread a worker. Filling
``DiskCachedDataset`` costs the same for every recording, so the peer fills it for the first ones only, and rates are
compared.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.alone import numbers_of
from benchmarks.bench import WORKERS, Bench, build, target, tonic_dataset
from benchmarks.form import PINNED, Row, arguments, compare, measured, report, timed, wanted_rows
from benchmarks.recordings import recordings_of

os.environ.update(PINNED)

LEAST = 8
"""Recordings of the smaller set whose memory is compared with that of one 8 times as large."""


def main() -> None:
    """Run the rows that were asked for."""
    options = arguments(__doc__ or "")
    wanted = wanted_rows(ROWS, options)
    small = options.size == "small"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        recordings, peers, many = (600, 100, 1000) if small else (8000, 1000, 20_000)
        data = recordings_of(options.data, scratch, max(recordings, many))
        bench = Bench.of(data, scratch, recordings, peers, many)
        rows = measured(wanted, lambda row: row(bench))
        from benchmarks.stages import stages

        report("preprocess", rows, {"recordings": bench.recordings, **stages(bench)}, options)


@contextmanager
def warm(workers: int, bench: Bench) -> Iterator[Any]:
    """Start workers, and let each build something, so that kernels are loaded."""
    from spikestore.pipeline.execution.schedulers import open_scheduler

    with open_scheduler(workers) as scheduler:
        for _ in range(2):
            build(bench, target(bench, 64 * 4 * workers), scheduler, fragment_samples=64)
        yield scheduler


def fill_cache(bench: Bench, folder: Path) -> float:
    """Fill Tonic's cache with two workers; return recordings/s."""
    import tonic
    import torch
    from torch.utils.data import DataLoader, Subset

    cached = tonic.DiskCachedDataset(tonic_dataset(bench), cache_path=str(folder))
    loader = DataLoader(
        Subset(cached, range(bench.peers)),
        batch_size=32,
        num_workers=WORKERS,
        collate_fn=tonic.collation.PadTensors(batch_first=True),
    )
    torch.set_num_threads(1)
    return bench.peers / timed(lambda: [None for _ in loader])


def timed_on_clean_disk(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes; what the side before it left to be written is written first.

    Our fsyncs would write that too: peers never call it.
    """
    os.sync()
    return timed(work)


def transform_only(bench: Bench) -> Row:
    """One core, recordings in memory: the fused pass against Tonic's Compose."""
    from spikestore.pipeline.readers.registry import open_reader
    from spikestore.pipeline.transforms.fused import FusedChain

    what = target(bench, min(256, bench.recordings))
    with open_reader(what.located.source, what.located.root) as reader:
        count = len(reader)
        blocks = [reader.read_block(start, min(start + 64, count)) for start in range(0, count, 64)]
        recordings = [one.events for one in reader.read(0, count)]  # type: ignore[union-attr]
    fused, chain = FusedChain(what.transform, has_y=False), tonic_dataset(bench).transform

    def ours() -> float:
        return count / timed(lambda: [fused(block, name_of=str) for block in blocks])

    def peer() -> float:
        return count / timed(lambda: [chain(events) for events in recordings])

    ours()
    return compare(Row("transform_only_fused_vs_tonic", 25, 40), ours, peer, unit="recordings/s")


def build_warm(bench: Bench) -> Row:
    """First task to committed manifest with warm workers, against filling DiskCachedDataset."""
    what = target(bench, bench.recordings)
    with warm(WORKERS, bench) as scheduler:
        return compare(
            Row("build_2_warm_workers_vs_disk_cached", 18, 30),
            lambda: bench.recordings / timed_on_clean_disk(lambda: build(bench, what, scheduler)),
            lambda: fill_cache(bench, Path(tempfile.mkdtemp(dir=bench.scratch))),
            unit="recordings/s",
        )


def from_start(bench: Bench) -> Row:
    """The same from process start, as the command does it by itself: with threads or workers, start-up included."""
    recipe = bench.scratch / "many.toml"
    recipe.write_text(bench.data.recipe_text(bench.many), encoding="utf-8")
    start_up: list[float] = []

    def ours() -> float:
        from spikestore.store import Store

        store = bench.store()
        seconds = timed_on_clean_disk(
            lambda: command("preprocess", recipe, "--data", bench.data.folder, "--store", store)
        )
        start_up.append(seconds - Store(store)[bench.data.name].manifest.provenance["seconds"])
        return bench.many / seconds

    row = compare(
        Row("build_from_process_start_vs_disk_cached", 12, 20),
        ours,
        lambda: fill_cache(bench, Path(tempfile.mkdtemp(dir=bench.scratch))),
        unit="recordings/s",
    )
    row.ours |= {"start_up_s": sorted(start_up)[len(start_up) // 2]}
    return row


def index_and_value_bytes(bench: Bench) -> Row:
    """Stored bytes of index and value a non-zero, against the order-0 entropy of (gap, value)."""
    from spikestore.pipeline.execution.schedulers import InProcess

    features = build(bench, target(bench, bench.recordings), InProcess())
    columns = features.read()
    row = Row("bytes_a_non_zero_vs_order_0_entropy", 1.05, 1.0, better="lower")
    if len(columns.index) == 0:
        row.skipped = "the recordings have no events"
        return row
    bits = sum(entropy(symbols) for symbols in (gaps_of(columns), columns.value))
    stored = sum(
        entry.size
        for name in ("index", "value")
        for entry in features.storage.list(f"{features.data_path}/{name}/c")
    )
    per_value, floor = stored / len(columns.index), bits / 8
    row.ratios, row.ours, row.peer = [per_value / floor], {"bytes": per_value}, {"bytes": floor}
    return row


def gaps_of(columns: Any) -> Any:
    """Return what each index lies behind the one before it in its sample."""
    import numpy as np

    gaps = np.diff(columns.index.astype(np.int64), prepend=0)
    first = columns.offsets()[:-1][columns.nnz > 0]
    gaps[first] = columns.index[first]
    return gaps


def entropy(symbols: Any) -> float:
    """Return the order-0 entropy of symbols, in bits."""
    import numpy as np

    share = np.unique(symbols, return_counts=True)[1] / len(symbols)
    return float(-(share * np.log2(share)).sum())


def set_bytes(bench: Bench) -> Row:
    """All files of the feature set, against Tonic's cache of the same samples."""
    from spikestore.pipeline.execution.schedulers import InProcess

    features = build(bench, target(bench, bench.peers), InProcess())
    cache = Path(tempfile.mkdtemp(dir=bench.scratch))
    fill_cache(bench, cache)
    ours = sum(entry.size for entry in features.storage.list(features.address.folder))
    peer = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    row = Row("bytes_of_the_set_vs_tonics_cache", 1 / 5, 1 / 6, better="lower", ratios=[ours / peer])
    row.ours, row.peer = {"bytes": ours}, {"bytes": peer}
    return row


def dask_against_bare(bench: Bench) -> Row:
    """Two Dask workers against two bare processes that do the same fragments."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from spikestore.pipeline.building.feature_build import BuildRequest, open_build
    from spikestore.pipeline.execution.fragment_task import FragmentJob, build_fragment
    from spikestore.store import Store

    what = target(bench, bench.recordings)

    def job() -> FragmentJob:
        storage = Store(bench.store()).storage
        begun = open_build(storage, what.located, what.transform, BuildRequest(WORKERS))
        return FragmentJob(begun, what.located, what.transform)

    with warm(WORKERS, bench) as scheduler, ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:

        def dask() -> float:
            one = job()
            return bench.recordings / timed(lambda: list(scheduler.run(one, range(one.plan.fragments))))

        def bare() -> float:
            one = job()
            fragments = range(one.plan.fragments)
            return bench.recordings / timed(
                lambda: list(pool.map(build_fragment, [one] * len(fragments), fragments))
            )

        bare()
        return compare(Row("2_dask_workers_vs_2_processes", 0.9), dask, bare, unit="recordings/s")


def two_against_one(bench: Bench) -> Row:
    """Two workers against one, each on a core of its own: the thread that reads ahead would take the other's."""
    what = target(bench, bench.many)
    with warm(2, bench) as two, warm(1, bench) as one:
        for scheduler in (two, one):
            workers = scheduler._client.scheduler_info()["workers"]
            for core, worker in zip(sorted(os.sched_getaffinity(0)), workers, strict=False):
                scheduler._client.run(os.sched_setaffinity, 0, {core}, workers=[worker])

        def rate(scheduler: Any) -> Callable[[], float]:
            return lambda: bench.many / timed_on_clean_disk(lambda: build(bench, what, scheduler))

        return compare(Row("2_workers_vs_1", 1.8), rate(two), rate(one), unit="recordings/s")


def threads_against_one(bench: Bench) -> Row:
    """As many threads of one process as there are workers, against one: what `schedulers.THREADS_WORTH` stands for."""
    from spikestore.pipeline.execution.schedulers import InProcess, Threads

    what = target(bench, bench.recordings)

    def rate(scheduler: Any) -> Callable[[], float]:
        return lambda: bench.recordings / timed_on_clean_disk(lambda: build(bench, what, scheduler))

    build(bench, target(bench, 256), InProcess())
    return compare(Row("2_threads_vs_1"), rate(Threads(WORKERS)), rate(InProcess()), unit="recordings/s")


def memory(bench: Bench) -> Row:
    """Peak memory of a worker at 8 times the data less that at 1, as share of the added bytes."""
    row = Row("peak_memory_growth_at_8_times_the_data", 0.05, better="lower")
    small = bench.recordings // 8
    if small < LEAST:
        row.skipped = f"needs {8 * LEAST} recordings, and there are {bench.recordings}"
        return row
    peaks = {}
    for count in (small, 8 * small):
        script = (
            "from pathlib import Path\n"
            "from benchmarks.alone import peak_bytes\n"
            "from benchmarks.bench import Bench, build, target\n"
            "from benchmarks.recordings import find_recordings\n"
            "from spikestore.pipeline.execution.schedulers import InProcess\n"
            f"data = find_recordings(Path({str(bench.data.folder)!r}))\n"
            f"bench = Bench(data, Path({str(bench.scratch)!r}), 0, 0, 0)\n"
            f"features = build(bench, target(bench, {count}), InProcess(), fragment_samples={max(64, small // 4 // 64 * 64)})\n"
            "print(peak_bytes(), features.manifest.nnz * 8)"
        )
        peaks[count] = numbers_of(script)
    (peak_1, size_1), (peak_8, size_8) = peaks.values()
    row.ratios = [max(0, peak_8 - peak_1) / (size_8 - size_1)]
    row.ours, row.peer = {"bytes_at_8": peak_8}, {"bytes_at_1": peak_1}
    return row


def second_run(bench: Bench) -> Row:
    """A run with nothing to do, against ``python -c "import zarr"``, in seconds."""
    recipe = bench.scratch / "again.toml"
    recipe.write_text(bench.data.recipe_text(min(10_000, bench.many)), encoding="utf-8")
    call = ("preprocess", recipe, "--data", bench.data.folder, "--store", bench.store(), "--workers", "2")
    command(*call)
    time.sleep(2.1)  # files that are younger are hashed again, as git does it
    command(*call)
    return compare(
        Row("second_run_vs_import_zarr", 3.0, better="lower"),
        lambda: timed(lambda: command(*call)),
        lambda: timed(lambda: subprocess.run([sys.executable, "-c", "import zarr"], check=True)),
        unit="s",
    )


def command(*arguments: object) -> None:
    """Run the command line in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "spikestore.store", "--quiet", *map(str, arguments)],
        check=True,
        stdin=subprocess.DEVNULL,
    )


ROWS = [
    transform_only,
    build_warm,
    from_start,
    index_and_value_bytes,
    set_bytes,
    dask_against_bare,
    two_against_one,
    threads_against_one,
    memory,
    second_run,
]

if __name__ == "__main__":
    main()
