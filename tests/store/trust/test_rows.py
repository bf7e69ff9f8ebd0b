"""Rows with valid hashes that violate the format or the manifest are rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.faults.forger import Forgery, with_column, with_row
from tests.store.small_sets import SITES

from spikestore.store import SampleColumns, Store, verify
from spikestore.store_schemas.errors import DamagedError, StoreError

ROW = 1
"""A row of fragment 0 with non-zeros, but not its longest."""

Change = Callable[[SampleColumns], SampleColumns]


def beyond_frames(rows: SampleColumns) -> SampleColumns:
    """Move the last place of a row just beyond its frames, but within those of other rows."""
    assert rows.n_bins[ROW] < rows.n_bins.max()
    return with_row(rows, ROW, [0, int(rows.n_bins[ROW]) * SITES], [1, 1])


FORBIDDEN: dict[str, tuple[Change, str]] = {
    "unsorted": (
        lambda rows: with_row(rows, ROW, [5, 3], [1, 1]),
        "row 1: column 'index' must increase strictly",
    ),
    "duplicate": (
        lambda rows: with_row(rows, ROW, [3, 3], [1, 1]),
        "row 1: column 'index' must increase strictly",
    ),
    "beyond its frames": (beyond_frames, "row 1: column 'index' has a value outside its sample's frames"),
    "a zero": (
        lambda rows: with_row(rows, ROW, [3, 4], [1, 0]),
        "row 1: column 'value' must not contain 0",
    ),
    "no class": (
        lambda rows: with_column(rows, "label", ROW, 2),
        "row 1: label 2, but the set has 2 classes",
    ),
    "no label": (
        lambda rows: with_column(rows, "label", ROW, -1),
        "row 1: label -1, but the set has 2 classes",
    ),
    "a skipped row with a label": (
        lambda rows: with_column(rows, "label", 3, 1),
        "row 3: label 1, although the row",
    ),
    "a skipped row with bins": (lambda rows: with_column(rows, "n_bins", 3, 1), "row 3: a skipped row has"),
    "a fill value": (
        lambda rows: with_column(rows, "n_events", 2, 2**32 - 1),
        "column 'n_events' must have values from 0 to 4294967294",
    ),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_rows_that_the_format_forbids(forged: Forgery, tmp_path: Path, name: str) -> None:
    """No reader of any kind returns them; a deep verify and a deep pull reject them."""
    change, why = FORBIDDEN[name]
    forged.replace_rows(change(forged.rows()))
    features = forged.features
    assert verify(features) == []  # only the meaning of the values is wrong
    for read in (
        features.read,
        lambda: features.read(0, 64),
        lambda: features.read_narrow(0, 64, (np.dtype(np.uint16), np.dtype(np.uint8))),
        lambda: [*features.fragments()],
    ):
        with pytest.raises(DamagedError, match=why) as caught:
            read()
        assert "fragment 0" in str(caught.value)
        assert forged.address.folder in str(caught.value)
    (found,) = verify(features, depth="deep")
    assert why in found.detail
    with pytest.raises(StoreError, match=why):
        Store(tmp_path / "here").pull("small", forged.root, deep=True)
    assert [*Store(tmp_path / "here").feature_sets()] == []


def test_one_more_honest_row(forged: Forgery) -> None:
    """The forger's work is valid: rows that the format allows are read, verified and pulled."""
    forged.replace_rows(with_row(forged.rows(), ROW, [3, 5], [1, 7]))
    assert verify(forged.features, depth="deep") == []
    assert forged.features.read(ROW, ROW + 1).index.tolist() == [3, 5]


@pytest.mark.parametrize("name", ["label", "n_bins", "nnz"])
def test_columns_without_non_zeros(forged: Forgery, name: str) -> None:
    """The manifest's limits also hold for a column that is read alone."""
    rows = forged.rows()
    forged.replace_rows(with_column(rows, "label", ROW, 2))
    if name == "n_bins":
        forged.replace_rows(with_column(rows, "n_bins", 3, int(rows.n_bins.max()) + 5))
        forged.change_manifest(lambda one: one["fragments"][0].__setitem__(2, int(rows.n_bins.max())))
        forged.change_record(lambda one: one.update(n_bins=int(rows.n_bins.max())))
        forged.change_manifest(lambda one: one.update(n_bins=max(row[2] for row in one["fragments"])))
    features = forged.features
    if name == "nnz":
        assert features.column("nnz").sum() == features.manifest.nnz
        return
    with pytest.raises(
        DamagedError, match=rf"{name}/c/0 in .*: fragment 0, row (1: label 2|3: \d+ time bins)"
    ):
        features.column(name)


@pytest.mark.parametrize("name", ["max_index", "max_value"])
def test_a_largest_number_that_is_too_small(forged: Forgery, tmp_path: Path, name: str) -> None:
    """Readers choose dtypes by it: a larger value is an error that names its row, even if the digest is right."""
    digest = forged.features.digest
    forged.change_manifest(lambda one: one.__setitem__(name, one[name] // 2))
    features = forged.features
    assert features.digest == digest
    for read in (features.read, lambda: [*features.fragments()]):
        with pytest.raises(
            DamagedError, match=r"row \d+: (index|value) \d+ exceeds the manifest's maximum of \d+"
        ):
            read()
    for depth in ("quick", "normal", "deep"):
        assert any(name in one.detail for one in verify(features, depth=depth))
    with pytest.raises(StoreError, match=name):
        Store(tmp_path / "here").pull("small", forged.root)


@pytest.mark.parametrize("name", ["max_index", "max_value"])
def test_a_largest_number_that_is_too_large(forged: Forgery, tmp_path: Path, name: str) -> None:
    """It harms no reader, but is false: every check of the records finds it, and no copy accepts it."""
    rows = forged.rows()  # frames with more room than their non-zeros need
    forged.replace_rows(with_column(rows, "n_bins", 0, int(rows.n_bins.max()) + 5))
    true = getattr(forged.features.manifest, name)
    forged.change_manifest(lambda one: one.__setitem__(name, true + 1))
    features = forged.features
    features.read()
    (found,) = verify(features)
    assert found.path == forged.address.manifest
    assert found.detail.startswith(f"has {name} = {true + 1}, but its records give")
    with pytest.raises(StoreError, match=f"has {name}"):
        Store(tmp_path / "here").pull("small", forged.root)
    forged.change_record(lambda one: one.__setitem__(name, true + 1))
    features = forged.features
    assert verify(features) == []
    (found,) = verify(features, depth="deep")
    assert found.path == forged.address.record(features.manifest.plan_id, 0)
    assert found.detail.startswith(f"the record has {name} = {true + 1}, but the stored values give")
    with pytest.raises(StoreError, match=f"the record has {name} = "):
        Store(tmp_path / "here").pull("small", forged.root, deep=True)


@pytest.mark.parametrize(
    ("name", "number", "why"),
    [
        ("n_bins", 3, "n_bins must be the largest n_bins of the fragments"),
        ("max_index", 2**53 - 1, "max_index must be below n_bins × sites = "),
        ("max_value", 2**32, "max_value must be an integer below 4294967295"),
        ("max_value", 1e300, "max_value must be an integer below 4294967295"),
        ("max_value", 0.5, "max_value must be an integer below 4294967295"),
        ("max_value", 0, "contradict the number of non-zeros"),
    ],
)
def test_numbers_that_no_rows_have(forged: Forgery, name: str, number: float, why: str) -> None:
    """A manifest with contradictory numbers is not opened."""
    forged.change_manifest(lambda one: one.__setitem__(name, number))
    with pytest.raises(DamagedError, match=why):
        forged.features  # noqa: B018 - opening it raises
