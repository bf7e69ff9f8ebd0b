"""Rows that measure the time and the memory of builds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.alone import numbers_of
from benchmarks.bench import WORKERS, Bench, build, target, tonic_dataset
from benchmarks.form import PINNED, Row, compare, timed
from benchmarks.preprocess.starts import command

os.environ.update(PINNED)

LEAST = 8
"""Least number of recordings for the smaller of the two builds whose memory is compared."""


@contextmanager
def warm(workers: int, bench: Bench) -> Iterator[Any]:
    """Start workers, and let each worker build something, so that kernels are loaded."""
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
    """Write all pending data to the disk, then return the seconds that `work` takes.

    Peers never call fsync: if data of a peer were still pending, our fsyncs would have to write them too.
    """
    os.sync()
    return timed(work)


def transform_only(bench: Bench) -> Row:
    """Compare the speed of the fused pass with Tonic's Compose, on one core, with the recordings in memory."""
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
    """Compare a build by warm workers, from the first task to the committed manifest, with filling DiskCachedDataset."""
    what = target(bench, bench.many)
    with warm(WORKERS, bench) as scheduler:
        return compare(
            Row("build_2_warm_workers_vs_disk_cached", 25, 30),
            lambda: bench.many / timed_on_clean_disk(lambda: build(bench, what, scheduler)),
            lambda: fill_cache(bench, Path(tempfile.mkdtemp(dir=bench.scratch))),
            unit="recordings/s",
        )


def from_start(bench: Bench) -> Row:
    """Compare builds, from process start to the committed set, with filling DiskCachedDataset; `preprocess` chooses the number of threads or workers."""
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


def dask_against_bare(bench: Bench) -> Row:
    """Speed of two Dask workers, divided by the speed of two processes that build the same fragments without Dask."""
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
    """Compare the speed of a build with two workers and with one worker.

    Each worker is bound to one core. Without this limit, a single worker would read ahead in a thread on the other core.
    """
    what = target(bench, bench.many)
    with warm(2, bench) as two, warm(1, bench) as one:
        for scheduler in (two, one):
            workers = scheduler._client.scheduler_info()["workers"]
            for core, worker in zip(sorted(os.sched_getaffinity(0)), workers, strict=False):
                scheduler._client.run(os.sched_setaffinity, 0, {core}, workers=[worker])

        def rate(scheduler: Any) -> Callable[[], float]:
            return lambda: bench.many / timed_on_clean_disk(lambda: build(bench, what, scheduler))

        return compare(Row("2_workers_vs_1", 1.8, 1.9), rate(two), rate(one), unit="recordings/s", rounds=7)


def threads_against_one(bench: Bench) -> Row:
    """`WORKERS` threads of one process against one thread. The constant `schedulers.THREADS_WORTH` is a result of this row."""
    from spikestore.pipeline.execution.schedulers import InProcess, Threads

    what = target(bench, bench.recordings)

    def rate(scheduler: Any) -> Callable[[], float]:
        return lambda: bench.recordings / timed_on_clean_disk(lambda: build(bench, what, scheduler))

    build(bench, target(bench, 256), InProcess())
    return compare(Row("2_threads_vs_1"), rate(Threads(WORKERS)), rate(InProcess()), unit="recordings/s")


def memory(bench: Bench) -> Row:
    """Growth of the peak memory from an eighth of the recordings to all recordings, divided by the growth of the non-zeros' bytes."""
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
