"""Names are logs: no update is lost, and an old value is never restored unnoticed."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.store.small_sets import memory_storage
from tests.store.watched_storage import Crash, Crashing, WatchedStorage, interleave

from spikestore.store import refs
from spikestore.store.storage import FolderStorage, Storage
from spikestore.store_schemas import Pin, Ref
from spikestore.store_schemas.errors import DamagedError, NewerFormatError, UsageError
from spikestore.store_schemas.specs.canonical import seal, unseal


def pin(number: int, transform: int = 0) -> Pin:
    """Return a made-up pin."""
    return Pin(transform_key=f"{transform:064x}", source_key=f"{number:064x}", digest=f"{number + 7:064x}")


def test_a_new_name() -> None:
    """The first entry is number 1; reading returns it; unknown names are None."""
    storage = memory_storage()
    entry = refs.update(storage, "demo", {"train": pin(1)})
    assert entry == Ref(name="demo", number=1, splits={"train": pin(1)})
    assert refs.read(storage, "demo") == entry
    assert refs.read(storage, "dem") is None
    assert [one.path for one in storage.list("refs")] == ["refs/demo/00000001.json"]


def test_updates_are_entries() -> None:
    """Each change is a further entry, none replaces another; the highest number counts, also above nine."""
    storage = memory_storage()
    for number in range(12):
        refs.update(storage, "demo", {"train": pin(number)})
    assert len([*storage.list("refs/demo")]) == 12
    found = refs.read(storage, "demo")
    assert found is not None
    assert (found.number, found.splits) == (12, {"train": pin(11)})


def test_no_change_writes_nothing() -> None:
    """An update without a change returns the existing entry."""
    storage = memory_storage()
    first = refs.update(storage, "demo", {"train": pin(1), "test": pin(2)})
    watch = Crashing()
    assert refs.update(WatchedStorage(storage, watch), "demo", {"test": pin(2)}) == first
    assert "put" not in {verb for verb, _ in watch.verbs}


def test_splits_of_one_transform_are_kept() -> None:
    """A split that the update does not mention stays if the transform is the same."""
    storage = memory_storage()
    refs.update(storage, "demo", {"train": pin(1)})
    assert refs.update(storage, "demo", {"test": pin(2)}).splits == {"train": pin(1), "test": pin(2)}


def test_another_transform_lets_go(caplog: pytest.LogCaptureFixture) -> None:
    """Splits of another transform are removed, with a warning that names them: a name never mixes transforms."""
    storage = memory_storage()
    refs.update(storage, "demo", {"train": pin(1), "test": pin(2), "valid": pin(3)})
    with caplog.at_level(logging.WARNING):
        entry = refs.update(storage, "demo", {"train": pin(1, transform=1)})
    assert entry.splits == {"train": pin(1, transform=1)}
    assert caplog.messages == [
        "removed splits from the name demo, because their sets have another transform than the new sets: test, valid"
    ]


def test_mixed_transforms() -> None:
    """Sets of two transforms, or no sets, are an error, and nothing is written."""
    storage = memory_storage()
    for pins, count in (({"train": pin(1), "test": pin(2, transform=1)}, 2), ({}, 0)):
        with pytest.raises(
            UsageError,
            match=f"the sets of 'demo' must all have the same transform, but have {count} transforms",
        ):
            refs.update(storage, "demo", pins)
    assert [*storage.list("refs")] == []


@pytest.mark.parametrize("name", ["", "Demo", "a b", "../x", "a/b", "-x", ".x", "x" * 64, "x\n", "ä"])
def test_bad_names(name: str) -> None:
    """A bad name, of the whole or of a split, is quoted with the rule, and nothing is written."""
    storage = memory_storage()
    for arguments in ((name, {"train": pin(1)}), ("demo", {name: pin(1)})):
        with pytest.raises(UsageError, match="a name must have 1 to 63 characters of a-z, 0-9") as caught:
            refs.update(storage, *arguments)
        assert str(caught.value).endswith(repr(name))
    assert [*storage.list("refs")] == []


def test_eight_threads(tmp_path: Path) -> None:
    """Eight threads each add their own split at the same time: none is lost."""
    storage = FolderStorage(tmp_path)
    start = threading.Barrier(8)

    def add(number: int) -> Ref:
        start.wait(60)
        return refs.update(storage, "demo", {f"split{number}": pin(number)})

    with ThreadPoolExecutor(8) as pool:
        entries = [*pool.map(add, range(8))]
    assert sorted(entry.number for entry in entries) == [*range(1, 9)]
    found = refs.read(storage, "demo")
    assert found is not None
    assert found.splits == {f"split{number}": pin(number) for number in range(8)}


@given(st.lists(st.integers(0, 2), max_size=20))
@settings(max_examples=examples(50))
def test_any_interleaving(order: list[int]) -> None:
    """Three writers in any order of storage operations: no split is lost."""
    storage = memory_storage()

    def add(number: int, one: Storage) -> Ref:
        return refs.update(one, "demo", {f"s{number}": pin(number)})

    interleave(storage, order, [functools.partial(add, number) for number in range(3)])
    found = refs.read(storage, "demo")
    assert found is not None
    assert found.splits == {f"s{number}": pin(number) for number in range(3)}


def test_a_crash_at_every_verb() -> None:
    """A crash in an update leaves the old value or the new one."""
    for at in (1, 2, 3):
        storage = memory_storage()
        refs.update(storage, "demo", {"train": pin(1)})
        with pytest.raises(Crash):
            refs.update(WatchedStorage(storage, Crashing(at)), "demo", {"train": pin(2)})
        found = refs.read(storage, "demo")
        assert found is not None
        assert found.splits["train"] == pin(2 if at == 3 else 1)


@pytest.mark.parametrize("victim", ["number", "name"])
def test_an_entry_in_another_place(victim: str) -> None:
    """An entry of another name, or an old entry under a new number, is damage that is named."""
    storage = memory_storage()
    refs.update(storage, "other", {"train": pin(9)})
    refs.update(storage, "demo", {"train": pin(1)})
    source = "refs/demo/00000001.json" if victim == "number" else "refs/other/00000001.json"
    storage.put_if_absent("refs/demo/00000002.json", storage.get(source))
    uses: list[Callable[[], Ref | None]] = [
        lambda: refs.read(storage, "demo"),
        lambda: refs.update(storage, "demo", {"train": pin(3)}),
    ]
    for use in uses:
        with pytest.raises(
            DamagedError, match=r"refs/demo/00000002\.json is damaged: it contains entry 1 of"
        ) as caught:
            use()
        assert caught.value.details["objects"] == ("refs/demo/00000002.json",)


def test_other_objects_beside_the_log() -> None:
    """Objects that are no entries are ignored."""
    storage = memory_storage()
    entry = refs.update(storage, "demo", {"train": pin(1)})
    for path in ("refs/demo/notes.txt", "refs/demo/99.json", "refs/demo/old/00000009.json"):
        storage.put_if_absent(path, b"?")
    assert refs.read(storage, "demo") == entry


def test_an_entry_of_a_newer_format() -> None:
    """The error says what to do."""
    storage = memory_storage()
    document = unseal(refs.update(storage, "demo", {"train": pin(1)}).to_bytes(), path="ref")
    storage.put_if_absent("refs/demo/00000002.json", seal({**document, "number": 2, "format": 3}))
    with pytest.raises(NewerFormatError, match=r"00000002\.json has store format 3"):
        refs.read(storage, "demo")
