"""tag and rm add entries to the logs of names, and no old entry becomes valid again."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import memory_storage, small_set
from tests.store.test_refs import pin
from tests.store.watched_storage import WatchedStorage, interleave

from spikestore.store import Store, refs
from spikestore.store.storage import Storage
from spikestore.store_schemas import Ref
from spikestore.store_schemas.errors import (
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    UnknownNameError,
    UsageError,
)
from spikestore.store_schemas.specs.canonical import seal, unseal

TRAIN = small_set(70)
VALID = small_set(70, split="valid", seed=1)


@pytest.fixture
def store() -> Store:
    """Return a store with one name of two splits."""
    store = Store(memory_storage())
    store.point("demo", {"train": TRAIN.build(store.storage), "valid": VALID.build(store.storage)})
    return store


def test_forgetting_is_an_entry() -> None:
    """The entry is a document of the fixed format, older entries stay, and the name is gone."""
    storage = memory_storage()
    refs.update(storage, "demo", {"train": pin(1), "valid": pin(2)})
    assert refs.forget(storage, "demo") == ("train", "valid")
    assert refs.read(storage, "demo") is None
    assert [*refs.read_all(storage)] == []
    assert [one.path for one in storage.list("refs")] == [
        "refs/demo/00000001.json",
        "refs/demo/00000002.json",
    ]
    document = unseal(storage.get("refs/demo/00000002.json"), path="ref")
    nothing = dict.fromkeys(("transform_key", "source_key", "digest"), "0" * 64)
    assert document == {"format": 1, "name": "demo", "number": 2, "splits": {"forgotten": nothing}}


def test_forgetting_twice_and_nothing() -> None:
    """A missing name can't be removed, and nothing is written."""
    storage = memory_storage()
    assert refs.forget(storage, "demo") == ()
    refs.update(storage, "demo", {"train": pin(1)})
    assert refs.forget(storage, "demo", "valid") == ()
    refs.forget(storage, "demo")
    assert refs.forget(storage, "demo") == ()
    assert len([*storage.list("refs")]) == 2


def test_forgetting_a_split() -> None:
    """The other splits stay; with the last split the name is removed."""
    storage = memory_storage()
    refs.update(storage, "demo", {"train": pin(1), "valid": pin(2)})
    assert refs.forget(storage, "demo", "valid") == ("valid",)
    found = refs.read(storage, "demo")
    assert found is not None
    assert found.splits == {"train": pin(1)}
    assert refs.forget(storage, "demo", "train") == ("train",)
    assert refs.read(storage, "demo") is None


def test_a_name_that_comes_back() -> None:
    """The name has only the new sets, under the next number."""
    storage = memory_storage()
    refs.update(storage, "demo", {"train": pin(1), "valid": pin(2)})
    refs.forget(storage, "demo")
    assert refs.update(storage, "demo", {"test": pin(3)}) == Ref(
        name="demo", number=3, splits={"test": pin(3)}
    )


def test_a_damaged_entry_can_be_forgotten() -> None:
    """A damaged name can be removed only as a whole, and then set again; one of a newer format is not changed."""
    storage = memory_storage()
    document = unseal(refs.update(storage, "demo", {"train": pin(1)}).to_bytes(), path="ref")
    storage.put_if_absent("refs/demo/00000002.json", b"?")
    with pytest.raises(DamagedError):
        refs.forget(storage, "demo", "train")
    assert [(name, type(found)) for name, found in refs.read_all(storage)] == [("demo", DamagedError)]
    assert refs.forget(storage, "demo") == ("a damaged entry",)
    assert refs.read(storage, "demo") is None
    storage.put_if_absent("refs/demo/00000004.json", seal({**document, "number": 4, "format": 2}))
    with pytest.raises(NewerFormatError):
        refs.forget(storage, "demo")


@given(st.lists(st.integers(0, 2), max_size=24))
@settings(max_examples=examples(50))
def test_any_interleaving(order: list[int]) -> None:
    """Two writers and one that removes: splits that are added after the removal exist, older ones do not."""
    storage = memory_storage()
    refs.update(storage, "demo", {"old": pin(9)})
    jobs = [
        lambda one: refs.update(one, "demo", {"a": pin(1)}).number,
        lambda one: refs.update(one, "demo", {"b": pin(2)}).number,
        lambda one: refs.forget(one, "demo"),
    ]
    first, second, lost = interleave(storage, order, jobs)
    found = refs.read(storage, "demo")
    assert isinstance(lost, tuple)
    kept = {"a", "b"} - {*lost}
    assert ({*found.splits} if found is not None else set()) == kept
    assert "old" in lost
    assert {first, second} <= {2, 3, 4}


def test_tag(store: Store) -> None:
    """All splits of a name, or one, or a key get a second name; the first one stays."""
    store.tag("demo", "paper")
    assert store.splits("paper").keys() == {"train", "valid"}
    assert store["paper:train"].digest == store["demo:train"].digest
    store.tag("demo:valid", "half")
    assert store["half"].address == VALID.address
    store.tag("/".join(TRAIN.address), "by-key")
    assert store["by-key:train"].address == TRAIN.address
    assert store.names() == ["by-key", "demo", "half", "paper"]


def test_tag_over_something_else(store: Store) -> None:
    """A name that exists is rejected, unless it has the same set, or is moved on request; then no former split is left."""
    store.tag("demo:valid", "half")
    store.tag("demo:valid", "half")
    with pytest.raises(
        UsageError,
        match=r"'half' already refers to other feature sets \(valid\): choose another name, or move",
    ):
        store.tag("demo:train", "half")
    store.tag("demo:train", "half", move=True)
    assert {*store.splits("half")} == {"train"}
    with pytest.raises(UsageError, match="a name must have"):
        store.tag("demo", "No Name")
    with pytest.raises(UnknownNameError, match="no 'dmo'"):
        store.tag("dmo", "new")


def test_forget_in_a_store(store: Store) -> None:
    """The error for an unknown name or split lists the existing ones; the sets stay."""
    with pytest.raises(
        UnknownNameError, match="demo in memory://test has no split 'test'; it has train, valid"
    ):
        store.forget("demo:test")
    for name in ("dmo", "../demo", ""):
        with pytest.raises(UnknownNameError, match=r"^no "):
            store.forget(name)
    assert store.forget("demo") == ("train", "valid")
    assert store.names() == []
    assert len([*store.feature_sets()]) == 2
    for use in (lambda: store["demo:train"], lambda: store.splits("demo")):
        with pytest.raises(UnknownNameError, match="; it has no names: use the beginning of a key"):
            use()
    with pytest.raises(
        UnknownNameError, match="; it has no names: gc --unreferenced removes the sets without a name"
    ):  # only names can be removed, not keys
        store.forget("demo")


def test_an_empty_split_does_not_mean_all_splits(store: Store) -> None:
    """``demo:``, as an empty variable makes it, selects and removes nothing."""
    for use in (store.forget, store.select):
        with pytest.raises(UsageError, match=r"the split in 'demo:' is empty .*: pass demo for all splits"):
            use("demo:")
    assert store.names() == ["demo"]


def test_a_name_for_a_set_that_is_being_removed(store: Store) -> None:
    """If gc removes the set at the same time, the error is raised where the name is given, and not at the next read."""
    features = store["demo:train"]

    def gc_at_work(verb: str, path: str, effect: functools.partial[object]) -> object:
        if verb == "put":
            store.storage.delete(TRAIN.address.manifest)
        return effect()

    watched = Store(WatchedStorage(store.storage, gc_at_work))  # type: ignore[arg-type]
    with pytest.raises(
        MissingObjectError, match=r"late:train was removed from .* while its name was written"
    ):
        watched.point("late", {"train": features})


def test_one_damaged_manifest_hides_no_other(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """The other sets are listed, and the damaged one is named in a warning."""
    storage: Storage = store.storage
    storage.replace(TRAIN.address.manifest, b"?")
    assert [one.address for one in store.feature_sets()] == [VALID.address]
    assert TRAIN.address.manifest in caplog.text
