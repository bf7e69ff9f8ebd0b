"""A loader of any residence can finish an epoch in any order, with the same remaining batches."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.small_sets import memory_storage
from tests.train.conftest import learnable

from spikestore.store import FeatureSet
from spikestore.train.data.epoch_order import BatchOrder, EpochSamples, RankShare
from spikestore.train.data.order_choice import OrderChoice
from spikestore.train.data.placement import Chosen, agreed_residence
from spikestore.train.data.subsets import subset_rows

SUBSETS = {"all": None, "odd": range(1, 700, 2), "few": range(90, 130)}
RESIDENCES: list[Chosen] = ["host", "device", "stream"]


@pytest.fixture(scope="module")
def built() -> dict[int, FeatureSet]:
    """Return one set of 700 rows, row 3 skipped, for each size of fragments."""
    plain = learnable("train", 700, 1)
    return {size: plain.build(memory_storage(), size) for size in (64, 192)}


def drawn(order: BatchOrder, first: int, last: int, size: int, ranks: int) -> list[list[int]]:
    """Return the rows of batches `first` to `last` of epoch 2, of all ranks together, sorted in each batch."""
    batches: list[list[int]] = [[] for _ in range(first, last)]
    for rank in range(ranks):
        rows, edges = order.batches(2, first, size, RankShare(rank, ranks))
        assert len(edges) == len(order.batches(2, first, size, RankShare())[1])
        for batch, (start, stop) in zip(batches, pairwise(edges), strict=False):
            batch.extend(rows[start:stop].tolist())
    return [sorted(batch) for batch in batches]


@given(
    began=st.sampled_from(RESIDENCES),
    stages=st.lists(
        st.tuples(
            st.integers(0, 12),  # batches until the next stop
            st.integers(1, 4),  # ranks
            st.sampled_from([64, 192]),  # rows of a fragment
            st.sampled_from([None, 64, 300, 512]),  # window
        ),
        min_size=1,
        max_size=5,
    ),
    subset=st.sampled_from([*SUBSETS]),
    size=st.sampled_from([7, 16, 100]),
)
def test_each_recording_comes_once_across_stops(
    built: dict[int, FeatureSet],
    began: Chosen,
    stages: list[tuple[int, int, int, int | None]],
    subset: str,
    size: int,
) -> None:
    """Loaders with other ranks, windows and fragments resume the epoch: the batches are those of the order with which it began."""

    def choice(fragment: int, window: int | None) -> OrderChoice:
        samples = EpochSamples(rows, 5, built[fragment].digest)
        return OrderChoice(built[fragment], samples, shuffle=True, weights=None, window=window)

    rows = subset_rows(built[64], SUBSETS[subset])
    first = choice(*stages[0][2:]).of(began)
    count = -(-len(rows) // size)
    truth = drawn(first, 0, count, size, 1)
    assert sorted(row for batch in truth for row in batch) == rows.tolist()
    found, at, name = [], 0, first.name
    for batches, ranks, fragment, window in [*stages, (count, 2, 192, None)]:
        order = choice(fragment, window).named(name)
        assert order is not None
        stop = min(at + batches, count)
        found += drawn(order, at, stop, size, ranks)
        at, name = stop, order.name
    assert found == truth


def test_names_that_no_order_has(built: dict[int, FeatureSet]) -> None:
    """Names of another kind of shuffling, or of impossible spans, have no order; a name without a fragment's size uses the set's."""
    rows = subset_rows(built[64], None)
    samples = EpochSamples(rows, 0, built[64].digest)

    def choice(**changes: Any) -> OrderChoice:
        return OrderChoice(built[64], samples, **{"shuffle": True, "weights": None, "window": 192, **changes})

    assert choice().named("rows") is None
    assert choice(shuffle=False).named("uniform") is None
    assert choice(shuffle=False).named(choice().of("stream").name) is None
    assert choice(weights=np.ones(len(rows))).named("uniform") is None
    for name in ("delayed 0x1x1", "delayed 64x0x1", "delayed 64x65x1", "delayed 63x1x1", "delayed 64x1x1 of 0",
                 "delayed 64x1", " delayed 64x1x1", "delayed 64x1x9999999999", None, 3, ""):  # fmt: skip
        assert choice().named(name) is None, name
    own = choice().of("stream")
    assert own.name == "delayed 64x3x1 of 64"
    former = choice().named("delayed 64x3x1")
    assert former is not None
    assert former.name == own.name


def test_ranks_agree_on_the_residence_of_least_memory() -> None:
    """If one rank has to stream, all stream; if the GPU of one has no room, all use the host."""
    assert agreed_residence(["host", "stream", "device"]) == "stream"
    assert agreed_residence(["device", "host"]) == "host"
    assert agreed_residence(["device"]) == "device"
