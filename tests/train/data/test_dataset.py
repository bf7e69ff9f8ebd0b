"""The map-style data set."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.store.small_sets import memory_storage, small_set
from torch.utils.data import DataLoader

from spikestore.store import FeatureSet, SampleColumns
from spikestore.train import FeatureDataset


def pad(batch: list[tuple[np.ndarray, np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack frames of different lengths, as Tonic's PadTensors does."""
    longest = max(len(frames) for frames, _ in batch)
    padded = torch.zeros(len(batch), longest, *batch[0][0].shape[1:])
    for place, (frames, _) in enumerate(batch):
        padded[place, : len(frames)] = torch.from_numpy(frames)
    return padded, torch.tensor([int(label) for _, label in batch])


def test_items_are_as_tonic_gives_them(features: FeatureSet) -> None:
    """Items are int16 frames and an int64 label; skipped rows are left out; negative items count from the end."""
    dataset = FeatureDataset(features)
    assert len(dataset) == 149
    for item in (0, 3, 148, -1):
        frames, label = dataset[item]
        row = int(dataset.rows[item])
        assert frames.dtype == np.int16
        assert isinstance(label, np.int64)
        assert np.array_equal(frames, features.frames(row))
        assert label == features.read(row, row + 1).label[0]
    assert dataset.classes == ("yes", "no")
    for item in (149, -150):
        with pytest.raises(IndexError, match=f"item {item} of 149"):
            dataset[item]


def test_counts_beyond_int16_are_kept() -> None:
    """One count beyond int16 makes all items int64, instead of wrapping."""
    small = small_set(10, skipped=())
    value = small.truth.value.copy()
    value[0] = 40_000
    columns = SampleColumns(**{**vars(small.truth), "value": value})
    made = type(small)(small.transform, small.source, small.layout, small.n_events, columns, ())
    dataset = FeatureDataset(made.build(memory_storage()))
    assert {frames.dtype for frames, _ in (dataset[item] for item in range(10))} == {np.dtype(np.int64)}
    assert max(int(dataset[item][0].max()) for item in range(10)) == 40_000


def test_transforms_are_applied(features: FeatureSet) -> None:
    """The user's own transforms come last."""
    dataset = FeatureDataset(features, lambda frames: frames.clip(max=1), lambda label: int(label) + 10)
    frames, label = dataset[1]
    assert frames.max() == 1
    assert label in (10, 11)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_works_in_worker_processes(features: FeatureSet, method: str) -> None:
    """Under every start method workers give what the main process gives, here after a read through obstore."""
    in_memory = small_set(70).build(memory_storage())
    in_memory.read(0, 10)  # from here on a store that is read in a forked child would hang
    dataset = FeatureDataset(in_memory)
    arguments: dict[str, Any] = {"batch_size": 16, "collate_fn": pad}
    alone = list(DataLoader(dataset, **arguments))
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        shared = list(
            DataLoader(dataset, num_workers=2, multiprocessing_context=method, timeout=120, **arguments)
        )
    assert len(alone) == len(shared) == 5
    for (frames, labels), (others, theirs) in zip(alone, shared, strict=True):
        assert torch.equal(frames, others)
        assert torch.equal(labels, theirs)


def test_can_be_pickled(features: FeatureSet) -> None:
    """A pickled copy has the same items."""
    dataset = FeatureDataset(features)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 our own bytes
    assert np.array_equal(copy[5][0], dataset[5][0])
