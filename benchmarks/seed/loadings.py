"""Ways of loading the same samples. All yield shuffled, dense batches on the device, without a smaller last batch.

Some ways are those of the blog post in docs/seed.md: a DataLoader with ``PadTensors`` and persistent worker processes, and a list
of sparse tensors on the device, without workers. The other ways are the residences of spikestore's loader, and ``nothing``, which
repeats one batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from benchmarks.bench import Bench as Raw
from benchmarks.bench import build, target, tonic_dataset

WORKERS = 2
"""Number of worker processes of the peers, and of threads of our loader."""

Batches = Callable[[], Iterator[tuple[Any, Any]]]
"""Called without arguments; returns an iterator over one epoch of pairs (frames, labels)."""


@dataclass
class Loadings:
    """The data in the form that each way of loading needs; each form is made once.

    Attributes
    ----------
    raw : Raw
        The recordings, and a folder for the feature set and for Tonic's cache.
    samples : int
        Number of recordings to use, from the beginning of the split in `raw`.
    batch : int
        Number of samples in a batch.
    device : torch.device
        Device of the batches.
    """

    raw: Raw
    samples: int
    batch: int
    device: Any
    _made: dict[tuple[str, int], Batches] = field(default_factory=dict)

    def batches(self, way: str, count: int) -> Batches:
        """Return a function that begins a shuffled epoch and yields `count` batches, loaded in a way of `WAYS`."""
        if (way, count) not in self._made:
            samples = self.samples if count == self.samples // self.batch else count * self.batch
            self._made[way, count] = WAYS[way](self, samples)
        return self._made[way, count]

    @cached_property
    def features(self) -> Any:
        """The feature set of the samples, built when it is first used."""
        from spikestore.pipeline.execution.schedulers import InProcess

        return build(self.raw, target(self.raw, self.samples), InProcess())

    @cached_property
    def raw_dataset(self) -> Any:
        """Tonic's data set, which makes the frames of a recording at every access."""
        return tonic_dataset(self.raw)

    @cached_property
    def cache(self) -> Any:
        """Tonic's cache on disk, filled."""
        import tonic
        from torch.utils.data import DataLoader, Subset

        cached = tonic.DiskCachedDataset(self.raw_dataset, cache_path=tempfile.mkdtemp(dir=self.raw.scratch))
        first = Subset(cached, range(self.samples))
        for _ in DataLoader(first, batch_size=32, num_workers=WORKERS, collate_fn=lambda samples: None):
            pass
        return cached

    @cached_property
    def tensors(self) -> list[tuple[Any, Any]]:
        """All samples as in the blog post of docs/seed.md: for each sample, a sparse tensor (time, x) and a label, on the device."""
        found = []
        for frames, labels in self.workers(self.cache, self.samples, drop_last=False, shuffle=False):
            found += [
                (one.squeeze().to_sparse().coalesce().to(self.device), label.byte().to(self.device))
                for one, label in zip(frames, labels, strict=True)
            ]
        return found

    def workers(self, dataset: Any, samples: int, **more: Any) -> Any:
        """Return a DataLoader over the first `samples` samples, as in the blog post (docs/seed.md). Its worker processes stay from epoch to epoch."""
        import tonic
        from torch.utils.data import DataLoader, Subset

        return DataLoader(
            Subset(dataset, range(samples)),
            batch_size=self.batch,
            collate_fn=tonic.collation.PadTensors(batch_first=True),
            pin_memory=self.device.type == "cuda",
            num_workers=WORKERS,
            persistent_workers=True,
            **{"shuffle": True, "drop_last": True, **more},
        )


def _from_workers(dataset: Callable[[Loadings], Any]) -> Callable[[Loadings, int], Batches]:
    def way(all_ways: Loadings, samples: int) -> Batches:
        loader = all_ways.workers(dataset(all_ways), samples)

        def epoch() -> Iterator[tuple[Any, Any]]:
            for frames, labels in loader:
                yield frames.to(all_ways.device), labels.to(all_ways.device)

        return epoch

    return way


def _sparse_list(all_ways: Loadings, samples: int) -> Batches:
    import tonic
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        all_ways.tensors[:samples],  # type: ignore[arg-type]
        batch_size=all_ways.batch,
        shuffle=True,
        drop_last=True,
        collate_fn=tonic.collation.PadTensors(batch_first=True),
    )

    def epoch() -> Iterator[tuple[Any, Any]]:
        for frames, labels in loader:
            yield frames.to_dense(), labels

    return epoch


def _from_store(residence: Any) -> Callable[[Loadings, int], Batches]:
    def way(all_ways: Loadings, samples: int) -> Batches:
        import numpy as np

        from spikestore.train import FeatureLoader

        loader = FeatureLoader(
            all_ways.features,
            all_ways.batch,
            residence,
            shuffle=True,
            device=all_ways.device,
            drop_last=True,
            rows=np.arange(samples),
            threads=WORKERS,
        )

        def epoch() -> Iterator[tuple[Any, Any]]:
            for batch in loader:
                yield batch.frames, batch.labels

        return epoch

    return way


def _nothing(all_ways: Loadings, samples: int) -> Batches:
    frames, labels = next(_from_store("host")(all_ways, all_ways.batch)())
    frames = frames.clone()

    def epoch() -> Iterator[tuple[Any, Any]]:
        for _ in range(samples // all_ways.batch):
            yield frames, labels

    return epoch


WAYS: dict[str, Callable[[Loadings, int], Batches]] = {
    "naive": _from_workers(lambda all_ways: all_ways.raw_dataset),
    "disk_cached": _from_workers(lambda all_ways: all_ways.cache),
    "sparse_list": _sparse_list,
    "stream": _from_store("stream"),
    "host": _from_store("host"),
    "device": _from_store("device"),
    "nothing": _nothing,
}
"""Ways of loading by name; see `Loadings.batches`. ``nothing`` yields the same batch again and again, to time only the network."""


def at_once(way: str) -> int:
    """Return how many batches a way of loading makes at the same time at the start of an epoch: one per worker process, or 1 without them."""
    return WORKERS if way in ("naive", "disk_cached") else 1
