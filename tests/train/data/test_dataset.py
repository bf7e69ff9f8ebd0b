"""The map-style data set."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.store.small_sets import memory_storage, small_set
from torch.utils.data import DataLoader, Subset

from spikestore.store import FeatureSet, SampleColumns
from spikestore.store_schemas.errors import UsageError
from spikestore.train import FeatureDataset, hold_out, pack, rows_where


def pad(batch: list[tuple[np.ndarray, np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack frames of different lengths, as Tonic's PadTensors does."""
    longest = max(len(frames) for frames, _ in batch)
    padded = torch.zeros(len(batch), longest, *batch[0][0].shape[1:])
    for place, (frames, _) in enumerate(batch):
        padded[place, : len(frames)] = torch.from_numpy(frames)
    return padded, torch.tensor([int(label) for _, label in batch])


def test_items_equal_those_of_tonic(features: FeatureSet) -> None:
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
        with pytest.raises(IndexError, match=f"item must be from -149 to 148, got {item}"):
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
    """The user's own transforms are applied last."""
    dataset = FeatureDataset(features, lambda frames: frames.clip(max=1), lambda label: int(label) + 10)
    frames, label = dataset[1]
    assert frames.max() == 1
    assert label in (10, 11)


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(each, marks=pytest.mark.slow) for each in ("spawn", "forkserver"))]
)
def test_works_in_worker_processes(features: FeatureSet, method: str) -> None:
    """Under every start method, workers return the items of the main process, here after a read through obstore."""
    in_memory = small_set(70).build(memory_storage())
    in_memory.read(0, 10)  # from here on, a store that is read in a forked child would hang
    dataset = FeatureDataset(in_memory)
    arguments: dict[str, Any] = {"batch_size": 16, "collate_fn": pad}
    workers = 2 if method == "fork" else 1  # other start methods import torch again, which takes seconds
    alone = list(DataLoader(dataset, **arguments))
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork in a process with threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        shared = list(
            DataLoader(dataset, num_workers=workers, multiprocessing_context=method, timeout=120, **arguments)
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


@pytest.mark.parametrize("whole", ["set", "packed columns"])
def test_rows_choose_items(features: FeatureSet, whole: str) -> None:
    """Items are chosen by number, mask or tensor, as in the loader: skipped rows are left out, items keep the order of the set."""
    everything = pack(features)
    source = features if whole == "set" else everything
    wanted = [row for row in (90, 2, 3, 4, 149) if row != 3]
    mask = np.zeros(150, bool)
    mask[[*wanted, 3]] = True
    for rows in ([90, 2, 3, 4, 149], mask, torch.tensor([90, 2, 4, 149]), mask.tolist()):
        dataset = FeatureDataset(source, rows=rows)
        assert dataset.rows.tolist() == sorted(wanted)
        for item, row in enumerate(dataset.rows):
            assert np.array_equal(dataset[item][0], features.frames(int(row)))
            assert dataset[item][1] == dataset.targets[item] == features.read(int(row), int(row) + 1).label[0]
    for wrong, message in (([1, 1], "rows has duplicates"), ([3, 150], "rows must be from 0 to 149, got 150"), ([3], "all were skipped"), ([0.5], "row numbers")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            FeatureDataset(source, rows=wrong)


def test_a_partition_chooses_items(features: FeatureSet) -> None:
    """A partition is chosen by name; packed columns have no store to look the name up."""
    with pytest.raises(LookupError, match="no partition 'half'"):
        FeatureDataset(features, rows="half:a")
    with pytest.raises(UsageError, match=r"pass rows=partition_rows\(features, 'half:a'\)"):
        FeatureDataset(pack(features), rows="half:a")


def test_columns_are_those_of_items(features: FeatureSet) -> None:
    """Labels, speakers and other columns have one value for each item, also after skipped rows, for samplers and weights."""
    dataset, stored = FeatureDataset(features), features.read()
    assert len(dataset.targets) == len(dataset) == 149
    for name in ("label", "nnz", "n_bins", *stored.extras):
        truth = stored.extras[name] if name in stored.extras else getattr(stored, name)
        assert np.array_equal(dataset.column(name), truth[dataset.rows])
    with pytest.raises(UsageError, match="no column 'speakr'; the columns are label, n_bins, nnz"):
        dataset.column("speakr")


@pytest.mark.parametrize("by", ["sample", "label"])
def test_hold_out_returns_numbers_of_its_argument(features: FeatureSet, by: Any) -> None:
    """For a set they are rows, for a data set items: of the same recordings, none in both parts."""
    dataset = FeatureDataset(features)
    rows, items = hold_out(features, 0.25, seed=3, by=by), hold_out(dataset, 0.25, seed=3, by=by)
    for some_rows, some_items in zip(rows, items, strict=True):
        assert FeatureDataset(features, rows=some_rows).rows.tolist() == some_rows.tolist()
        assert dataset.rows[some_items].tolist() == some_rows.tolist()
        subset = Subset(dataset, some_items.tolist())
        assert np.array_equal(subset[len(subset) - 1][0], features.frames(int(some_rows[-1])))
    assert sorted(np.concatenate(items).tolist()) == list(range(149))


def test_rows_where_takes_names_of_classes(features: FeatureSet) -> None:
    """One class or several, as numbers or names, for a set and for a data set."""
    dataset, label = FeatureDataset(features), features.read().label
    no = np.flatnonzero(label == 1).tolist()
    given: Any = (1, [1], np.array([1]), np.int64(1), {1}, torch.tensor(1), "no", ["no"])
    for values in given:
        assert rows_where(features, "label", values).tolist() == no
        assert dataset.rows[rows_where(dataset, "label", values)].tolist() == no
    assert len(rows_where(features, "label", ("yes", "no"))) == 149
    with pytest.raises(UsageError, match="no class 'class1'; the classes are yes, no"):
        rows_where(features, "label", "class1")
    with pytest.raises(UsageError, match="values of the column 'nnz' must be numbers, got '3'"):
        rows_where(features, "nnz", "3")
    with pytest.raises(UsageError, match="features must be a FeatureSet or a FeatureDataset, got 'demo'"):
        rows_where("demo", "label", 1)  # type: ignore[arg-type]


def test_transforms_that_are_none(features: FeatureSet) -> None:
    """An argument that is not callable is named at construction; a class such as int is callable."""
    assert isinstance(FeatureDataset(features, None, int)[0][1], int)
    with pytest.raises(UsageError, match="transform must be a callable"):
        FeatureDataset(features, "flip")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["batch_size", "shuffle", "num_workers", "collate_fn", "sampler", "pin_memory"]
)
def test_arguments_of_a_dataloader(features: FeatureSet, name: str) -> None:
    """One line says that the argument is one of the DataLoader."""
    with pytest.raises(
        UsageError,
        match=f"FeatureDataset has no argument {name!r}: pass it to the DataLoader that uses the data set",
    ):
        FeatureDataset(features, **{name: 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"FeatureDataset has no argument 'row', did you mean 'rows'\?"):
        FeatureDataset(features, row=[1])  # type: ignore[arg-type]


def test_repr_of_a_data_set(features: FeatureSet) -> None:
    """The repr has the number of items, their frames and the number of classes."""
    dataset = FeatureDataset(features, rows=range(5))
    assert repr(dataset) == f"<FeatureDataset: {len(dataset)} items of frames int16 (time, 1, 10), 2 classes>"
