"""A storage that fails at random: before an operation, after it, or by returning fewer bytes or objects than it has."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

from tests.store.watched_storage import Result

from spikestore.store_schemas.errors import StoreError

REASONS = ("timeout after 30 s", "500 Internal Server Error", "503 Slow Down", "connection reset by peer")


class Failing:
    """A watch (`tests.store.watched_storage`) that lets a share of the operations fail.

    Parameters
    ----------
    rate : float
        Share of the operations that fail, 0 to 1.
    seed : int
        Selects the operations that fail.
    short_reads : bool
        Whether reads may also return fewer bytes than there are, without an error.

    Attributes
    ----------
    failed : Counter
        Number of faults of each kind.
    """

    def __init__(self, rate: float, seed: int, *, short_reads: bool = True) -> None:
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._short_reads = short_reads
        self._lock = threading.Lock()
        self.failed: Counter[str] = Counter()

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Perform the verb, or fail."""
        with self._lock:
            kind = self._kind(verb) if self._random.random() < self._rate else "none"
            reason = self._random.choice(REASONS)
            share = self._random.random()
            self.failed[kind] += 1
        if kind == "before":
            raise StoreError(f"can't {verb} {path}: {reason}", path=path)
        result = effect()
        if kind == "after":
            raise StoreError(f"can't {verb} {path}: {reason}", path=path)
        if kind == "short":
            return cast("Result", _cut(result, share))
        return result

    @contextlib.contextmanager
    def well(self) -> Iterator[None]:
        """Let all operations succeed inside the ``with`` block."""
        rate, self._rate = self._rate, 0.0
        try:
            yield
        finally:
            self._rate = rate

    def _kind(self, verb: str) -> str:
        kinds = ["before", "after"]  # "after" is a put that succeeds and reports a failure
        if verb == "get" and self._short_reads:
            kinds.append("short")
        return self._random.choice(kinds)


def _cut(result: Any, share: float) -> Any:
    return result[: int(len(result) * share)]
