"""Data sets of cameras, against Tonic's `DiskCachedDataset`: the speed of filling it, its size, and the speed of reading it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.datasets.layouts import GESTURE, NMNIST, Layout
from benchmarks.datasets.scale import Scale
from benchmarks.datasets.written import WORKERS, Written, bytes_below, written
from benchmarks.form import Row, compare, timed
from benchmarks.preprocess.builds import timed_on_clean_disk


def nmnist_tonic_filling(scale: Scale) -> Row:
    """N-MNIST: recordings/s of a build with two workers that already run, divided by the recordings/s of filling Tonic's cache with two workers."""
    return _filling(scale, NMNIST, Row("nmnist_tonic_filling: build vs filling DiskCachedDataset", 10))


def gesture_tonic_filling(scale: Scale) -> Row:
    """DVSGesture: the same comparison as `nmnist_tonic_filling`."""
    return _filling(scale, GESTURE, Row("gesture_tonic_filling: build vs filling DiskCachedDataset", 10))


def nmnist_tonic_bytes(scale: Scale) -> Row:
    """N-MNIST: bytes of the store, divided by the bytes of Tonic's cache."""
    return _bytes(scale, NMNIST, Row("nmnist_tonic_bytes: store ÷ DiskCachedDataset", 0.2, better="lower"))


def gesture_tonic_bytes(scale: Scale) -> Row:
    """DVSGesture: bytes of the store, divided by the bytes of Tonic's cache."""
    return _bytes(scale, GESTURE, Row("gesture_tonic_bytes: store ÷ DiskCachedDataset", 0.2, better="lower"))


def nmnist_tonic_loading(scale: Scale) -> Row:
    """N-MNIST: rate of loading dense batches, divided by the rate of a DataLoader of Tonic's warm cache, with two workers and `PadTensors`."""
    return _loading(scale, NMNIST, Row("nmnist_tonic_loading: loader vs warm DiskCachedDataset", 10))


def gesture_tonic_loading(scale: Scale) -> Row:
    """DVSGesture: dense batches, against Tonic's warm cache with two workers and `PadTensors`."""
    return _loading(scale, GESTURE, Row("gesture_tonic_loading: loader vs warm DiskCachedDataset", 10))


class _Filling:
    """Data set that fills a cache item by item. It returns only the index of each item, so that a worker does not send the frames."""

    def __init__(self, cached: Any) -> None:
        self._cached = cached

    def __len__(self) -> int:
        return len(self._cached)

    def __getitem__(self, item: int) -> int:
        self._cached[item]
        return item


def _cache(data: Written, folder: Path) -> Any:
    import tonic

    return tonic.DiskCachedDataset(data.layout.tonic_dataset(data.save_to), cache_path=str(folder))


def _fill(cached: Any) -> None:
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    for _ in DataLoader(_Filling(cached), batch_size=None, num_workers=WORKERS):  # type: ignore[arg-type]
        pass


def _filling(scale: Scale, layout: Layout, row: Row) -> Row:
    from spikestore.pipeline.execution.schedulers import open_scheduler

    with written(scale, layout) as data, open_scheduler(WORKERS) as scheduler:
        transform = layout.transform()
        data.build(transform, scheduler)

        def ours() -> float:
            return data.count / timed_on_clean_disk(lambda: data.build(transform, scheduler))

        def peer() -> float:
            cached = _cache(data, data.new_folder("cache"))
            return data.count / timed_on_clean_disk(lambda: _fill(cached))

        return compare(row, ours, peer, unit="recordings/s")


def _bytes(scale: Scale, layout: Layout, row: Row) -> Row:
    with written(scale, layout) as data:
        store = Path(data.built().storage.url)
        _fill(_cache(data, data.folder / "cache"))
        sizes = bytes_below(store), bytes_below(data.folder / "cache")
    row.ratios = [sizes[0] / sizes[1]]
    row.ours, row.peer = {"bytes": sizes[0]}, {"bytes": sizes[1]}
    return row


def _loading(scale: Scale, layout: Layout, row: Row) -> Row:
    import tonic
    from torch.utils.data import DataLoader

    with written(scale, layout) as data:
        ours = epochs_of(data)
        cached = _cache(data, data.folder / "cache")
        _fill(cached)
        loader: Any = DataLoader(
            cached,
            batch_size=layout.batch,
            shuffle=True,
            num_workers=WORKERS,
            persistent_workers=True,
            collate_fn=tonic.collation.PadTensors(batch_first=True),
        )

        def peer() -> float:
            return data.count / timed(lambda: [None for _ in loader])

        peer()
        return compare(row, ours, peer, unit="samples/s")


def epochs_of(data: Written) -> Callable[[], float]:
    """Return a function that goes through an epoch of our loader and returns samples/s."""
    from spikestore.train import FeatureLoader

    loader = FeatureLoader(
        data.built(), data.layout.batch, "host", shuffle=True, threads=min(WORKERS, os.cpu_count() or 1)
    )

    def epoch() -> float:
        return data.count / timed(lambda: [None for _ in loader])

    epoch()
    return epoch
