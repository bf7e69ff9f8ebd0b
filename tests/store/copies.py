"""Functions for the tests of copies: a store to copy from, storages that count operations, and checks of a complete copy."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

from tests.store.small_sets import memory_storage, same, small_set
from tests.store.watched_storage import Crash, WatchedStorage

from spikestore.store import Store, verify

Result = TypeVar("Result")

SMALL = small_set(140)
VALID = small_set(70, split="valid", seed=1)


class Log:
    """A watch that records every operation."""

    def __init__(self) -> None:
        self.verbs: list[tuple[str, str]] = []

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Record the operation, and perform it."""
        self.verbs.append((verb, path))
        return effect()

    def paths(self, *verbs: str) -> list[str]:
        """Return the paths of operations of these kinds."""
        return [path for verb, path in self.verbs if verb in verbs]


class PowerCut:
    """A watch that lets no operation take effect after a number of puts, as if the power had failed."""

    def __init__(self, puts: int) -> None:
        self._left = puts
        self._lock = threading.Lock()

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Perform the operation unless the power has failed."""
        with self._lock:
            self._left -= verb == "put"
            if self._left < 0:
                raise Crash(f"before {verb} {path}")
            return effect()


def filled(store: Store) -> Store:
    """Fill a store with both splits."""
    store.point("demo", {"train": SMALL.build(store.storage), "valid": VALID.build(store.storage)})
    return store


def assert_whole(store: Store, name: str = "demo") -> None:
    """Assert that both splits are in the store under their name, and that a deep verify finds no damage."""
    for split, small in (("train", SMALL), ("valid", VALID)):
        assert verify(store[f"{name}:{split}"], depth="deep") == []
        assert same(store[f"{name}:{split}"].read(), small.truth)


def puts_of_a_copy() -> int:
    """Return the number of puts of a copy of ``demo:train``, its name included."""
    source, log = filled(Store(memory_storage("source"))), Log()
    source.push("demo:train", Store(WatchedStorage(memory_storage(), log)))
    return len(log.paths("put"))


PUTS = puts_of_a_copy()
"""Number of puts of a copy of ``demo:train``, its name included."""


def objects_of(source: Store) -> list[str]:
    """Return the objects of ``demo:train`` that are copied and checked."""
    features = source["demo:train"]
    build = features.address.build(features.manifest.plan_id)
    arrays = re.compile(
        r"data\.zarr/[a-z_]+/zarr\.json$"
    )  # derived from the metadata of the group, never read
    return [one.path for one in source.storage.list(build) if not arrays.search(one.path)]
