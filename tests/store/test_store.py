"""Finding feature sets in a store: by name and split, by key, and in lists."""

from __future__ import annotations

import pytest
from tests.store.small_sets import SmallSet, memory_storage, same, small_set

from spikestore.store import Build, FeatureSet, Store
from spikestore.store_schemas import Address
from spikestore.store_schemas.errors import DamagedError, UnknownNameError, UsageError

TRAIN = small_set(70)
VALID = small_set(70, split="valid", seed=1)
OTHER = small_set(70, time_window=5000.0)


@pytest.fixture
def store() -> Store:
    """Return a store with a name of two splits, a name of one, and an unfinished build."""
    store = Store(memory_storage())
    store.point("demo", {"train": TRAIN.build(store.storage), "valid": VALID.build(store.storage)})
    store.point("single", {"train": OTHER.build(store.storage)})
    unfinished = small_set(70, split="test")
    unfinished.put(Build.join_or_start(store.storage, unfinished.address, unfinished.plan), 0)
    return store


def is_set(features: FeatureSet, small: SmallSet) -> bool:
    """Return whether a set has the specs and the rows of `small`."""
    return features.address == small.address and same(features.read(), small.truth)


def test_by_name_and_split(store: Store) -> None:
    """NAME:SPLIT is that split; NAME is the only split."""
    assert is_set(store["demo:train"], TRAIN)
    assert is_set(store["demo:valid"], VALID)
    assert is_set(store["single"], OTHER)
    assert is_set(store["single:train"], OTHER)


def test_by_keys(store: Store) -> None:
    """Beginnings of both keys, or of one key if it is unambiguous, select a set; so does a single complete key."""
    transform, source = (key[:12] for key in VALID.address)
    assert is_set(store[f"{transform}/{source}"], VALID)
    assert is_set(store[source], VALID)
    assert is_set(store["/".join(VALID.address)], VALID)
    assert is_set(store[OTHER.address.transform_key[:4]], OTHER)


def test_ambiguous_keys(store: Store) -> None:
    """The error for a beginning that several committed sets share lists them; unfinished builds are not listed."""
    with pytest.raises(UnknownNameError, match="is the beginning of several keys") as caught:
        store[TRAIN.address.transform_key[:12]]
    expected = {
        f"{small.address.transform_key[:12]}/{small.address.source_key[:12]}" for small in (TRAIN, VALID)
    }
    assert {*str(caught.value).partition("keys (")[2].partition(")")[0].split(", ")} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("demo", "demo in memory://test has several splits: choose one of demo:train, demo:valid"),
        ("demo:test", "demo in memory://test has no split 'test'; it has train, valid"),
        ("single:valid", "single in memory://test has no split 'valid'; it has train"),
        ("dmo:train", "no 'dmo:train' in the store memory://test, did you mean 'demo'?"),
        ("zzz", "no 'zzz' in the store memory://test; it has demo, single"),
        ("0123", "no key in memory://test begins with 0123"),
        ("012", "no '012' in the store memory://test; it has demo, single"),
        ("../demo", "no '../demo' in the store memory://test, did you mean 'demo'?"),
    ],
)
def test_what_does_not_exist(store: Store, text: str, message: str) -> None:
    """The error has the requested name, the store, and the nearest names."""
    with pytest.raises(UnknownNameError) as caught:
        store[text]
    assert str(caught.value) == message


def test_an_empty_store() -> None:
    """An empty store says that it is empty, and lists nothing."""
    store = Store(memory_storage())
    with pytest.raises(UnknownNameError, match="no 'demo' in the store memory://test; it is empty"):
        store["demo"]
    with pytest.raises(UnknownNameError, match="no 'demo'"):
        store.splits("demo")
    assert store.names() == []
    assert [*store.feature_sets()] == []
    assert store.ref("demo") is None


def test_listings(store: Store) -> None:
    """Listings have only committed sets; names and splits are spelled as they were given."""
    assert {one.address for one in store.feature_sets()} == {TRAIN.address, VALID.address, OTHER.address}
    assert len([*store.addresses()]) == 4
    assert [*store.addresses()] == sorted(store.addresses())
    assert store.names() == ["demo", "single"]
    assert {split: one.address for split, one in store.splits("demo").items()} == {
        "train": TRAIN.address,
        "valid": VALID.address,
    }
    assert store.find(Address("a" * 64, "b" * 64)) is None
    assert repr(store) == "Store('memory://test')"


def test_names_are_sorted(store: Store) -> None:
    """Not as a listing sorts their folders, where "demo-2/" comes before "demo/"."""
    for name in ("demo_2", "demo-2", "demo.2", "a"):
        store.tag("single", name)
    names = ["a", "demo", "demo-2", "demo.2", "demo_2", "single"]
    assert store.names() == names
    assert [*store.refs()] == names


def test_a_name_whose_set_is_gone(store: Store) -> None:
    """The error names the removed set, and what to do."""
    store.storage.delete(TRAIN.address.manifest)
    for use in (lambda: store["demo:train"], lambda: store.splits("demo")):
        with pytest.raises(
            DamagedError, match=f"demo:train refers to {TRAIN.address.folder}, which is not in"
        ):
            use()
    assert is_set(store["demo:valid"], VALID)


def test_a_name_whose_set_was_exchanged(store: Store) -> None:
    """A set with another digest than that in the name's entry is rejected."""
    store.storage.delete(TRAIN.address.manifest)
    twin = SmallSet(TRAIN.transform, TRAIN.source, TRAIN.layout, VALID.n_events, VALID.truth, VALID.skipped)
    twin.build(store.storage, restart=True)
    with pytest.raises(DamagedError, match=r"demo:train refers to digest .* was replaced ") as raised:
        store["demo:train"]
    advice = str(raised.value).partition(": to use the new set, run in Python: ")[2]
    where, _, line = advice.partition("; ")
    assert where == f"store = Store({store.storage.url!r})"
    eval(line, {"store": store})  # noqa: S307 - as the advice says
    assert is_set(store["demo:train"], twin)
    assert is_set(store["demo:valid"], VALID)


def test_a_name_moves(store: Store) -> None:
    """After a move, the name selects the new set; other splits stay if the transform is the same."""
    store.point("single", {"valid": OTHER.build(store.storage)})
    assert {*store.splits("single")} == {"train", "valid"}
    with pytest.raises(UsageError, match="it has another transform"):
        store.point("single", {"train": store["demo:train"]})
    assert {*store.splits("single")} == {"train", "valid"}
    store.point("single", {"train": store["demo:train"]}, move=True)
    assert {*store.splits("single")} == {"train"}
    assert is_set(store["single"], TRAIN)
