"""The items of data sets in Python: nested subsets and concatenations, and data sets with more items than memory can list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.pipeline.folders import draw
from tests.pipeline.map_datasets import Gestures, frames_transform
from torch.utils.data import ConcatDataset, Subset

from spikestore.pipeline.building.preprocess import preprocess
from spikestore.pipeline.sources.item_lists import list_items
from spikestore.pipeline.sources.item_sources import source_of_dataset
from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.errors import UsageError

GIANT = 10**12


class Simulated:
    """A data set that computes its items, as many as its length says."""

    classes = ("left", "right")

    def __init__(self, count: int = GIANT) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return draw(index % 1000), index % 2


class Named:
    """A data set whose items name the data set and their index."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.name, range(self.count)[index]


@st.composite
def nested(draw_: st.DrawFn, leaves: list[Named]) -> Any:
    """Draw a data set of data sets; a leaf may be in it several times, or be empty in it."""
    dataset: Any = draw_(st.sampled_from(leaves))
    for _ in range(draw_(st.integers(0, 4))):
        if len(dataset) and draw_(st.booleans()):
            dataset = Subset(
                dataset, draw_(st.lists(st.integers(-len(dataset), len(dataset) - 1), max_size=6))
            )
        else:
            others: list[Any] = draw_(st.lists(st.sampled_from(leaves), max_size=2))
            dataset = ConcatDataset([*others, dataset])
    return dataset


def leaves_in(dataset: Any) -> Iterator[str]:
    """Yield the names of the leaves from left to right; an object may have several."""
    if isinstance(dataset, Subset):
        yield from leaves_in(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from leaves_in(part)
    else:
        yield dataset.name


@given(st.data())
def test_the_items_are_those_that_the_object_returns(data: st.DataObject) -> None:
    """Number by number. The data sets are listed from left to right, because their order is in the key."""
    leaves = [Named("a", 3), Named("b", 1), Named("c", 4)]
    dataset = data.draw(nested(leaves))
    expected = [dataset[index] for index in range(len(dataset))]
    if not expected:
        with pytest.raises(UsageError, match="has no items"):
            list_items(dataset)
        return
    items = list_items(dataset)
    listed = [
        (items.leaves[leaf].dataset.name, int(row))
        for leaf, row in zip(items.leaf_of, items.row_of, strict=True)
    ]
    assert listed == expected
    used = {name for name, _ in expected}
    in_order = dict.fromkeys(name for name in leaves_in(dataset) if name in used)
    assert [leaf.dataset.name for leaf in items.leaves] == [*in_order]


def test_more_items_than_memory_can_list(tmp_path: Path) -> None:
    """One line has the number and what to do, and the advice works: a Subset needs memory only for its own items."""
    giant = Simulated()
    with pytest.raises(
        UsageError,
        match=r"Simulated says that it has 1,000,000,000,000 items, .* pass a torch.utils.data.Subset",
    ):
        preprocess(giant, frames_transform(), store=tmp_path / "store", version="1", workers=0)
    small = Gestures(3)
    both: Any = ConcatDataset([small, giant])  # type: ignore[list-item]
    rows = [3 + GIANT - 1, 1, 3 + 4, -GIANT]
    for dataset, expected in (
        (Subset(giant, [0, 5, GIANT - 1]), [draw(0), draw(5), draw(999)]),  # type: ignore[arg-type]
        (Subset(both, rows), [draw(999), draw(1), draw(4), draw(0)]),
    ):
        for options in ({"version": "1"}, {"hash_events": True}):
            features = preprocess(dataset, frames_transform(), store=tmp_path / "store", workers=0, **options)
            assert isinstance(features, FeatureSet)
            source = source_of_dataset(dataset, **options)
            assert source.seconds_to_read < 10
            with source.part(range(1, 3)).open() as reader:  # what a worker gets
                lengths = np.diff(reader.read_block(1, 3).offsets)
                assert [*lengths] == [len(events) for events in expected[1:3]]
                assert len(reader.n_events()) == 2
            for row, events in enumerate(expected):
                np.testing.assert_array_equal(features.frames(row), frames_transform()(events.copy()))


@pytest.mark.parametrize("indices", [[0.7, 1.9], np.array([True, False]), ["1"], [None]])
def test_an_index_that_is_not_an_integer_is_refused(indices: Any) -> None:
    """The data set itself raises a TypeError, but floats were truncated."""
    dataset: Any = Gestures(3)
    with pytest.raises(
        UsageError, match=r"a Subset has the index .*, but an index must be an integer: correct"
    ):
        list_items(Subset(dataset, indices))


@pytest.mark.parametrize("index", [3, -4, 10**30])
def test_an_index_outside_its_data_set_is_refused(index: int) -> None:
    with pytest.raises(
        UsageError, match=f"a Subset has the index {index}, but its data set has 3 items: correct"
    ):
        list_items(Subset(Gestures(3), [0, index, 2]))  # type: ignore[arg-type]


def test_integers_of_numpy_and_torch_are_indices() -> None:
    lists: list[Any] = [np.array([2, 0], np.uint8), torch.tensor([2, 0]), [np.int64(2), 0], range(2, -1, -2)]
    dataset: Any = Gestures(3)
    for indices in lists:
        assert list_items(Subset(dataset, indices)).row_of.tolist() == [2, 0]
