"""A store of an earlier version is read correctly; golden/README.md says when it may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from tests.store.format_reader import Reader

from spikestore.store import Build, SampleColumns, Store, verify
from spikestore.store.storage import FolderStorage
from spikestore.store.upkeep.repair import repair
from spikestore.store.upkeep.repair_rewrite import FragmentRows
from spikestore.store_schemas import Plan
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow

GOLDEN = Path(__file__).parents[1] / "golden"
FLOAT_DIGEST = "a73e0cf0f80bca259e0022e2f95f4555e6d8768301301a145cf0354872706dac"
STORES = pytest.mark.parametrize("name", ["store", "store_65536", "store_continued"])


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@STORES
def test_the_golden_store_reads_as_it_was_written(expected: dict[str, Any], name: str) -> None:
    """Every column of every row, as a whole and row by row, and the digest are compared."""
    features = Store(GOLDEN / name)["golden:test"]
    columns = features.read()
    found = dict(columns.in_order(features.layout))
    assert found.keys() | {"digest"} == expected.keys()
    for each, column in found.items():
        assert column.tolist() == expected[each], each
    assert features.digest == expected["digest"]
    assert features.classes == ("left", "right")
    offsets = columns.offsets()
    for row in range(len(features)):
        frames = features.frames(row)
        assert frames.shape == (expected["n_bins"][row], 2, 2, 3)
        assert np.flatnonzero(frames).tolist() == expected["index"][offsets[row] : offsets[row + 1]]


@STORES
def test_the_golden_store_is_whole(name: str) -> None:
    """It has two fragments and a skipped row, and `verify` finds no damage at any depth."""
    features = Store(GOLDEN / name)["golden:test"]
    assert [row.samples for row in features.manifest.fragments] == [64, 6]
    assert [row.row for row in features.manifest.skipped] == [66]
    assert verify(features, depth="deep") == []


def test_the_golden_rows_follow_the_formula_of_the_readme(expected: dict[str, Any]) -> None:
    """The formula of golden/README.md is computed again."""
    value = iter(expected["value"])
    index = iter(expected["index"])
    count = 0
    for row in range(70):
        bins = 0 if row == 66 else 1 + row % 5
        places = [] if row == 3 else list(range(row % 3, 12 * bins, 3))
        assert (expected["n_bins"][row], expected["nnz"][row]) == (bins, len(places))
        assert [next(index) for _ in places] == places
        assert [next(value) for _ in places] == [1 + (count + i) % 4 for i in range(len(places))]
        count += len(places)
        assert expected["label"][row] == (-1 if row == 66 else row % 2)
        assert expected["speaker"][row] == (0 if row == 66 else row // 10)
        assert expected["n_events"][row] == (0 if row in {3, 66} else 1000 + row)


def test_the_golden_store_of_real_numbers(expected: dict[str, Any]) -> None:
    """It has the same rows, with signed values; the reader of docs/format.md reads it, too."""
    features = Store(GOLDEN / "store_float")["golden:test"]
    columns, count = features.read(), np.array(expected["value"])
    assert columns.index.tolist() == expected["index"]
    assert columns.value.dtype == np.float32
    signed = np.where(np.arange(len(count)) % 2, -count, count)
    np.testing.assert_array_equal(columns.value, (signed / 3).astype(np.float32))
    assert features.manifest.max_value == np.float32(4 / 3)
    assert verify(features, depth="deep") == []
    reader = Reader(GOLDEN / "store_float", "golden:test")
    assert reader.digest() == features.digest == FLOAT_DIGEST
    for row, frames in enumerate(reader.samples()):
        np.testing.assert_array_equal(frames, features.frames(row))


@STORES
def test_the_golden_store_is_small(name: str) -> None:
    """It has a few kilobytes, so that it may stay in the repository for ever."""
    assert sum(path.stat().st_size for path in (GOLDEN / name).rglob("*") if path.is_file()) < 40_000


@pytest.mark.parametrize(
    ("name", "chunk", "behind"),
    [
        ("store", 262_144, [2**32 - 1] * 4),
        ("store_65536", 65_536, [2**32 - 1] * 4),
        ("store_continued", 16_384, [1, 2, 3, 4]),
    ],
)
def test_golden_stores_differ_where_a_plan_may_choose(name: str, chunk: int, behind: list[int]) -> None:
    """They differ in the inner chunks, and in the padding after the values."""
    features = Store(GOLDEN / name)["golden:test"]
    value = zarr.open_group(GOLDEN / name / features.data_path, mode="r")["value"]
    assert isinstance(value, zarr.Array)
    assert value.chunks == (chunk,)
    nnz = features.manifest.fragments[0].nnz
    assert np.asarray(value[nnz : nnz + 4]).tolist() == behind


@STORES
def test_the_golden_store_is_pulled(tmp_path: Path, name: str) -> None:
    """Every object is decoded and compared on the way; the copy has the same bytes."""
    Store(tmp_path).pull("golden", str(GOLDEN / name), deep=True)
    assert stored_in(tmp_path) == stored_in(GOLDEN / name)


@pytest.mark.parametrize("name", ["store", "store_65536"])
def test_a_damaged_golden_store_gets_its_bytes_back(tmp_path: Path, name: str) -> None:
    """The bytes are restored from recomputed rows: repair encodes by the plan of the set, not by that of this version."""
    shutil.copytree(GOLDEN / name, tmp_path, dirs_exist_ok=True)
    features = Store(tmp_path)["golden:test"]
    columns = features.read()
    data = tmp_path / features.data_path
    for path in [*data.rglob("c/*"), *data.rglob("zarr.json"), tmp_path / features.address.plan]:
        path.unlink()
    assert repair(features, rows=lambda *fragment: FragmentRows(*golden_rows(columns, *fragment))).left == ()
    assert stored_in(tmp_path) == stored_in(GOLDEN / name)


def test_a_build_of_an_earlier_version_is_finished(tmp_path: Path) -> None:
    """The build is completed with its plan, to the bytes that the earlier version would have written."""
    shutil.copytree(GOLDEN / "store", tmp_path, dirs_exist_ok=True)
    features = Store(tmp_path)["golden:test"]
    columns, manifest = features.read(), features.manifest
    unfinished = [
        tmp_path / features.address.record(manifest.plan_id, 1),
        tmp_path / features.address.manifest,
    ]
    for path in [*unfinished, *(tmp_path / features.data_path).rglob("c/1")]:
        path.unlink()

    def never() -> Plan:
        raise AssertionError("there is a plan to join")

    build = Build.join_or_start(FolderStorage(tmp_path), features.address, never)
    assert build.unfinished() == [1]
    rows, skipped, events = golden_rows(columns, build.plan, 1)
    build.put_fragment(1, rows, skipped=skipped, events=events)
    build.commit(manifest.transform, manifest.source, manifest.provenance)
    assert stored_in(tmp_path) == stored_in(GOLDEN / "store")


def golden_rows(
    columns: SampleColumns, plan: Plan, fragment: int
) -> tuple[SampleColumns, tuple[SkippedRow, ...], EventCounts]:
    """Return a fragment of the golden set as a builder has it: rows, skipped rows, counts of events."""
    span = plan.rows(fragment)
    rows = columns.rows(span.start, span.stop)
    skipped = (SkippedRow(row=66, reason="no reason, it is an example"),) if 66 in span else ()
    return rows, skipped, EventCounts(n_events=int(rows.extras["n_events"].sum()))


def stored_in(folder: Path) -> dict[str, bytes]:
    """Return all files of a store."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
