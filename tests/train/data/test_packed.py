"""Packed columns."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.store import FeatureSet, SampleColumns
from spikestore.store.columns.packed_size import narrow_dtypes, packed_bytes
from spikestore.store_schemas.errors import UsageError
from spikestore.train import pack
from spikestore.train.data import packed as packed_columns


def test_holds_every_sample_but_skipped_ones(features: FeatureSet) -> None:
    """Each packed sample is the row of the set that `rows` names; skipped rows are left out."""
    packed = pack(features)
    assert packed.rows.tolist() == [row for row in range(150) if row != 3]
    for position, row in enumerate(packed.rows):
        truth = features.read(int(row), int(row) + 1)
        run = slice(packed.offsets[position], packed.offsets[position + 1])
        assert np.array_equal(packed.index[run], truth.index)
        assert np.array_equal(packed.value[run], truth.value)
        assert (packed.n_bins[position], packed.label[position]) == (truth.n_bins[0], truth.label[0])


def test_is_narrow_and_as_large_as_estimated(features: FeatureSet) -> None:
    """Small indices and values take 3 bytes per non-zero, and the estimate from the manifest is right."""
    packed = pack(features)
    assert (packed.index.dtype, packed.value.dtype) == (np.dtype("uint16"), np.dtype("uint8"))
    # the estimate counts the skipped row, and the last offset, in full
    assert 0 <= packed_bytes(features.manifest) - packed.nbytes <= 2 * 28


@pytest.mark.parametrize(("largest", "dtype"), [(255, "uint8"), (256, "uint16"), (65536, "uint32")])
def test_widens_for_large_values(largest: int, dtype: str) -> None:
    """A value that does not fit a narrow dtype widens the column, and is read unchanged."""
    small = small_set(70, skipped=())
    value = small.truth.value.copy()
    value[5] = largest
    columns = SampleColumns(**{**vars(small.truth), "value": value})
    features = type(small)(
        small.transform, small.source, small.layout, small.n_events, columns, small.skipped
    ).build(memory_storage())
    assert narrow_dtypes(features.manifest)[1] == np.dtype(dtype)
    assert np.array_equal(pack(features).value, value)


def test_refuses_a_set_of_skipped_rows() -> None:
    """A set in which every recording was skipped is an error, not an empty loader."""
    features = small_set(5, skipped=(0, 1, 2, 3, 4)).build(memory_storage())
    with pytest.raises(UsageError, match="every recording"):
        pack(features)


def test_reports_progress(features: FeatureSet) -> None:
    """Progress is reported, and ends at all samples."""
    told: list[tuple[int, int, str]] = []
    pack(features, lambda *report: told.append(report))
    assert told[-1] == (150, 150, "SSC train")
    assert [done for done, _, _ in told] == [64, 128, 150]


def test_a_long_load_says_how_far_it_is(
    features: FeatureSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has samples, bytes, rate and time left at intervals; a short load logs nothing."""
    with caplog.at_level(logging.INFO, "spikestore"):
        pack(features)
        assert "loaded" not in caplog.text
        monkeypatch.setattr(packed_columns, "TELL_S", 0.0)
        columns = pack(features)
    told = re.findall(
        r"SSC train: (\d+) of 150 samples loaded, ([\d.]+) MB packed, [\d.]+ MB/s, \d+ s left", caplog.text
    )
    assert [int(rows) for rows, _ in told] == [
        min(64 * fragment + 64, 150) for fragment in range(len(features.manifest.fragments))
    ]
    assert float(told[-1][1]) == pytest.approx((columns.index.nbytes + columns.value.nbytes) / 1e6, abs=0.06)
