"""The threads of a loader end with the pass that uses them."""

from __future__ import annotations

import gc
import threading

import pytest

from spikestore.store import FeatureSet
from spikestore.train import FeatureLoader


def threads() -> list[str]:
    """Return the names of the loader's threads that are alive."""
    names = [one.name for one in threading.enumerate()]
    return [name for name in names if name.startswith(("spikestore-prefetch", "spikestore-loader"))]


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
