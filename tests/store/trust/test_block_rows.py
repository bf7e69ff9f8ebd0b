"""Whole blocks of rows: both readers that go chunk by chunk accept intact rows anywhere in a set, and no column of another dtype."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.store import FeatureSet
from spikestore.store.columns.reader import DirectReader, FragmentTable, undecodable
from spikestore.store.trust.block_rows import RowRange
from spikestore.store.trust.narrow_rows import NarrowReader
from spikestore.store.trust.scanned_rows import ScannedRows
from spikestore.store_schemas.errors import DamagedError

SMALL = small_set(300)
DTYPES = (np.dtype(np.uint16), np.dtype(np.uint8))


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    """Build a set in fragments of 128, 128 and 44 rows."""
    return SMALL.build(memory_storage(), fragment_samples=128)


@pytest.mark.parametrize(
    ("fragment", "start", "stop"),
    [(0, 0, 64), (0, 64, 128), (1, 0, 64), (1, 0, 128), (1, 64, 128), (2, 0, 44)],
)
def test_intact_rows_are_accepted_anywhere(
    features: FeatureSet, fragment: int, start: int, stop: int
) -> None:
    """A refused block would be read again in the slow way, with the same result, so this test asks the readers themselves."""
    rows, first = RowRange(fragment, start, stop), 128 * fragment
    truth = SMALL.truth.rows(first + start, first + stop)
    reader = features._rows.reader
    assert isinstance(reader, DirectReader)
    narrow = NarrowReader(reader, features.address, features.manifest).read(rows, DTYPES)
    assert narrow is not None
    assert np.array_equal(narrow.index, truth.index)
    scanned = ScannedRows(features.address, features.manifest, rows, reader, partial(undecodable, fragment))
    for name in ("index", "value"):
        values = [number for _, piece in scanned.pieces(name) for number in piece.tolist()]
        assert values == getattr(truth, name).tolist()
    scanned.finish()
    for offsets in (narrow.offsets, scanned.offsets):
        assert np.array_equal(offsets, truth.offsets())
    assert np.array_equal(scanned.samples["n_bins"], truth.n_bins)
    assert np.array_equal(narrow.label, truth.label)


class OtherDtype:
    """Stand-in for a `DirectReader`: one column with one value per sample has another dtype; all numbers are the same."""

    def __init__(self, reader: DirectReader, name: str) -> None:
        self.pieces = reader.pieces
        table = reader.table(0)
        columns = table.columns | {name: table.columns[name].astype(np.int64)}
        self._table = replace(table, columns=columns)

    def table(self, fragment: int) -> FragmentTable:
        return self._table


@pytest.mark.parametrize("name", ["nnz", "n_bins", "label", "n_events"])
def test_a_column_of_another_dtype_is_refused(features: FeatureSet, name: str) -> None:
    """Compiled loops rely on the dtypes."""
    reader = features._rows.reader
    assert isinstance(reader, DirectReader)
    other: Any = OtherDtype(reader, name)
    rows = RowRange(0, 0, 64)
    assert NarrowReader(other, features.address, features.manifest).read(rows, DTYPES) is None
    with pytest.raises(DamagedError, match="the format or the manifest forbids"):
        ScannedRows(features.address, features.manifest, rows, other, partial(undecodable, 0))
