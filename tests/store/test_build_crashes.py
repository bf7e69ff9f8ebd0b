"""A build that crashes at any time leaves a complete set or none, and the next build completes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import SmallSet, memory_storage, same, small_set
from tests.store.watched_storage import Crash, Crashing, WatchedStorage

from spikestore.store import Store, verify
from spikestore.store.storage import FolderStorage, Storage

# Two fragments of 64 rows, the second one short and without non-zeros; or one of 128.
SMALL = small_set(70, extras=(), silent=range(64, 70), skipped=(3,))
FIRST_WISH, OTHER_WISH = 64, 128


def _undisturbed() -> tuple[str, list[tuple[str, str]]]:
    watch = Crashing()
    digest = SMALL.build(WatchedStorage(memory_storage(), watch), FIRST_WISH).digest
    return digest, watch.verbs


DIGEST, VERBS = _undisturbed()


@dataclass(frozen=True)
class Resumption:
    """Differences of the run after the crash from the run before."""

    wish: int = FIRST_WISH
    restart: bool = False


def crash(storage: Storage, small: SmallSet, watch: Crashing, resumption: Resumption) -> None:
    """Build until the crash."""
    with pytest.raises(Crash):
        small.build(WatchedStorage(storage, watch), resumption.wish, restart=resumption.restart)


def assert_whole(storage: Storage) -> None:
    """Assert that the store has exactly the undisturbed set, and that a deep verify finds no damage."""
    (found,) = Store(storage).feature_sets()
    assert found.digest == DIGEST
    assert verify(found, depth="deep") == []
    assert same(found.read(), SMALL.truth)


def test_the_verbs_of_a_build() -> None:
    """The plan comes first, a record after its fragment's objects, the manifest last of all puts."""
    puts = [path.removeprefix(SMALL.address.folder) for verb, path in VERBS if verb == "put"]
    assert puts[0] == "/plan.json"
    assert puts[-1] == "/manifest.json"
    records = [place for place, path in enumerate(puts) if "/records/" in path]
    chunks = [place for place, path in enumerate(puts) if "/c/" in path]
    assert len(records) == 2
    assert [sum(place < record for place in chunks) for record in records] == [7, 7 + 5]
    assert [verb for verb, _ in VERBS[-2:]] == ["list", "put"]


@pytest.mark.parametrize(
    "resumption",
    [
        Resumption(),
        pytest.param(Resumption(wish=OTHER_WISH), marks=pytest.mark.slow),
        pytest.param(Resumption(restart=True), marks=pytest.mark.slow),
        Resumption(OTHER_WISH, restart=True),
    ],
    ids=["same-wish", "other-wish", "restart", "restart-with-other-wish"],
)
def test_crash_at_every_verb(resumption: Resumption) -> None:
    """After a crash at any storage operation no set is listed, and the next run ends in the same digest."""
    for at, (verb, path) in enumerate(VERBS, 1):
        storage = memory_storage()
        crash(storage, SMALL, Crashing(at), Resumption())
        committed = path == SMALL.address.manifest
        assert len([*Store(storage).feature_sets()]) == committed, (verb, path)
        features = SMALL.build(storage, resumption.wish, restart=resumption.restart)
        assert features.digest == DIGEST, (verb, path)
        assert_whole(storage)


def test_resuming_reuses_finished_fragments() -> None:
    """A fragment with a record is not stored again, even if another fragment size is requested."""
    storage = memory_storage()
    first_record = next(
        place for place, (_, path) in enumerate(VERBS, 1) if path.endswith("records/00000.json")
    )
    crash(storage, SMALL, Crashing(first_record), Resumption())
    watch = Crashing()
    SMALL.build(WatchedStorage(storage, watch), OTHER_WISH)
    assert not [path for verb, path in watch.verbs if verb == "put" and path.endswith("/c/0")]
    assert [path for verb, path in watch.verbs if verb == "put" and path.endswith("/c/1")]


def test_a_restart_reuses_nothing() -> None:
    """A restart stores every fragment again, in its own folder, even with the same plan."""
    storage = memory_storage()
    crash(storage, SMALL, Crashing(len(VERBS) - 1), Resumption())
    watch = Crashing()
    SMALL.build(WatchedStorage(storage, watch), FIRST_WISH, restart=True)
    assert len([path for verb, path in watch.verbs if verb == "put" and "/records/" in path]) == 2
    assert len(storage.folders(f"{SMALL.address.folder}/builds")) == 2
    assert_whole(storage)


@given(
    st.lists(
        st.tuples(
            st.integers(1, len(VERBS)),
            st.builds(Resumption, st.sampled_from([FIRST_WISH, OTHER_WISH]), st.booleans()),
        ),
        min_size=2,
        max_size=5,
    )
)
@settings(max_examples=examples(15))
def test_crash_after_crash(crashes: list[tuple[int, Resumption]]) -> None:
    """After any series of runs with different plans, each of which crashes, the digest is the same."""
    storage = memory_storage()
    for at, resumption in crashes:
        watched = WatchedStorage(storage, Crashing(at))
        try:
            SMALL.build(watched, resumption.wish, restart=resumption.restart)
        except Crash:
            continue
    SMALL.build(storage)
    assert_whole(storage)


def test_crashes_in_a_folder(tmp_path: Path) -> None:
    """The same holds on a real disk, here for every fourth operation."""
    for at in range(1, len(VERBS) + 1, 4):
        storage = FolderStorage(tmp_path / str(at))
        crash(storage, SMALL, Crashing(at), Resumption())
        SMALL.build(storage, OTHER_WISH)
        assert_whole(storage)
