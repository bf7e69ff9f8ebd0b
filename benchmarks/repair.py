"""Gain of `repair` (decision 56): one damaged object is restored with `repair`, or by another build without `repair`.

    python -m benchmarks.repair                        # demo recordings, 2,000 and 8,000 of them
    python -m benchmarks.repair --data ~/data/SSC      # the first recordings of real files

Without `repair`, a user undoes the commit: the user removes the manifest, and the record and the objects of the
damaged fragment. Then `pull` or `preprocess` resumes the build. Rounds are interleaved, each on a fresh copy of the
damaged set. The table has the bytes written, and the medians of CPU time (all threads), of wall time, and of the time
without a manifest, in which no reader can open the set.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, build, measure_each, target

ROUNDS = 5
DAMAGED = 1
"""Number of the damaged fragment."""


class Experiment:
    """One set, built with two different fragment sizes, and damaged copies of these builds."""

    def __init__(self, bench: Bench, recordings: int) -> None:
        from spikestore.pipeline.execution.schedulers import InProcess

        self._bench = bench
        self._wanted = target(bench, recordings)
        size = max(64, recordings // 8 // 64 * 64)
        self.intact = build(bench, self._wanted, InProcess(), fragment_samples=size)
        self.other_build = build(bench, self._wanted, InProcess(), fragment_samples=2 * size)

    def damaged(self, name: str) -> Any:
        """Return a copy of the set in which one object of fragment `DAMAGED` has a wrong bit.

        This object belongs to the array `name`; if `name` is ``record``, it is the fragment's record.
        """
        from spikestore.store.feature_set import FeatureSet
        from spikestore.store.storage import FolderStorage

        folder = self._bench.store()
        shutil.copytree(self.intact.storage.url, folder)
        path = folder / self._path(name)
        data = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        return FeatureSet.open(FolderStorage(folder), self.intact.address)

    def _path(self, name: str) -> str:
        if name == "record":
            return str(self.intact.address.record(self.intact.manifest.plan_id, DAMAGED))
        return f"{self.intact.data_path}/{name}/c/{DAMAGED}"

    def repair(self, features: Any, upstream: Any = None, *, recompute: bool = False) -> None:
        """Repair the set."""
        from spikestore.pipeline.building.recompute import rows_from_recordings
        from spikestore.store.upkeep.repair import repair

        rows = rows_from_recordings(features, self._bench.data.folder) if recompute else None
        left = repair(features, upstream=None if upstream is None else upstream.storage, rows=rows).left
        if left:
            raise SystemExit(f"not repaired: {left}")

    def take_back(self, features: Any) -> None:
        """Remove the manifest, and the record and the objects of the damaged fragment. The set is then an unfinished build."""
        from spikestore.store.upkeep.verify import verify

        if {damage.fragment for damage in verify(features)} != {DAMAGED}:  # found as repair finds it
            raise SystemExit("verify did not find the damage")
        features.storage.delete(features.address.manifest)
        features.storage.delete(self._path("record"))
        for name in features.manifest.layout.array_names:
            features.storage.delete(self._path(name))

    def pull(self, features: Any, upstream: Any) -> None:
        """Make the set an unfinished build (`take_back`), and complete it with copies from `upstream`, an intact build of the same set."""
        from spikestore.store.sharing.copy_set import copy_set

        self.take_back(features)
        copy_set(upstream, features.storage, label="set")

    def preprocess(self, features: Any) -> None:
        """Make the set an unfinished build (`take_back`), then resume the build from the recordings."""
        from spikestore.pipeline.building.feature_build import BuildRequest, build_features, open_build
        from spikestore.pipeline.execution.schedulers import InProcess

        self.take_back(features)
        begun = open_build(features.storage, self._wanted.located, self._wanted.transform, BuildRequest())
        build_features(
            begun, self._wanted.located, self._wanted.transform, InProcess(), progress=lambda *_: None
        )


def measure(bench: Bench, recordings: int) -> None:
    """Measure each way of repair on sets with this number of recordings, and print the results as a table."""
    experiment = Experiment(bench, recordings)
    intact, other = experiment.intact, experiment.other_build
    repair = experiment.repair
    ways: dict[str, tuple[str, Callable[[Any], None]]] = {
        "same build upstream: repair": ("index", lambda each: repair(each, intact)),
        "same build upstream: pull": ("index", lambda each: experiment.pull(each, intact)),
        "other build upstream: repair": ("index", lambda each: repair(each, other)),
        "other build upstream: pull": ("index", lambda each: experiment.pull(each, other)),
        "recordings: repair": ("index", lambda each: repair(each, recompute=True)),
        "recordings: preprocess": ("index", experiment.preprocess),
        "only a record is damaged: repair": ("record", repair),
        "only a record is damaged: preprocess": ("record", experiment.preprocess),
    }
    print(
        f"\n{recordings:,} recordings, {len(intact.manifest.fragments)} fragments, medians of {ROUNDS} interleaved rounds"
    )
    print(f"{'':<40}{'CPU ms':>8}{'wall ms':>9}{'absent ms':>11}{'written kB':>12}")
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, (damaged, way) in ways.items():
            result = once(experiment.damaged(damaged), way)
            if number:  # the first round compiles and fills caches
                results[name].append(result)
    for name, rounds in results.items():
        cpu, wall, absent, written = (statistics.median(each) for each in zip(*rounds, strict=True))
        print(f"{name:<40}{1e3 * cpu:>8.0f}{1e3 * wall:>9.0f}{1e3 * absent:>11.0f}{written / 1e3:>12,.0f}")


def once(features: Any, way: Callable[[Any], None]) -> tuple[float, ...]:
    """Restore a set. Return CPU time, wall time and the time without a manifest, in seconds; and the bytes written."""
    from spikestore.store.feature_set import FeatureSet

    root = Path(features.storage.url)
    before = {path: stamp(path) for path in root.rglob("*") if path.is_file()}
    deleted: list[float] = []
    delete = features.storage.delete

    class Watched(type(features.storage)):  # type: ignore[misc]
        """A storage that notes when the manifest is removed."""

        def delete(self, path: str) -> None:
            """Remove an object."""
            if path == features.address.manifest:
                deleted.append(time.perf_counter())
            delete(path)

    watched = FeatureSet.open(Watched(root), features.address)
    cpu, wall = time.process_time(), time.perf_counter()
    way(watched)
    end = time.perf_counter()
    cpu = time.process_time() - cpu
    written = sum(
        path.stat().st_size for path in root.rglob("*") if path.is_file() and before.get(path) != stamp(path)
    )
    return cpu, end - wall, end - deleted[0] if deleted else 0.0, float(written)


def stamp(path: Path) -> tuple[int, int]:
    """Return values that change if a file is written again."""
    return path.stat().st_ino, path.stat().st_mtime_ns


def main() -> None:
    """Run the benchmark with the demo's recordings, or with those in the folder after ``--data``."""
    measure_each(measure, __doc__)


if __name__ == "__main__":
    main()
