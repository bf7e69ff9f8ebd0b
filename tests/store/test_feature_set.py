"""Reads of a committed set return the original rows, for any range."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.small_sets import SITES, memory_storage, same, small_set
from tests.store.watched_storage import Crashing, WatchedStorage

from spikestore.store import FeatureSet
from spikestore.store.columns.samples import concatenate
from spikestore.store.storage import FolderStorage
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, NewerFormatError, UsageError
from spikestore.store_schemas.specs.canonical import seal, unseal

SMALL = small_set()
STORAGE = memory_storage()
SMALL.build(STORAGE)
FEATURES = FeatureSet.open(STORAGE, SMALL.address)


class IndexOnly:
    """A whole number without arithmetic, as a tensor on another device."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number


@given(
    st.tuples(st.integers(0, len(SMALL)), st.integers(0, len(SMALL)))
    .map(sorted)
    .filter(lambda r: r[0] < r[1])
)
def test_any_rows(rows: list[int]) -> None:
    """Any range of rows, across blocks and fragments, has the values and dtypes of the original."""
    start, stop = rows
    assert same(FEATURES.read(start, stop), SMALL.truth, start, stop)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, np.array, IndexOnly])
def test_rows_are_any_whole_numbers(kind: Callable[[int], Any]) -> None:
    """Also those of NumPy, which overflow or become floats, and tensors of one number, such as `Batch.samples` has."""
    for row in (0, 65, 169):
        assert same(FEATURES.read(kind(row), kind(row + 1)), SMALL.truth, row, row + 1)
        assert np.array_equal(FEATURES.frames(kind(row)), FEATURES.frames(row))
    with pytest.raises(UsageError, match="a set of 170 samples has no rows"):
        FEATURES.frames(kind(255))


def test_an_unknown_column_is_not_damage() -> None:
    with pytest.raises(UsageError, match=r"has no column 'spk'; its columns are nnz, n_bins, label"):
        FEATURES.column("spk")


def test_all_rows() -> None:
    """Without bounds all rows are read; the fragments, one after the other, are the same rows."""
    assert same(FEATURES.read(), SMALL.truth)
    assert same(FEATURES.read(100), SMALL.truth, 100)
    fragments = [*FEATURES.fragments()]
    assert [len(one) for one in fragments] == [64, 64, 42]
    assert same(concatenate(fragments), SMALL.truth)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 5), (6, 5), (0, 171), (170, 171)])
def test_rows_outside(start: int, stop: int) -> None:
    """Rows outside the set are an error, never a shorter or wrapped read."""
    with pytest.raises(UsageError, match=f"a set of 170 samples has no rows {start}:{stop}"):
        FEATURES.read(start, stop)


@pytest.mark.parametrize("row", [*range(12), 63, 64, 100, 127, 128, 130, 169])
def test_frames(row: int) -> None:
    """Frames have every value at its (time, polarity, x), and zeros elsewhere; a skipped row has no bins."""
    expected = np.zeros((int(SMALL.truth.n_bins[row]), 1, SITES), np.uint32)
    sample = SMALL.truth.rows(row, row + 1)
    for index, value in zip(sample.index, sample.value, strict=True):
        time, x = divmod(int(index), SITES)
        expected[time, 0, x] = value
    frames = FEATURES.frames(row)
    assert frames.shape == expected.shape
    assert frames.dtype == np.uint32
    assert np.array_equal(frames, expected)
    assert (row in SMALL.skipped) == (len(frames) == 0)


def test_its_description_of_itself() -> None:
    """Length, classes, layout and digest are those of the manifest; the repr names split, size and store."""
    assert len(FEATURES) == 170
    assert FEATURES.classes == ("yes", "no")
    assert FEATURES.layout == SMALL.layout
    assert FEATURES.digest == FEATURES.manifest.digest
    assert repr(FEATURES).startswith(
        f"<FeatureSet SSC train: 170 samples, {len(SMALL.truth.index):,} non-zeros, "
    )
    assert "memory://test" in repr(FEATURES)


def test_records_belong_to_their_fragment() -> None:
    """The record of each fragment lists its objects; a silent fragment lists no values."""
    assert [FEATURES.record(number).fragment for number in range(3)] == [0, 1, 2]
    assert {entry.path for entry in FEATURES.record(2).objects} >= {"index/c/2", "value/c/2", "check/c/2"}
    assert "index/c/1" not in {entry.path for entry in FEATURES.record(1).objects}


def test_opening_takes_two_requests() -> None:
    """Manifest and root metadata are all that opening asks the storage for."""
    watch = Crashing()
    features = FeatureSet.open(WatchedStorage(STORAGE, watch), SMALL.address)
    assert features.root == FeatureSet.open(STORAGE, SMALL.address).root
    assert [path.rpartition("/")[2] for _, path in watch.verbs] == ["manifest.json", "zarr.json"]


def test_nothing_is_committed() -> None:
    """Without a manifest, opening fails."""
    with pytest.raises(MissingObjectError, match=r"manifest\.json is not in the store"):
        FeatureSet.open(memory_storage(), SMALL.address)


def test_a_newer_format() -> None:
    """The error has the format's number and what to do, even if the rest of the document is unknown."""
    storage = memory_storage()
    storage.put_if_absent(SMALL.address.manifest, seal({"format": 2, "all": "else is new"}))
    message = r"manifest\.json has store format 2, but this version of spikestore reads format 1: install a newer version"
    with pytest.raises(NewerFormatError, match=message) as caught:
        FeatureSet.open(storage, SMALL.address)
    assert caught.value.details["format"] == 2


def test_an_operation_of_a_newer_version() -> None:
    """A set with an unknown operation is not damaged: the message names the operation and says what to install."""
    storage = memory_storage()
    document = unseal(STORAGE.get(SMALL.address.manifest), path="manifest.json")
    document["transform"]["operations"].append({"op": "to_something", "version": 1})
    document["provenance"] = {"packages": {"spikestore": "7.1.2"}}
    storage.put_if_absent(SMALL.address.manifest, seal(document))
    message = r"manifest\.json has the operation to_something, which this version of spikestore does not know: install version 7\.1\.2"
    with pytest.raises(NewerFormatError, match=message):
        FeatureSet.open(storage, SMALL.address)


@pytest.mark.parametrize(
    "change", [{"samples": 171}, {"nnz": 1}, {"fragments": []}, {"zarr": "no hash"}, {"new": 1}]
)
def test_a_manifest_that_contradicts_itself(change: dict[str, object]) -> None:
    """A manifest with a valid hash and contradictory values is damage; the error names the place."""
    storage = memory_storage()
    document = unseal(STORAGE.get(SMALL.address.manifest), path="manifest.json")
    storage.put_if_absent(SMALL.address.manifest, seal({**document, **change}))
    with pytest.raises(DamagedError, match="is not a valid manifest:\n"):
        FeatureSet.open(storage, SMALL.address)


def test_a_set_that_was_read_can_be_copied_and_pickled(tmp_path: Path) -> None:
    """Workers of a data set need it. A copy opens its own reader, because the reader holds a lock."""
    features = SMALL.build(FolderStorage(tmp_path))
    features.read(0, 64)
    for other in (pickle.loads(pickle.dumps(features)), copy.deepcopy(features)):  # noqa: S301 - our own bytes
        assert same(other.read(), SMALL.truth)
