"""Small synthetic feature sets, the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from obstore.store import MemoryStore

from spikestore.store import Build, FeatureSet, SampleColumns
from spikestore.store.storage import Storage
from spikestore.store.storage.objects import ObjectStorage
from spikestore.store_schemas import (
    Address,
    Layout,
    Plan,
    Source,
    SourceFile,
    ToFrame,
    Transform,
    layout_of,
    make_plan,
)
from spikestore.store_schemas.documents.record import SkippedRow

SITES = 10
BINS = 20


@dataclass(frozen=True)
class SmallSet:
    """Specs, and the samples that a build of them must have."""

    transform: Transform
    source: Source
    layout: Layout
    n_events: npt.NDArray[np.int64]
    truth: SampleColumns
    skipped: tuple[int, ...]

    @property
    def address(self) -> Address:
        """Address of the set."""
        return Address(self.transform.key, self.source.key)

    def __len__(self) -> int:
        return len(self.truth)

    def plan(self, fragment_samples: int = 64) -> Plan:
        """Return a plan with fragments of this many rows."""
        return make_plan(
            self.transform, self.source.key, self.layout, self.n_events, fragment_samples=fragment_samples
        )

    def put(self, build: Build, fragment: int) -> None:
        """Store one fragment of a build."""
        rows = build.plan.rows(fragment)
        skipped = [SkippedRow(row=row, reason="unsorted times") for row in self.skipped if row in rows]
        build.put_fragment(fragment, self.truth.rows(rows.start, rows.stop), skipped=skipped)

    def build(
        self,
        storage: Storage,
        fragment_samples: int = 64,
        *,
        restart: bool = False,
        after_joining: Callable[[], None] = lambda: None,
    ) -> FeatureSet:
        """Build the set, from the first look at the store to the commit."""
        build = Build.join_or_start(
            storage, self.address, lambda: self.plan(fragment_samples), restart=restart
        )
        after_joining()
        for fragment in build.unfinished():
            self.put(build, fragment)
        return build.commit(self.transform, self.source, {"built_by": "a test"})


def small_set(
    samples: int = 170,
    *,
    seed: int = 0,
    time_window: float = 4000.0,
    split: str = "train",
    extras: tuple[str, ...] = ("n_events",),
    silent: range = range(64, 128),
    skipped: tuple[int, ...] = (3, 130),
) -> SmallSet:
    """Return a small set: some rows are empty, some are skipped, and rows `silent` have no non-zeros."""
    transform = Transform(operations=(ToFrame(sensor_size=(SITES, 1, 1), time_window=time_window),))
    files = (SourceFile(name=f"{split}.h5", size=seed, sha256="0" * 64),)
    source = Source(reader="cochlea-hdf5", reader_version=1, dataset="SSC", split=split, files=files)
    layout = layout_of(transform, has_y=False, classes=("yes", "no"), extras=extras)
    skipped = tuple(row for row in skipped if row < samples)
    rng = np.random.default_rng(seed)
    nnz = rng.integers(1, 60, samples)
    nnz[::7] = 0
    nnz[[row for row in silent if row < samples]] = 0
    nnz[list(skipped)] = 0
    n_bins = rng.integers(8, BINS, samples)
    n_bins[list(skipped)] = 0
    label = rng.integers(0, 2, samples)
    label[list(skipped)] = -1
    n_events = nnz * 3
    index = [np.sort(rng.choice(n * SITES, k, replace=False)) for n, k in zip(n_bins, nnz, strict=True)]
    truth = SampleColumns(
        index=np.concatenate(index),
        value=rng.geometric(0.4, int(nnz.sum())),
        nnz=nnz,
        n_bins=n_bins,
        label=label,
        extras={name: n_events if name == "n_events" else np.zeros(samples, np.int64) for name in extras},
    )
    return SmallSet(transform, source, layout, n_events, truth.as_stored(layout), skipped)


def memory_storage(name: str = "test") -> ObjectStorage:
    """Return an empty store in memory, which runs the same code as buckets."""
    return ObjectStorage(MemoryStore(), f"memory://{name}")


def files_of(root: Path) -> list[str]:
    """Return the paths of all files of a folder store, sorted, also of incomplete ones."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def same(found: SampleColumns, truth: SampleColumns, start: int = 0, stop: int | None = None) -> bool:
    """Return whether `found` equals rows `start` to `stop` of `truth` in all columns, dtypes included."""
    expected = truth.rows(start, len(truth) if stop is None else stop)
    names = ("index", "value", "nnz", "n_bins", "label")
    pairs = [(getattr(found, name), getattr(expected, name)) for name in names]
    pairs += [(found.extras[name], expected.extras[name]) for name in expected.extras]
    return found.extras.keys() == expected.extras.keys() and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs
    )
