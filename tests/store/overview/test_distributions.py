"""Distributions of a set equal the sums of its dense frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.store.small_sets import SmallSet, memory_storage, small_set

from spikestore.store.overview import distributions as module
from spikestore.store.overview.distributions import distributions
from spikestore.store_schemas import ToFrame, Transform, layout_of


def with_y() -> SmallSet:
    """Return the small set with its 10 sites as 2 polarities, 1 y and 5 x, which is a camera with one line of pixels."""
    transform = Transform(operations=(ToFrame(sensor_size=(5, 1, 2), time_window=4000.0),))
    layout = layout_of(transform, has_y=True, classes=("yes", "no"), extras=("n_events",))
    return replace(small_set(), transform=transform, layout=layout)


@pytest.mark.parametrize("small", [small_set(), with_y()])
def test_all_rows(small: SmallSet) -> None:
    """Each sum is that over the dense frames of all rows, and lengths are those of the rows that are not skipped."""
    features = small.build(memory_storage())
    found = distributions(features)
    frames = [features.frames(row) for row in range(len(features))]
    padded = np.zeros((len(found.bins), *features.layout.sites))
    for one in frames:
        padded[: len(one)] += one
    everywhere = tuple(range(1, padded.ndim))
    assert np.array_equal(found.bins, padded.sum(axis=everywhere))
    assert found.sites.keys() == {*features.layout.axes[2:]}
    for name, sums in found.sites.items():
        axis = features.layout.axes.index(name)
        others = tuple(each for each in range(padded.ndim) if each != axis)
        assert np.array_equal(sums, padded.sum(axis=others))
    assert found.rows == len(small) - len(small.skipped)
    assert found.lengths.tolist() == [len(one) for one in frames if len(one)]
    assert found.to_json()["lengths"]["8"] == found.lengths.tolist().count(8)
    shortest, longest, counts = found.length_counts()
    assert (shortest, longest, counts.sum()) == (found.lengths.min(), found.lengths.max(), found.rows)


def test_some_blocks_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few blocks are read: the first, the last, and those between; fewer if they have many non-zeros."""
    features = small_set(samples=400, silent=range(0), skipped=()).build(memory_storage())
    monkeypatch.setattr(module, "MOST_BLOCKS", 3)
    rows = [*range(64), *range(192, 256), *range(384, 400)]
    assert distributions(features).lengths.tolist() == features.column("n_bins")[rows].tolist()
    monkeypatch.setattr(module, "MOST_NON_ZEROS", 1)
    assert distributions(features).rows == 64
