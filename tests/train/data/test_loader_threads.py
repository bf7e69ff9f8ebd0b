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
    """No thread is left after a whole pass, a pass that stopped early, an error in the loop, or an iterator that was dropped."""
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
