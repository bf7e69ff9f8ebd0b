"""Random samples, and the throughput of building batches from them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BATCH, SAMPLES, CLASSES = 128, 2048, 10
GPU_EPOCHS = 10
"""Number of epochs that a GPU runs at a time, because one epoch takes only a few milliseconds."""


@dataclass(frozen=True)
class Shape:
    """Number of time bins of samples, sizes of the axes after time, and the share of filled cells."""

    bins: int
    sites: tuple[int, ...]
    density: float


SSC = Shape(bins=250, sites=(1, 100), density=0.02)


def columns(shape: Shape) -> Any:
    """Return random samples as packed columns."""
    from spikestore.train import PackedColumns

    random = np.random.default_rng(0)
    cells = shape.bins * int(np.prod(shape.sites))
    counts = random.binomial(cells, shape.density, SAMPLES)
    index = [np.sort(random.choice(cells, count, replace=False)) for count in counts]
    return PackedColumns(
        index=np.concatenate(index).astype(np.uint16),
        value=random.integers(1, 4, int(counts.sum())).astype(np.uint8),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        n_bins=np.full(SAMPLES, shape.bins, np.int32),
        label=random.integers(0, CLASSES, SAMPLES),
        rows=np.arange(SAMPLES),
        extras={},
        set_rows=SAMPLES,
        sites=shape.sites,
        classes=tuple(map(str, range(CLASSES))),
        digest="",
    )


class Bench:
    """Builds epochs of batches as `FeatureLoader` does: on the CPU in reused buffers, on a GPU from columns in the GPU's memory."""

    def __init__(self, shape: Shape, threads: int = 2, device: str = "cpu") -> None:
        self.columns = columns(shape)
        self.threads = threads
        self.device = device

    def throughput(self, augment: Any, samples: int = SAMPLES) -> float:
        """Return the throughput of the first `samples` samples of an epoch, in samples/s; on a GPU, of `GPU_EPOCHS` whole epochs."""
        if self.device == "cuda":
            return self._on_a_gpu(augment)
        import torch

        from spikestore.store.concurrency import DaemonThreads
        from spikestore.train.data.frames.collate import Assembly
        from spikestore.train.data.frames.padding import Padding
        from spikestore.train.data.frames.sample_pointers import host_pointers
        from spikestore.train.data.frames.step_augmentation import Augmentations

        own, threads = Augmentations(augment, CLASSES), self.threads
        assembly = Assembly(torch.device("cpu"), "dense", Padding(), own, None, reuse=True, threads=threads)
        order = np.random.default_rng(1).permutation(SAMPLES)
        with DaemonThreads(self.threads, "benchmark") as pool:
            assembly.make(host_pointers(self.columns, order[:BATCH]), 0, pool).taken()  # compiles
            began = time.perf_counter()
            for first in range(0, samples, BATCH):
                assembly.make(host_pointers(self.columns, order[first : first + BATCH]), 0, pool).taken()
            return samples / (time.perf_counter() - began)

    def _on_a_gpu(self, augment: Any) -> float:
        import torch

        from spikestore.train.data.device_samples import TensorColumns
        from spikestore.train.data.frames.collate import Assembly
        from spikestore.train.data.frames.padding import Padding
        from spikestore.train.data.frames.step_augmentation import Augmentations

        device, own = torch.device("cuda"), Augmentations(augment, CLASSES)
        assembly = Assembly(device, "dense", Padding(), own, None, reuse=True, threads=self.threads)
        held = TensorColumns(self.columns, device)
        order, edges = np.random.default_rng(1).permutation(SAMPLES), np.arange(0, SAMPLES + 1, BATCH)

        def epoch() -> None:
            for batch in held.batches(order, edges):
                assembly.make(batch, 0, None).taken()
            torch.cuda.synchronize()

        epoch()  # compiles
        began = time.perf_counter()
        for _ in range(GPU_EPOCHS):
            epoch()
        return GPU_EPOCHS * SAMPLES / (time.perf_counter() - began)

    def dense(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the dense frames of a batch, and its labels in one-hot form, float32 (samples, classes)."""
        import torch

        from spikestore.train.data.device_samples import TensorColumns

        batch = TensorColumns(self.columns).gather(torch.arange(BATCH)).batch()
        return batch.frames.numpy(), np.eye(CLASSES, dtype=np.float32)[batch.labels.numpy()]
