"""Items made ahead in a thread: bounded, with errors at the next item, and no thread left behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from spikestore.store import FeatureSet
from spikestore.train import FeatureLoader
from spikestore.train.data.prefetch import Prefetcher


def threads() -> list[str]:
    """Return the names of the loader's threads that are alive."""
    names = [one.name for one in threading.enumerate()]
    return [name for name in names if name.startswith(("spikestore-ahead", "spikestore-loader"))]


def test_items_come_in_order_and_end() -> None:
    """All of them, once; and then it has ended for good."""
    ahead = Prefetcher(iter(range(100)), 3)
    assert list(ahead) == list(range(100))
    assert list(ahead) == []
    ahead.close()
    assert threads() == []


def test_no_more_than_depth_are_made_ahead() -> None:
    """The thread waits for the user."""
    made, room = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 3:
                room.set()
            yield number

    ahead = Prefetcher(items(), 2)
    assert next(ahead) == 0
    assert next(ahead) == 1
    assert room.wait(10)
    assert len(made) <= 5
    ahead.close()
    assert len(made) <= 5


def test_an_error_comes_at_the_next_item_with_its_cause() -> None:
    """Before items that are ready; afterwards there is nothing more."""
    failed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield 0
            yield 1
            try:
                raise OSError("the disk is gone")
            except OSError as error:
                raise ValueError("can't read") from error
        finally:
            failed.set()

    ahead = Prefetcher(items(), 5)
    assert failed.wait(10)
    ahead._thread.join(10)
    with pytest.raises(ValueError, match="can't read") as caught:
        next(ahead)
    assert isinstance(caught.value.__cause__, OSError)
    assert list(ahead) == []


def test_no_thread_is_left(features: FeatureSet) -> None:
    """Not after a whole pass, a broken-off one, an error in the loop, nor an iterator that nobody holds."""
    loader = FeatureLoader(features, 8, threads=2)
    for _ in loader:
        pass
    assert threads() == []
    for _ in loader:
        break
    gc.collect()
    assert threads() == []
    iterator = iter(loader)
    next(iterator)
    assert threads() != []
    del iterator
    gc.collect()
    assert threads() == []

    def interrupted() -> None:
        for _ in loader:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert threads() == []


def test_a_process_ends_with_iterators_alive() -> None:
    """An iterator in a global does not keep the interpreter from ending, quietly."""
    script = """
import itertools
from spikestore.train.data.prefetch import Prefetcher
ahead = Prefetcher(itertools.count(), 2)
print(next(ahead))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
