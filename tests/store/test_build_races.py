"""Several builders of one feature set: one manifest and the right digest for any order of their steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import memory_storage, same, small_set
from tests.store.watched_storage import Crashing, WatchedStorage, interleave

from spikestore.store import Build, FeatureSet, Store, verify
from spikestore.store.storage import FolderStorage, Storage

SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))
DIGEST = SMALL.build(memory_storage()).digest


def assert_one_set(storage: Storage, returned: list[FeatureSet]) -> None:
    """Assert that there is one manifest, which every builder returned, with the digest of an undisturbed build."""
    (committed,) = Store(storage).feature_sets()
    assert committed.digest == DIGEST
    assert same(committed.read(), SMALL.truth)
    assert verify(committed, depth="deep") == []
    assert [features.manifest for features in returned] == [committed.manifest] * len(returned)


def builder(wish: int, *, restart: bool = False) -> Callable[[Storage], FeatureSet]:
    """Return a job that builds with these options."""
    return lambda storage: SMALL.build(storage, wish, restart=restart)


@given(st.lists(st.integers(0, 1), max_size=80), st.booleans(), st.booleans())
@settings(max_examples=examples(30))
def test_any_interleaving_of_two_builders(
    order: list[int], first_restarts: bool, second_restarts: bool
) -> None:
    """Two builders with different plans, each perhaps with a restart, in any order of storage operations."""
    storage = memory_storage()
    jobs = [builder(64, restart=first_restarts), builder(128, restart=second_restarts)]
    results = interleave(storage, order, jobs)
    assert_one_set(storage, [one for one in results if isinstance(one, FeatureSet)])
    assert not [one for one in results if isinstance(one, BaseException)]


def test_a_restart_at_every_moment_of_a_running_build() -> None:
    """A restart that runs from beginning to end at any moment of another build harms neither."""
    watch = Crashing()
    SMALL.build(WatchedStorage(memory_storage(), watch))
    for moment in range(len(watch.verbs)):
        storage = memory_storage()
        results = interleave(storage, [0] * moment + [1] * 99, [builder(64), builder(64, restart=True)])
        assert_one_set(storage, [one for one in results if isinstance(one, FeatureSet)])
        assert len([one for one in results if isinstance(one, FeatureSet)]) == 2


@pytest.mark.parametrize("wishes", [(64, 64, 64, 64), (64, 128, 64, 128)], ids=["same-wish", "other-wishes"])
def test_builders_in_threads(tmp_path: Path, wishes: tuple[int, ...]) -> None:
    """Four builders that start at the same time in a folder use one plan and commit one set."""
    storage = FolderStorage(tmp_path)
    start, joined = threading.Barrier(len(wishes)), threading.Barrier(len(wishes))

    def meet() -> None:
        joined.wait(60)

    def run(wish: int) -> FeatureSet:
        start.wait(60)
        return SMALL.build(storage, wish, after_joining=meet)

    with ThreadPoolExecutor(len(wishes)) as pool:
        returned = [*pool.map(run, wishes)]
    assert_one_set(storage, returned)
    assert len(storage.folders(f"{SMALL.address.folder}/builds")) == 1


def test_a_late_builder_returns_the_committed_set() -> None:
    """A builder that restarted and finishes second returns the existing manifest, and does not replace it."""
    storage = memory_storage()
    first = Build.join_or_start(storage, SMALL.address, lambda: SMALL.plan(64))
    SMALL.put(first, 0)
    second = Build.join_or_start(storage, SMALL.address, lambda: SMALL.plan(128), restart=True)
    for fragment in second.unfinished():
        SMALL.put(second, fragment)
    for fragment in first.unfinished():
        SMALL.put(first, fragment)
    winner = first.commit(SMALL.transform, SMALL.source, {"who": "first"})
    loser = second.commit(SMALL.transform, SMALL.source, {"who": "second"})
    assert winner.manifest.provenance == loser.manifest.provenance == {"who": "first"}
    assert_one_set(storage, [winner, loser])


def test_a_restart_that_got_no_further() -> None:
    """A build whose plan was deleted by a restart that crashed puts the plan back when it commits."""
    storage = memory_storage()
    running = Build.join_or_start(storage, SMALL.address, SMALL.plan)
    for fragment in running.unfinished():
        SMALL.put(running, fragment)
    storage.delete(SMALL.address.plan)
    features = running.commit(SMALL.transform, SMALL.source, {})
    assert storage.get(SMALL.address.plan) == running.plan.to_bytes()
    assert_one_set(storage, [features])
