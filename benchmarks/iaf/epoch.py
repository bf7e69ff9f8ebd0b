"""A row of ``benchmarks.iaf``: an epoch of training through the loader."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.form import Row
from benchmarks.iaf.steps import Bench, training_step_of, wait
from benchmarks.networks import CLASSES, DENSITY, INPUTS, MEAN_COUNT, STEPS, seed_network

_FRAGMENT = 1024


def epoch(bench: Bench) -> Row:
    """Seconds of a training epoch, including AdamW, on a CPU or a GPU. The samples are random, and in the memory of this device."""
    from spikestore.train import FeatureLoader

    on_gpu = bench.device.type == "cuda"
    row = Row("gpu_epoch_s" if on_gpu else "cpu_epoch_s", better="lower")
    if on_gpu and bench.samples > 70_000:
        row.target, row.stretch = 1.0, 0.7
    features = synthetic(bench, bench.samples)
    loader = FeatureLoader(features, bench.batch, "device", shuffle=True, device=bench.device)
    take = training_step_of(seed_network(bench.device, "fused"))

    def seconds() -> float:
        wait(bench.device)
        began = time.perf_counter()
        for batch in loader:
            take(batch)
        wait(bench.device)
        return time.perf_counter() - began

    first = seconds()
    row.ratios = [seconds() for _ in range(bench.rounds)]
    median = statistics.median(row.ratios)
    row.ours = {
        "s": median,
        "s of the first epoch": first,
        "samples": bench.samples,
        "samples/s": bench.samples / median,
    }
    row.peer = {"s of 75,466 in the seed, on an RTX 2070": 16.0}
    return row


def synthetic(bench: Bench, samples: int) -> Any:
    """Build a set of random samples. Their share of non-zeros is the same as in SSC with bins of 4 ms."""
    import numpy as np

    from spikestore.store import Build, SampleColumns, Store
    from spikestore.store_schemas import (
        Address,
        Source,
        SourceFile,
        ToFrame,
        Transform,
        layout_of,
        make_plan,
    )

    window = ToFrame(sensor_size=(INPUTS, 1, 1), time_window=4000.0)
    transform = Transform(operations=(window,))
    files = (SourceFile(name="train.h5", size=1, sha256="0" * 64),)
    source = Source(reader="cochlea-hdf5", reader_version=1, dataset="SSC", split="train", files=files)
    layout = layout_of(transform, has_y=False, classes=map(str, range(CLASSES)), extras=())
    places = STEPS * INPUTS
    counts = np.full(samples, int(places * DENSITY * MEAN_COUNT))
    build = Build.join_or_start(
        Store(bench.scratch / "epoch").storage,
        Address(transform.key, source.key),
        lambda: make_plan(transform, source.key, layout, counts, fragment_samples=_FRAGMENT),
    )

    def put(fragment: int) -> None:
        rng, rows = np.random.default_rng(fragment), len(build.plan.rows(fragment))
        taken = rng.integers(0, 256, (rows, places), np.uint8) < round(DENSITY * 256)
        nnz = taken.sum(1)
        columns = SampleColumns(
            index=np.flatnonzero(taken) % places,
            value=rng.geometric(1 / MEAN_COUNT, int(nnz.sum())),
            nnz=nnz,
            n_bins=np.full(rows, STEPS),
            label=rng.integers(0, CLASSES, rows),
            extras={},
        )
        build.put_fragment(fragment, columns)

    with ThreadPoolExecutor(min(12, os.cpu_count() or 1)) as pool:
        list(pool.map(put, build.unfinished()))
    return build.commit(transform, source, {"built_by": "benchmarks.iaf"})
