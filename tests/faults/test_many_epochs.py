"""Many streamed epochs that are left at random batches: memory, threads and open files stay as they are."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import psutil
import pytest
from tests.faults.effort import LONG, SEED, cases
from tests.store.small_sets import small_set

from spikestore.store.storage import FolderStorage
from spikestore.train import FeatureLoader

SETTLED = 3
"""Epochs after which memory, threads and open files must not grow."""
MOST_GROWTH = 32 * 2**20
"""Maximum growth of the process after these epochs, in bytes; a leak of one window per epoch exceeds it in the long run."""


@pytest.mark.slow
def test_streaming_takes_nothing_more(tmp_path: Path) -> None:
    small = small_set(4000 if LONG else 1000, skipped=())
    features = small.build(FolderStorage(tmp_path / "store"), 256)
    rng, process = random.Random(SEED), psutil.Process()  # noqa: S311 - no secret
    loader = FeatureLoader(features, 32, residence="stream", shuffle=True, window=512)
    threads, files, memory = [], [], []
    for epoch in range(cases(SETTLED + 6, 50)):
        loader.set_epoch(epoch)
        last = rng.randrange(len(loader) + 1)
        for number, _ in enumerate(loader):
            if number == last:
                break
        gc.collect()
        threads.append(process.num_threads())
        files.append(process.num_fds())
        memory.append(process.memory_info().rss)
    assert max(threads[SETTLED:]) <= max(threads[:SETTLED]), (SEED, threads)
    assert max(files[SETTLED:]) <= max(files[:SETTLED]), (SEED, files)
    assert memory[-1] - max(memory[:SETTLED]) < MOST_GROWTH, (SEED, memory)
    loader.set_epoch(0)
    rows = sorted(int(row) for batch in loader for row in batch.samples)
    assert rows == list(range(len(small)))
