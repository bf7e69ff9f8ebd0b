"""The feature sets that a text selects, before any of them is opened."""

from __future__ import annotations

import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.store import Build, Store
from spikestore.store.selection import SelectedSet
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import DamagedError, UnknownNameError

TRAIN = small_set(70)
VALID = small_set(70, split="valid", seed=1)
UNFINISHED = small_set(70, split="test")
OTHER = small_set(70, time_window=5000.0)


@pytest.fixture
def store() -> Store:
    """Return a store with a name of two splits, and an unfinished build of the same transform."""
    store = Store(memory_storage())
    store.point("demo", {"train": TRAIN.build(store.storage), "valid": VALID.build(store.storage)})
    UNFINISHED.put(Build.join_or_start(store.storage, UNFINISHED.address, UNFINISHED.plan), 0)
    return store


def test_a_name_and_a_split_of_it(store: Store) -> None:
    """Labels, keys and expected digests are returned."""
    selection = store.select("demo")
    assert (selection.name, selection.text) == ("demo", "demo")
    assert [(one.label, one.address, one.split) for one in selection.sets] == [
        ("demo:train", TRAIN.address, "train"),
        ("demo:valid", VALID.address, "valid"),
    ]
    assert [*selection.open()] == [*selection.sets]
    (valid,) = store.select("demo:valid").sets
    assert valid == SelectedSet("demo:valid", VALID.address, "valid", store["demo:valid"].digest)
    assert store.splits("demo:valid").keys() == {"valid"}


def test_a_key(store: Store) -> None:
    """Sets by key have no name; their label is the beginning of the key."""
    selection = store.select(VALID.address.source_key[:8])
    assert selection.name is None
    assert selection.sets == (SelectedSet(VALID.address.short, VALID.address),)
    assert {split: one.address for split, one in store.splits(selection.text).items()} == {
        "valid": VALID.address
    }


def test_damaged_sets_are_still_selected(store: Store) -> None:
    """A repair needs the keys of sets that can't be opened."""
    digest = store["demo:train"].digest
    store.storage.delete(TRAIN.address.manifest)
    assert store.select("demo:train").sets == (SelectedSet("demo:train", TRAIN.address, "train", digest),)
    with pytest.raises(DamagedError, match="demo:train refers to"):
        store.select("demo").open()
    with pytest.raises(DamagedError, match="demo:train refers to"):
        store.select("demo:train").only()
    store.storage.put_if_absent(TRAIN.address.manifest, b"{}")
    assert store.select(TRAIN.address.source_key[:12]).sets[0].address == TRAIN.address


def test_unfinished_builds_come_after_committed_sets(store: Store) -> None:
    """The beginning of a key that several folders share selects the committed set, if there is one."""
    OTHER.put(Build.join_or_start(store.storage, OTHER.address, OTHER.plan), 0)  # key of TRAIN's source
    assert OTHER.address.source_key == TRAIN.address.source_key
    assert store.select(TRAIN.address.source_key[:12]).sets[0].address == TRAIN.address
    store.storage.delete(TRAIN.address.manifest)
    with pytest.raises(UnknownNameError, match="is the beginning of several keys"):
        store.select(TRAIN.address.source_key[:12])


def test_an_unfinished_build(store: Store) -> None:
    """It can be selected for a repair, but not opened."""
    selection = store.select(UNFINISHED.address.source_key[:12])
    assert selection.sets[0].address == UNFINISHED.address
    for use in (selection.open, selection.only):
        with pytest.raises(UnknownNameError, match="no key in memory://test begins with"):
            use()


def test_whole_keys_are_not_looked_up(store: Store) -> None:
    """A repair can fetch a set of which no object is left."""
    nothing = Address("a" * 64, "b" * 64)
    assert store.select("/".join(nothing)).sets[0].address == nothing


def test_near_splits(store: Store) -> None:
    """For a misspelt split, the nearest one is suggested."""
    with pytest.raises(
        UnknownNameError, match="has no split 'trian', did you mean 'train'\\? it has train, valid"
    ):
        store.select("demo:trian")
