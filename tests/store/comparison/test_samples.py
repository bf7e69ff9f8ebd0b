"""Samples of two sets, compared with a plain loop over their dense frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.small_sets import SmallSet, memory_storage, small_set

from spikestore.store import FeatureSet
from spikestore.store.comparison import samples as module
from spikestore.store.comparison.samples import sample_differences
from spikestore.store_schemas import SourceFile

FIRST = small_set()
SAME_RECORDINGS = replace(small_set(time_window=5000.0, seed=2), source=FIRST.source)


def build(small: SmallSet) -> FeatureSet:
    """Store a set in memory."""
    return small.build(memory_storage())


def with_files(small: SmallSet, contents: list[int]) -> SmallSet:
    """Return the set with one file for each recording."""
    files = tuple(
        SourceFile(name=f"{number:04}.npy", size=1, sha256=f"{content:064x}")
        for number, content in enumerate(contents)
    )
    return replace(small, source=small.source.model_copy(update={"files": files}))


def expected(
    first: FeatureSet, second: FeatureSet, pairs: list[tuple[int, int]]
) -> tuple[int, int, list[list[float]]]:
    """Return the expected result, from dense frames: equal frames, other labels and totals."""
    equal = others = 0
    totals = [[0.0] * 4 for _ in range(2)]
    for row, other in pairs:
        frames = first.frames(row), second.frames(other)
        equal += bool(np.array_equal(*frames))
        labels = first.read(row, row + 1).label[0], second.read(other, other + 1).label[0]
        names = [None if n < 0 else s.classes[n] for n, s in zip(labels, (first, second), strict=True)]
        others += names[0] != names[1]
        for total, dense, name in zip(totals, frames, names, strict=True):
            for place, value in enumerate((np.count_nonzero(dense), dense.sum(), len(dense), name is None)):
                total[place] += float(value)
    return equal, others, totals


def test_sets_of_the_same_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row i is the same recording in both sets; the number of rows that are read at a time changes nothing."""
    first, second = build(FIRST), build(SAME_RECORDINGS)
    equal, others, totals = expected(first, second, [(row, row) for row in range(len(first))])
    for rows in (1024, 64, 7):
        monkeypatch.setattr(module, "ROWS", rows)
        found = sample_differences(first, second)
        assert found is not None
        assert (found.recordings, found.only_first, found.only_second) == (170, 0, 0)
        assert (found.equal, found.other_labels) == (equal, others)
        assert [list(found.first), list(found.second)] == totals


def test_a_value_or_a_bin_more_is_another_sample() -> None:
    """Frames are equal only if all values and the number of bins are."""
    truth = FIRST.truth
    value, n_bins = truth.value.copy(), truth.n_bins.copy()
    value[truth.offsets()[1]] += 1  # the first value of row 1
    n_bins[2] += 1
    changed = replace(
        SAME_RECORDINGS, truth=replace(truth, value=value, n_bins=n_bins), skipped=FIRST.skipped
    )
    found = sample_differences(build(FIRST), build(changed))
    assert found is not None
    assert (found.equal, found.other_labels) == (len(FIRST) - 2, 0)
    assert found.second.counts - found.first.counts == found.second.bins - found.first.bins == 1


@settings(max_examples=5)
@given(order=st.permutations(range(30)), kept=st.integers(1, 30))
def test_files_are_matched_by_content(order: list[int], kept: int) -> None:
    """With a file for each recording, moved, added and removed files are matched."""
    first = build(with_files(small_set(30), list(range(30))))
    second = build(with_files(small_set(kept, seed=3), order[:kept]))
    pairs = sorted((content, row) for row, content in enumerate(order[:kept]))
    equal, others, totals = expected(first, second, pairs)
    found = sample_differences(first, second)
    assert found is not None
    assert (found.recordings, found.only_first, found.only_second) == (kept, 30 - kept, 0)
    assert (found.equal, found.other_labels) == (equal, others)
    assert [list(found.first), list(found.second)] == totals


def test_files_of_equal_contents() -> None:
    """Each row is matched once: a second file of the same content is a recording that only one of the sets has."""
    first, second = build(with_files(small_set(4), [5, 5, 6, 7])), build(with_files(small_set(3), [7, 5, 5]))
    for one, other, expected_counts in ((first, second, (3, 1, 0)), (second, first, (3, 0, 1))):
        found = sample_differences(one, other)
        assert found is not None
        assert (found.recordings, found.only_first, found.only_second) == expected_counts
    single = build(with_files(small_set(2), [5, 8]))
    found = sample_differences(first, single)
    assert found is not None
    assert (found.recordings, found.only_first, found.only_second) == (1, 3, 1)


def test_unknown_recordings_are_not_compared() -> None:
    """Two files of other contents with many recordings each: it is unknown which recordings are the same."""
    assert sample_differences(build(FIRST), build(small_set(seed=1))) is None


@settings(max_examples=20)
@given(rows=st.permutations(range(40)))
def test_groups_are_bounded(rows: list[int]) -> None:
    """No group reads more rows of a set than allowed, and the groups cover all pairs in order."""
    most = 8
    sides = np.arange(40), np.array(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", most)
        groups = list(module._groups(*sides))
    assert [row for start, stop in groups for row in range(start, stop)] == list(range(40))
    assert all(np.ptp(side[start:stop]) < most for side in sides for start, stop in groups)
