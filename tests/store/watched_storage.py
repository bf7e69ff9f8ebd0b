"""Storages that count operations, crash at one, or pause at each."""

from __future__ import annotations

import builtins
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from zarr.storage import StorePath

from spikestore.store.storage import Storage, StoredObject

Result = TypeVar("Result")


class Crash(BaseException):
    """A power failure; no `except Exception` catches it."""


class Watch(Protocol):
    """Protocol of a function that is called instead of a storage operation; it performs `effect`, or does not."""

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Perform the operation."""


class WatchedStorage:
    """A storage that passes all its operations to `watch`."""

    def __init__(self, inner: Storage, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch
        self.url = inner.url

    def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Watched."""
        return self._watch("get", path, lambda: self._inner.get(path, limit=limit))

    def buffer(self, path: str, *, limit: int | None = None) -> memoryview:
        """Watched."""
        return self._watch("get", path, lambda: self._inner.buffer(path, limit=limit))

    def pieces(self, path: str, *, limit: int | None = None) -> Iterator[memoryview]:
        """Watched; reads the whole object before the first piece is yielded."""
        return iter(self._watch("get", path, lambda: [*self._inner.pieces(path, limit=limit)]))

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Watched."""
        return self._watch("get", path, lambda: self._inner.get_range(path, start, stop))

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Watched."""
        return self._watch("put", path, lambda: self._inner.put_if_absent(path, data))

    def replace(self, path: str, data: bytes) -> None:
        """Watched."""
        return self._watch("replace", path, lambda: self._inner.replace(path, data))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Watched; ends before the first object is yielded."""
        return iter(self._watch("list", prefix, lambda: [*self._inner.list(prefix)]))

    def folders(self, prefix: str) -> builtins.list[str]:
        """Watched."""
        return self._watch("folders", prefix, lambda: self._inner.folders(prefix))

    def delete(self, path: str) -> None:
        """Watched."""
        return self._watch("delete", path, lambda: self._inner.delete(path))

    def zarr_store(self, prefix: str) -> StorePath:
        """Not watched, because it only reads."""
        return self._inner.zarr_store(prefix)

    def free_bytes(self) -> int | None:
        """Not watched."""
        return self._inner.free_bytes()


class Crashing:
    """A watch that counts operations, and crashes when the n-th has taken effect.

    A crash before the n-th operation has the effect of one after the operation before it, because there is no other writer.
    """

    def __init__(self, at: int | None = None) -> None:
        self.verbs: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)  # one for each verb, also of threads
        self._at = at

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Perform the operation, then perhaps crash."""
        number = next(self._numbers)
        self.verbs.append((verb, path))
        try:
            return effect()
        finally:
            if number == self._at:
                raise Crash(f"after {verb} {path}")


class _Turns:
    """A watch that lets one operation pass at each of its turns."""

    def __init__(self) -> None:
        self.ready = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.over = False

    def __call__(self, verb: str, path: str, effect: Callable[[], Result], /) -> Result:
        """Wait, then perform the operation."""
        self.ready.release()
        if not self.go.acquire(timeout=60):
            raise TimeoutError(f"no turn for {verb} {path}")
        return effect()


def interleave(
    storage: Storage, order: Sequence[int], jobs: Sequence[Callable[[Storage], Result]]
) -> builtins.list[Result | BaseException]:
    """Run jobs at the same time, one storage operation after another.

    The n-th operation is done by job ``order[n]`` (or the next job that has not ended); after the end of `order`, the jobs take
    turns.
    """
    turns = [_Turns() for _ in jobs]
    results: dict[int, Result | BaseException] = {}

    def work(number: int) -> None:
        try:
            results[number] = jobs[number](WatchedStorage(storage, turns[number]))
        except BaseException as error:  # the caller judges
            results[number] = error
        turns[number].over = True
        turns[number].ready.release()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(jobs))]
    for thread, turn in zip(threads, turns, strict=True):
        thread.start()
        turn.ready.acquire()
    step = 0
    while not all(turn.over for turn in turns):
        wanted = order[step] if step < len(order) else step
        step += 1
        turn = next(t for i in range(len(jobs)) if not (t := turns[(wanted + i) % len(jobs)]).over)
        turn.go.release()
        turn.ready.acquire()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(jobs))]
