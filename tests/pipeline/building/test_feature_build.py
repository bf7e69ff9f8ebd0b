"""One complete build with special schedulers: order of fragments, reuse, errors, and plans of other versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.cochlea_files import CLASSES, draw, write_dataset, write_file

from spikestore.pipeline.building.feature_build import (
    BuildRequest,
    build_features,
    open_build,
)
from spikestore.pipeline.building.source_look import layout_of_source
from spikestore.pipeline.execution.jobs import Job, Result, Scheduler
from spikestore.pipeline.execution.schedulers import InProcess, Threads
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store.build import Build
from spikestore.store.columns.event_counts import EVENT_COLUMNS
from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import Progress
from spikestore.store.storage.folder import FolderStorage
from spikestore.store.store import Store
from spikestore.store_schemas.errors import ConflictError, LayoutError, RecordingError, StoreError, UsageError
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

TRANSFORM = Transform(
    operations=(ToFrame(sensor_size=(700, 1, 1), time_window=1e4, include_incomplete=True),), max_bins=200
)


@pytest.fixture
def located(tmp_path: Path) -> LocatedSource:
    """Return a training split of 230 recordings: four fragments of 64."""
    write_dataset(tmp_path / "data", "SSC")
    write_file(tmp_path / "data/SSC/ssc_train.h5", draw(230))
    return make_source("SSC", "train", tmp_path / "data", cache=tmp_path / "cache")


class Backwards(InProcess):
    """Builds the last fragment first, and some of them twice."""

    workers = 3

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Build fragments from the last to the first."""
        for fragment in reversed(numbers):
            job.run(fragment)
            yield job.run(fragment)


class Failing(InProcess):
    """Fails when it should build its last fragment."""

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Build all but the last."""
        yield from super().run(job, numbers[:-1])
        raise StoreError("out of luck")


class Lazy(InProcess):
    """Scheduler that builds nothing and raises no error."""

    def run(self, job: Job[Result], numbers: Sequence[int]) -> Iterator[Result]:
        """Build nothing."""
        return iter(())


def opened(folder: Path, located: LocatedSource, **request: Any) -> Build:
    build = BuildRequest(**{"fragment_samples": 64, **request})
    return open_build(FolderStorage(folder), located, TRANSFORM, build)


def silent(done: int, total: int, label: str) -> None:
    """Show no progress."""


def built(build: Build, located: LocatedSource, runs: Scheduler, progress: Progress = silent) -> FeatureSet:
    return build_features(build, located, TRANSFORM, runs, progress=progress)


def test_the_layout_of_a_source(located: LocatedSource) -> None:
    """Axes, classes and the event columns behind the file's own extras, without building anything."""
    layout = layout_of_source(located, TRANSFORM)
    assert layout.axes == ("time", "polarity", "x")
    assert layout.sites == (1, 700)
    assert layout.classes == CLASSES
    assert layout.extras == ("speaker", *EVENT_COLUMNS)


def test_without_recordings_or_with_another_sensor(tmp_path: Path, located: LocatedSource) -> None:
    """A file without recordings, and a sensor with y for recordings without y, are rejected before anything is written."""
    rows = Transform(operations=(ToFrame(sensor_size=(700, 2, 1), time_window=1e4),))
    with pytest.raises(UsageError, match="sensor_size"):
        layout_of_source(located, rows)
    write_file(tmp_path / "data/SSC/ssc_train.h5", [])
    empty = make_source("SSC", "train", tmp_path / "data", cache=tmp_path / "cache")
    with pytest.raises(LayoutError, match="has no recordings"):
        opened(tmp_path / "store", empty)
    assert not (tmp_path / "store").exists()


def test_order_and_repetition_of_tasks_do_not_matter(tmp_path: Path, located: LocatedSource) -> None:
    """Fragments built backwards and twice give the same digest; workers are in the provenance only."""
    plain = built(opened(tmp_path / "a", located), located, InProcess())
    other = built(opened(tmp_path / "b", located), located, Backwards())
    assert other.digest == plain.digest
    assert other.manifest.provenance["workers"] == 3
    assert other.manifest.provenance["reused_fragments"] == 0
    assert built(opened(tmp_path / "c", located), located, Threads(3)).digest == plain.digest


def test_progress_starts_where_an_earlier_run_stopped(tmp_path: Path, located: LocatedSource) -> None:
    """After a failure the finished fragments count as done, are reused, and only the rest is built."""
    store = tmp_path / "store"
    with pytest.raises(StoreError, match="out of luck"):
        built(opened(store, located), located, Failing())
    assert list(Store(store).feature_sets()) == []
    calls: list[tuple[int, int, str]] = []
    features = built(opened(store, located), located, InProcess(), lambda *call: calls.append(call))
    assert calls == [(192, 230, "SSC train"), (230, 230, "SSC train")]
    assert features.manifest.provenance["reused_fragments"] == 3
    assert features.digest == built(opened(tmp_path / "other", located), located, InProcess()).digest


def test_nothing_is_committed_unless_all_is_there(tmp_path: Path, located: LocatedSource) -> None:
    """A scheduler that silently loses its fragments does not get a manifest."""
    with pytest.raises(StoreError):
        built(opened(tmp_path / "store", located), located, Lazy())
    assert list(Store(tmp_path / "store").feature_sets()) == []


def test_a_build_is_joined_whatever_is_wished(tmp_path: Path, located: LocatedSource) -> None:
    """The first plan is used, whatever plan a later build requests; only a restart makes its own plan."""
    first = opened(tmp_path / "store", located)
    assert opened(tmp_path / "store", located, fragment_samples=128, workers=9).plan == first.plan
    assert opened(tmp_path / "store", located, restart=True).plan != first.plan


def test_a_plan_for_other_columns_is_refused(tmp_path: Path, located: LocatedSource) -> None:
    """A plan under the same keys but with other columns, as another version may write it, is not joined."""
    store = tmp_path / "store"
    build = opened(store, located)
    layout = build.plan.layout.model_copy(update={"classes": ("a", "b")})
    path = store / build.address.plan
    path.unlink()
    path.write_bytes(build.plan.model_copy(update={"layout": layout}).to_bytes())
    with pytest.raises(ConflictError, match="--restart"):
        opened(store, located)
    assert len(built(opened(store, located, restart=True), located, InProcess())) == 230


def test_an_error_of_a_recording_ends_the_build(tmp_path: Path, located: LocatedSource) -> None:
    """The error is raised unchanged."""
    few = TRANSFORM.model_copy(update={"max_bins": 5})
    build = open_build(FolderStorage(tmp_path / "store"), located, few, BuildRequest())
    with pytest.raises(RecordingError, match="max_bins"):
        build_features(build, located, few, InProcess(), progress=silent)
