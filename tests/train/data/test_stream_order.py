"""The order of a streamed epoch equals that of a plain implementation with stable sorting only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikestore.train.data.epoch_order import EpochSamples, epoch_order
from spikestore.train.data.splitmix import random_keys
from spikestore.train.data.streaming.stream_order import (
    SpanCut,
    _delays,
    _stable_order,
    covering,
    lane_order,
)


def plain_order(cut: SpanCut, samples: EpochSamples, epoch: int) -> npt.NDArray[np.int64]:
    """Return the rows in the order of an epoch."""
    rows, seed, digest = samples.rows, samples.seed, samples.digest
    turn = np.empty(len(cut.starts), np.int64)
    turn[epoch_order(len(cut.starts), seed=seed, epoch=epoch, digest=f"runs:{digest}")] = np.arange(len(turn))
    turns = turn[covering(cut.starts, rows)]
    lane, group = turns % cut.lanes, (turns // cut.lanes + cut.together - 1) // cut.together
    by_lane = np.lexsort((random_keys(rows, f"window:{digest}:{seed}:{epoch}"), group, lane))
    sizes = np.bincount(lane, minlength=cut.lanes)
    of = lane[by_lane]
    number = np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[of]
    mean = len(rows) / cut.lanes
    position = (number + 0.5) * (mean / sizes[of]) + _delays(cut, mean)[of]
    return rows[by_lane[np.argsort(position, kind="stable")]]


@given(
    spans=st.integers(1, 300),
    last=st.integers(1, 64),
    lanes=st.integers(1, 64),
    together=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_lanes(spans: int, last: int, lanes: int, together: int, epoch: int) -> None:
    """For any number of spans and lanes, the orders are equal."""
    starts = np.arange(spans) * 64
    stops = np.append(starts[1:], starts[-1] + last)
    cut = SpanCut(starts, stops, 64, min(lanes, spans), together, 512)
    samples = EpochSamples(np.arange(stops[-1]), 1, "digest")
    assert np.array_equal(lane_order(cut, samples, epoch).rows, plain_order(cut, samples, epoch))


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("last", [1, 64, 128])
@pytest.mark.parametrize("spans", [64, 65, 79, 127])
@pytest.mark.parametrize("epoch", range(3))
def test_batches_have_samples_from_all_lanes(together: int, last: int, spans: int, epoch: int) -> None:
    """A batch of twice as many samples as lanes has all lanes that are not short; a smaller one has few samples of a lane (docs/loading.md)."""
    starts = np.arange(spans * together) * 128
    stops = np.append(starts[1:], starts[-1] + last)
    cut = SpanCut(starts, stops, 128, 64, together, 512)
    order = lane_order(cut, EpochSamples(np.arange(stops[-1]), 1, "digest"), epoch)
    size_of_lane = np.bincount(order.lanes, minlength=64)
    long = np.flatnonzero(2 * size_of_lane >= size_of_lane.mean())
    for size, most in ((256, 10), (128, 6), (96, 4), (64, 4), (32, 3)):
        batches = [order.lanes[start : start + size] for start in range(0, len(order.lanes) - size + 1, size)]
        for batch in batches[len(batches) // 3 : -len(batches) // 3]:
            of_lane = np.bincount(batch, minlength=64)
            assert of_lane.max() <= most
            if size >= 2 * 64:
                assert of_lane[long].all()


def test_whole_epochs() -> None:
    """Keys of rows differ, so the order of a shuffled epoch is that of a stable sort."""
    keys = random_keys(np.arange(100_000), "digest:0:1")
    assert len(np.unique(keys)) == len(keys)
    ours = epoch_order(len(keys), seed=0, epoch=1, digest="digest")
    assert np.array_equal(ours, np.argsort(keys, kind="stable"))


@pytest.mark.parametrize("values", [1, 2, 7, 10**6])
def test_equal_positions(values: int) -> None:
    """Samples at the same position keep their order."""
    positions = np.random.default_rng(values).integers(0, values, 5000) / 3
    assert np.array_equal(_stable_order(positions), np.argsort(positions, kind="stable"))
