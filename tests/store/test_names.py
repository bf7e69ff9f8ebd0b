"""Without a request, a name moves only to a set that has the former recordings; the splits of a name have the same classes."""

from __future__ import annotations

import dataclasses
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.small_sets import SmallSet, memory_storage, small_set

from spikestore.store import Store
from spikestore.store.names import NamedSet, other_classes, refuse_other_classes
from spikestore.store.storage import FolderStorage
from spikestore.store_schemas import SourceFile
from spikestore.store_schemas.errors import UsageError


def made_of(contents: str, *, seed: int = 0, limit: int | None = None, split: str = "train") -> SmallSet:
    """Return a set whose source has one file for each letter, with the letter as its content."""
    small = small_set(70, seed=seed, split=split)
    files = tuple(
        SourceFile(name=f"{place}.bin", size=1, sha256=f"{ord(letter):064x}")
        for place, letter in enumerate(contents)
    )
    source = small.source.model_copy(update={"files": files, "limit": limit})
    return dataclasses.replace(small, source=source)


def with_classes(small: SmallSet, *classes: str) -> SmallSet:
    """Return the set with other class names."""
    return dataclasses.replace(small, layout=small.layout.model_copy(update={"classes": classes}))


def test_growth_moves_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Added files, also with new names, move the name, with one line that has both digests."""
    store = Store(memory_storage())
    few, more = made_of("ab").build(store.storage), made_of("xbya", seed=1).build(store.storage)
    with caplog.at_level(logging.INFO):
        store.point("demo", {"train": few})
        store.point("demo", {"train": more})
    assert store["demo"].digest == more.digest
    line = f"moved demo:train from digest {few.digest[:12]} to {more.digest[:12]} in memory://test"
    assert caplog.messages == [line]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (made_of("ab"), made_of("ac", seed=1), "other recordings: 1.bin"),
        (made_of("aab"), made_of("ab", seed=1), "other recordings: 0.bin"),
        (made_of("abc"), made_of("d", seed=1), "other recordings: 0.bin and 2 more files"),
        (
            made_of("ab"),
            made_of("ab", seed=1, limit=1),
            "it may have more recordings than the new set, which has limit = 1",
        ),
        (
            made_of("ab", limit=2),
            made_of("ab", seed=1, limit=1),
            "it may have more recordings than the new set, which has limit = 1",
        ),
    ],
)
def test_other_recordings_are_refused(before: SmallSet, after: SmallSet, why: str) -> None:
    """A set that lacks a file of the former one, or reads fewer of its recordings, is rejected unless the move is requested."""
    store = Store(memory_storage())
    first, second = before.build(store.storage), after.build(store.storage)
    store.point("demo", {"train": first})
    with pytest.raises(
        UsageError, match=f"'demo' in memory://test already refers to other feature sets.*{why}.*--move"
    ):
        store.point("demo", {"train": second})
    with pytest.raises(UsageError, match=why):
        store.refuse_move("demo", {"train": NamedSet(after.address, after.source)})
    assert store["demo"].digest == first.digest
    store.point("demo", {"train": second}, move=True)
    assert store["demo"].digest == second.digest


def test_a_limit_that_grows_is_growth() -> None:
    """A larger limit on the same files moves the name."""
    store = Store(memory_storage())
    for limit in (1, 2, None):
        grown = made_of("ab", seed=limit or 9, limit=limit).build(store.storage)
        store.point("demo", {"train": grown})
        assert store["demo"].digest == grown.digest


def test_another_transform_is_refused_before_anything_is_built() -> None:
    """The specs of a set that does not exist yet suffice to reject it."""
    store = Store(memory_storage())
    store.point("demo", {"train": made_of("ab").build(store.storage)})
    other = small_set(70, time_window=5000.0)
    with pytest.raises(UsageError, match=r"demo:train \(digest [0-9a-f]{12}: it has another transform\)"):
        store.refuse_move("demo", {"valid": NamedSet(other.address, other.source)})
    store.refuse_move("new", {"valid": NamedSet(other.address, other.source)})


def test_equal_samples_and_sets_that_are_gone_are_in_nobodys_way() -> None:
    """A set with the same digest from other files moves the name; so does a new set if the former one was removed."""
    store = Store(memory_storage())
    store.point("demo", {"train": made_of("ab").build(store.storage)})
    twin = made_of("cd").build(store.storage)
    store.point("demo", {"train": twin})
    assert store["demo"].address == twin.address
    store.storage.delete(twin.address.manifest)
    store.point("demo", {"train": made_of("ef", seed=2).build(store.storage)})


def test_a_set_that_cannot_be_opened_is_not_moved_from() -> None:
    """The recordings of such a set are unknown; the message names the damage."""
    store = Store(memory_storage())
    first = made_of("ab").build(store.storage)
    store.point("demo", {"train": first})
    store.storage.replace(first.address.manifest, b"{}")
    with pytest.raises(UsageError, match=r"cannot be opened to compare the recordings: .*manifest"):
        store.point("demo", {"train": made_of("abc", seed=1).build(store.storage)})


def test_two_builders_at_once(tmp_path: Path) -> None:
    """If two builders give a new name to different recordings at the same time, the second one is rejected."""
    sets = [
        made_of("ab").build(FolderStorage(tmp_path)),
        made_of("cd", seed=1).build(FolderStorage(tmp_path)),
    ]
    for name in (f"name{number}" for number in range(4)):
        start = threading.Barrier(2)

        def point(features: object, name: str = name, start: threading.Barrier = start) -> bool:
            start.wait(60)
            try:
                Store(tmp_path).point(name, {"train": features})  # type: ignore[dict-item]
            except UsageError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = [*pool.map(point, sets)]
        assert sorted(done) == [False, True]
        assert Store(tmp_path)[name].digest == sets[done.index(True)].digest


def test_copies_keep_to_the_same_rule() -> None:
    """A push that would move the name is rejected before anything is copied, and done on request."""
    mine, team = Store(memory_storage("mine")), Store(memory_storage("team"))
    team.point("demo", {"train": made_of("ab").build(team.storage)})
    mine.point("demo", {"train": made_of("cd", seed=1).build(mine.storage)})
    with pytest.raises(UsageError, match=r"'demo' in memory://team already refers to other feature sets"):
        mine.push("demo", team)
    assert len([*team.feature_sets()]) == 1
    mine.push("demo", team, move=True)
    assert team["demo"].digest == mine["demo"].digest
    third = Store(memory_storage("third"))
    third.point("demo", {"train": made_of("e", seed=2).build(third.storage)})
    with pytest.raises(UsageError, match="memory://third already"):
        third.pull("demo", team)
    third.pull("demo", team, move=True)


def test_splits_with_classes_in_another_order() -> None:
    """Splits under one name, put together, one after the other or by a copy, are rejected, with the label and both class names."""
    store = Store(memory_storage())
    train, test = made_of("a"), with_classes(made_of("b", seed=1, split="test"), "no", "yes")
    sets = {"train": train.build(store.storage), "test": test.build(store.storage)}
    message = (
        "the labels of demo:(train|test) and demo:(train|test) stand for different classes: label 0 is '(yes|no)' in the first and "
        "'(yes|no)' in the second, the same names in another order"
    )
    with pytest.raises(UsageError, match=message):
        store.point("demo", sets)
    store.point("demo", {"train": sets["train"]})
    with pytest.raises(UsageError, match=message):
        store.point("demo", {"test": sets["test"]}, move=True)
    assert {*store.splits("demo")} == {"train"}
    other = Store(memory_storage("other"))
    other.point("demo", {"test": test.build(other.storage)})
    with pytest.raises(UsageError, match=message):
        other.push("demo", store)


@given(st.lists(st.sampled_from("abcde"), unique=True), st.lists(st.sampled_from("abcde"), unique=True))
def test_other_classes(first: list[str], second: list[str]) -> None:
    """Two lists of classes agree if no label has two names: one is the beginning of the other."""
    shared = min(len(first), len(second))
    assert (other_classes(first, second) is None) == (first[:shared] == second[:shared])


def test_other_classes_after_a_shorter_list() -> None:
    """Two lists that both begin with the first list are compared with each other."""
    with pytest.raises(
        UsageError,
        match=r"the labels of valid and test stand for different classes: label 1 is 'no' in the first and 'maybe'",
    ):
        refuse_other_classes({"train": ["yes"], "valid": ["yes", "no"], "test": ["yes", "maybe"]})
    refuse_other_classes({"train": ["yes"], "valid": ["yes", "no"], "test": []})
