"""The position of a loader counts the batches that it has yielded, also if the next batch fails."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import os
import signal
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from spikestore.store import FeatureSet
from spikestore.store_schemas.errors import UsageError
from spikestore.train import Batch, FeatureLoader


@pytest.mark.parametrize("residence", ["host", "stream"])
def test_a_batch_that_failed_was_not_handed_out(features: FeatureSet, residence: Any) -> None:
    """After an error the state is that of the last yielded batch, and a loader that resumes there leaves nothing out."""
    calls = itertools.count()

    def fail(batch: Batch) -> Batch:
        if next(calls) == 3:
            raise ZeroDivisionError
        return batch

    loader = FeatureLoader(features, 8, residence, shuffle=True, transform=fail, threads=1)
    seen: list[int] = []

    def take_all(source: FeatureLoader) -> None:
        for batch in source:
            seen.extend(batch.samples.tolist())

    with pytest.raises(ZeroDivisionError):
        take_all(loader)
    state = loader.state_dict()
    assert state["batch"] == len(seen) // 8 <= 3
    other = FeatureLoader(features, 8, residence, shuffle=True)
    other.load_state_dict(state)
    take_all(other)
    everything = [row for batch in FeatureLoader(features, 8, "host") for row in batch.samples.tolist()]
    assert sorted(seen) == everything


def test_only_the_newest_pass_moves_the_position(features: FeatureSet) -> None:
    """An older pass continues with its batches, but does not change the loader's position."""
    loader = FeatureLoader(features, 8, "host")
    old = iter(loader)
    next(old)
    new = iter(loader)
    next(new)
    next(new)
    for _ in old:
        pass
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (1, 2)
    loader.set_epoch(4)
    next(new)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batch"]) == (4, 0)


def test_other_weights_are_another_order(features: FeatureSet) -> None:
    """States of a loader with other weights are rejected; a common factor of all weights changes nothing, however large."""
    ones = np.ones(len(features))
    state = FeatureLoader(features, 8, "host", weights=ones).state_dict()
    with pytest.raises(UsageError, match="position in the order 'weighted"):
        FeatureLoader(features, 8, "host", weights=np.arange(len(features))).load_state_dict(state)
    large = FeatureLoader(features, 8, "host", weights=ones * 1e308)
    large.load_state_dict(state)
    drawn = [row for batch in large for row in batch.samples.tolist()]
    assert len({*drawn}) > len(features) // 3


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_pass_ends_at_a_fork(features: FeatureSet) -> None:
    """The threads of the pass are not in the new process, which would wait for them for ever."""
    iterator: Any = iter(FeatureLoader(features, 8, "host"))
    next(iterator)
    ahead, pool = (iterator.gi_frame.f_locals[name] for name in ("ahead", "pool"))
    with concurrent.futures.ThreadPoolExecutor(1) as others, contextlib.ExitStack() as locks:
        # As if its threads were at work: in the new process, nobody will release their locks.
        for lock in (ahead._channel._changed, pool._lock):
            others.submit(lock.acquire).result()
            locks.callback(others.submit, lock.release)
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # ends the process if it waits
            try:
                next(iterator)
            except UsageError:
                del ahead, pool, iterator
                gc.collect()
                os._exit(7)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


class _Wrapped(IterableDataset[Batch]):
    def __init__(self, loader: FeatureLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Any:
        return iter(self.loader)


@pytest.mark.slow  # torch waits ten seconds for its workers
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_would_repeat_samples_or_epochs(features: FeatureSet, workers: int) -> None:
    """Each of several would hand out all samples, and a new one in each pass would begin with the same epoch."""
    wrapped = _Wrapped(FeatureLoader(features, 8, "host", shuffle=True))
    with pytest.raises(UsageError, match="DataLoader worker, because samples or epochs would be repeated"):
        list(DataLoader(wrapped, batch_size=None, num_workers=workers))


@pytest.mark.parametrize("state", [None, [], torch.zeros(2), {}, {"epoch": 0, "batch": 0}])
def test_no_state_at_all(features: FeatureSet, state: Any) -> None:
    """It is rejected, as the state of another loader is."""
    with pytest.raises(UsageError):
        FeatureLoader(features, 8, "host").load_state_dict(state)


def test_numbers_of_numpy_are_numbers(features: FeatureSet) -> None:
    """They are accepted as seed and as epoch; other values than whole numbers are rejected immediately."""
    loader = FeatureLoader(features, 8, "host", shuffle=True, seed=np.int64(3))  # type: ignore[arg-type]
    loader.set_epoch(np.int64(2))  # type: ignore[arg-type]
    state = loader.state_dict()
    assert (type(state["seed"]), type(state["epoch"])) == (int, int)
    loader.load_state_dict(state)
    with pytest.raises(UsageError, match=r"epoch must be a whole number, got 1\.5"):
        loader.set_epoch(1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="seed must be a whole number, got None"):
        FeatureLoader(features, 8, seed=None)  # type: ignore[arg-type]
