"""Augmentation against none: ``python -m benchmarks.augmentation [--json FILE] [--rows NAMES]``.

Epochs of a loader with residence ``host``, batches of 128, shuffled, dense float32, two threads. The samples are random, of the
shape and density of SSC's in the seed's network: 250 bins, 100 channels, 2 % of the cells filled. A row is the throughput
with one augmentation, divided by that without any.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from benchmarks.form import PINNED, Row, arguments, compare, report, wanted_rows

os.environ.update(PINNED)

BATCH, SAMPLES, BINS, CHANNELS, DENSITY = 128, 2048, 250, 100, 0.02


def columns() -> Any:
    """Return random samples as packed columns."""
    from spikestore.train import PackedColumns

    random = np.random.default_rng(0)
    counts = random.binomial(BINS * CHANNELS, DENSITY, SAMPLES)
    index = [np.sort(random.choice(BINS * CHANNELS, count, replace=False)) for count in counts]
    return PackedColumns(
        index=np.concatenate(index).astype(np.uint16),
        value=random.integers(1, 4, int(counts.sum())).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        n_bins=np.full(SAMPLES, BINS, np.int32),
        label=np.zeros(SAMPLES, np.int64),
        rows=np.arange(SAMPLES),
        extras={},
        set_rows=SAMPLES,
        sites=(1, CHANNELS),
        classes=("one",),
        digest="",
    )


class Bench:
    """Builds epochs of batches as `FeatureLoader` does: two threads, reused buffers."""

    def __init__(self) -> None:
        self.columns = columns()

    def throughput(self, augment: list[Any]) -> float:
        """Return samples per second of one epoch."""
        import torch

        from spikestore.store.concurrency import DaemonThreads
        from spikestore.train.data.frames.collate import Assembly
        from spikestore.train.data.frames.padding import Padding
        from spikestore.train.data.frames.sample_pointers import host_pointers

        assembly = Assembly(torch.device("cpu"), "dense", Padding(), augment, None, reuse=True, threads=2)
        order = np.random.default_rng(1).permutation(SAMPLES)
        with DaemonThreads(2, "benchmark") as pool:
            assembly.make(host_pointers(self.columns, order[:BATCH]), 0, pool)  # compiles
            began = time.perf_counter()
            for first in range(0, SAMPLES, BATCH):
                assembly.make(host_pointers(self.columns, order[first : first + BATCH]), 0, pool)
            return SAMPLES / (time.perf_counter() - began)


def _against_none(name: str, augment: list[Any], bench: Bench, target: float, stretch: float) -> Row:
    row = Row(name, target, stretch)
    return compare(row, lambda: bench.throughput(augment), lambda: bench.throughput([]), unit="samples/s")


def _measures() -> list[Any]:
    from spikestore import train

    each = {
        "TimeShift(5)": train.TimeShift(5),
        "ChannelJitter(2)": train.ChannelJitter(2),
        "ChannelShift(5)": train.ChannelShift(5),
        "EventDrop(0.1)": train.EventDrop(0.1),
        "EventThinning(0.1)": train.EventThinning(0.1),
        "SpatialFlip()": train.SpatialFlip(),
        "PolarityFlip()": train.PolarityFlip(),
        "TimeReversal()": train.TimeReversal(),
        "TimeMask(25)": train.TimeMask(25),
        "ChannelMask(10)": train.ChannelMask(10),
    }

    def measure_of(name: str, augment: list[Any], target: float, stretch: float) -> Any:
        def measure(bench: Bench) -> Row:
            return _against_none(name, augment, bench, target, stretch)

        measure.__name__ = name
        return measure

    four = [each[name] for name in ("TimeShift(5)", "ChannelJitter(2)", "EventDrop(0.1)", "SpatialFlip()")]
    return [
        *(measure_of(name, [one], 0.5, 0.8) for name, one in each.items()),
        measure_of("shift, jitter, drop and flip together", four, 0.3, 0.5),
    ]


def main() -> None:
    """Run the selected rows."""
    options = arguments(__doc__ or "")
    bench = Bench()
    rows = [measure(bench) for measure in wanted_rows(_measures(), options)]
    report("augmentation", rows, {"samples": SAMPLES, "batch": BATCH}, options)


if __name__ == "__main__":
    main()
