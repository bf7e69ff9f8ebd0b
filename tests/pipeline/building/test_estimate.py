"""The estimate of a build is close to the real time and size, and writes nothing to the store."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, write_dataset, write_file
from tests.pipeline.event_files import pack
from tests.pipeline.folders import EVENT, recipe_for, save
from tests.pipeline.folders import draw as draw_events
from tests.pipeline.growing.growing_folders import grown

from spikestore.pipeline.building.estimate import SAMPLED, estimate
from spikestore.pipeline.building.feature_build import BuildRequest, build_features, open_build
from spikestore.pipeline.building.reuse import Reuse
from spikestore.pipeline.execution.schedulers import InProcess
from spikestore.pipeline.recipes.requested_sets import RequestedSet
from spikestore.pipeline.recipes.resolve import OpenedRecipe
from spikestore.pipeline.sources.source_files import LocatedSource, make_source
from spikestore.store import Store
from spikestore.store.storage.folder import FolderStorage
from spikestore.store_schemas.documents.zarr_metadata import SHARD_MULTIPLE
from spikestore.store_schemas.errors import LayoutError, RecordingError
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

TRANSFORM = Transform(
    operations=(ToFrame(sensor_size=(700, 1, 1), time_window=1e4, include_incomplete=True),)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an SSC."""
    write_dataset(tmp_path / "data", "SSC")
    return tmp_path


def source(folder: Path, count: int, longest: int = 400) -> LocatedSource:
    write_file(folder / "data/SSC/ssc_train.h5", draw(count, longest=longest))
    return make_source("SSC", "train", folder / "data", cache=folder / "cache")


def wanted(located: LocatedSource, transform: Transform = TRANSFORM) -> RequestedSet:
    return RequestedSet("train", located, transform)


def test_size_and_fragments_are_those_of_the_build(folder: Path) -> None:
    """Bytes within a third of what the build stores, fragments exactly; nothing is written meanwhile."""
    located = source(folder, 520)
    storage = FolderStorage(folder / "store")
    cost = estimate(storage, wanted(located), workers=2)
    assert not (folder / "store").exists()
    build = open_build(storage, located, TRANSFORM, BuildRequest(workers=2))
    features = build_features(build, located, TRANSFORM, InProcess(), progress=lambda *_: None)
    stored = sum(entry.size for entry in storage.list(features.data_path) if "/c/" in entry.path)
    assert (cost.recordings, cost.fragments) == (520, build.plan.fragments)
    assert cost.stored_bytes == pytest.approx(stored, rel=0.35)
    assert cost.workers == 2


def test_more_workers_than_fragments_do_not_help(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is divided by the number of fragments that can run at once, and scaled by events, not by recordings."""
    located = source(folder, 60)
    moments = iter(np.arange(0.0, 100.0, 1.0))
    monkeypatch.setattr(
        "spikestore.pipeline.building.estimate.time.perf_counter", lambda: float(next(moments))
    )
    one, many = (estimate(FolderStorage(folder / "store"), wanted(located), workers=w) for w in (1, 64))
    assert (one.seconds, many.seconds) == (1.0, 1.0)
    assert (one.fragments, many.workers) == (1, 64)
    longer = draw(SAMPLED, longest=10) + draw(4 * SAMPLED, seed=1, longest=300)
    path = write_file(folder / "data/SSC/ssc_train.h5", longer)
    scaled = estimate(
        FolderStorage(folder / "store"),
        wanted(make_source("SSC", "train", path.parent, cache=folder / "cache")),
        workers=1,
    )
    events = [len(times) for times, _ in longer]
    assert scaled.seconds == pytest.approx(sum(events) / sum(events[:SAMPLED]))


def test_recordings_without_events(folder: Path) -> None:
    """The estimate also works for a source of empty recordings."""
    nothing = (np.zeros(0, np.float16), np.zeros(0, np.uint16))
    write_file(folder / "data/SSC/ssc_train.h5", [nothing] * 3)
    located = make_source("SSC", "train", folder / "data", cache=folder / "cache")
    assert estimate(FolderStorage(folder / "store"), wanted(located), workers=1).recordings == 3


def test_what_would_fail_fails(folder: Path) -> None:
    """Missing recordings, or an invalid one among those that are tried, are reported by the estimate, and not after hours."""
    with pytest.raises(LayoutError):
        estimate(FolderStorage(folder / "store"), wanted(source(folder, 0)), workers=1)
    few = TRANSFORM.model_copy(update={"max_bins": 3})
    with pytest.raises(RecordingError, match="max_bins"):
        estimate(FolderStorage(folder / "store"), wanted(source(folder, 9), few), workers=1)


def test_rows_of_stored_sets_take_less_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored recording takes a fifth of the time of a new one; the estimated size of the set is the same."""
    monkeypatch.setattr(
        "spikestore.pipeline.building.estimate.time.perf_counter", itertools.count(0.0, 1.0).__next__
    )
    data, store = tmp_path / "data", Store(tmp_path / "store")
    for number in range(100):
        save(data / f"{'ab'[number % 2]}/{number}.npy", draw_events(number))
    requested = OpenedRecipe.open(recipe_for(data)).requested_sets
    grown(data, tmp_path / "store", fragment_samples=64)
    for number in range(100, 110):
        save(data / f"{'ab'[number % 2]}/{number}.npy", draw_events(number))
    (one,) = requested()
    assert isinstance(one, RequestedSet)
    fresh, growing = (
        estimate(store.storage, one, workers=1, reuse=Reuse(store, "mine", enabled=enabled))
        for enabled in (False, True)
    )
    assert (fresh.reused, growing.reused, growing.recordings) == (0, 100, 110)
    assert 0.2 < growing.seconds / fresh.seconds < 0.4
    assert growing.stored_bytes == fresh.stored_bytes


def test_recordings_that_have_more_events_than_the_size_of_their_files_suggests(tmp_path: Path) -> None:
    """Compressed files may have several times as many; the build has room for them, and so has the sample of the estimate."""
    events = np.zeros(8000, EVENT)
    events["t"] = np.arange(8000) * 1000
    for number in range(40):
        events["x"] = number % 16
        (tmp_path / "data/a").mkdir(parents=True, exist_ok=True)
        columns = {name: events[name] for name in ("t", "x", "y", "p")}
        np.savez_compressed(tmp_path / f"data/a/{number}.npz", allow_pickle=False, **columns)
    (split,) = OpenedRecipe.open(recipe_for(tmp_path / "data")).requested_sets()
    assert isinstance(split, RequestedSet)
    cost = estimate(FolderStorage(tmp_path / "store"), split, workers=1)
    features = grown(tmp_path / "data", tmp_path / "store")["all"]
    assert features.manifest.nnz > SHARD_MULTIPLE
    assert cost.recordings == len(features) == 40


@pytest.mark.parametrize(("suffix", "spare"), [("bin", 1), ("npy", 16)])
def test_only_sizes_that_may_be_too_small_cost_room(tmp_path: Path, suffix: str, spare: int) -> None:
    """An event of a .bin file takes exactly five bytes, so the plan needs no room for more events."""
    events = np.zeros(2000, EVENT)
    events["t"] = np.arange(2000) * 1000
    for number in range(40):
        events["x"] = number % 16
        if suffix == "bin":
            (tmp_path / "data/a").mkdir(parents=True, exist_ok=True)
            columns = [events[name].astype(np.int64) for name in ("x", "y", "p", "t")]
            (tmp_path / f"data/a/{number}.bin").write_bytes(pack(np.stack(columns, axis=1)))
        else:
            save(tmp_path / f"data/a/{number}.npy", events)
    (split,) = OpenedRecipe.open(recipe_for(tmp_path / "data")).requested_sets()
    assert isinstance(split, RequestedSet)
    with split.located.open() as reader:
        assert reader.estimates_events is (spare == 16)
        room = spare * int(reader.n_events().sum())
    assert room > (SHARD_MULTIPLE if spare == 16 else 0)
    features = grown(tmp_path / "data", tmp_path / "store")["all"]
    assert features.manifest.shard_values == max(1, -(-room // SHARD_MULTIPLE)) * SHARD_MULTIPLE
