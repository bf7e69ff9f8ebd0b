"""docs/format.md is sufficient to write a reader: one without any import of spikestore reads the same samples."""

from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.faults.forger import reseal
from tests.hypothesis_profiles import examples

from spikestore.store import Build, FeatureSet, SampleColumns, Store
from spikestore.store.testing.strategies import columns as column_sets
from spikestore.store_schemas import Address, Layout, Source, SourceFile, Transform, make_plan
from spikestore.store_schemas.documents.record import SkippedRow
from spikestore.store_schemas.errors import DamagedError

HERE = Path(__file__).parent
READER = HERE / "format_reader.py"


def load_reader() -> Any:
    specification = importlib.util.spec_from_file_location("format_reader", READER)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


reader = load_reader()


def build(
    folder: Path,
    transform: Transform,
    layout: Layout,
    columns: SampleColumns,
    skipped: list[int],
    fragment: int = 64,
) -> FeatureSet:
    source = Source(
        reader="synthetic",
        reader_version=1,
        dataset="Synthetic",
        split="train",
        files=(SourceFile(name="a.h5", size=1, sha256="0" * 64),),
    )
    plan = make_plan(transform, source.key, layout, columns.nnz.astype(np.int64), fragment_samples=fragment)
    store = Store(folder)
    started = Build.join_or_start(store.storage, Address(transform.key, source.key), lambda: plan)
    for number in started.unfinished():
        rows = plan.rows(number)
        reasons = [SkippedRow(row=row, reason="too odd") for row in skipped if row in rows]
        started.put_fragment(number, columns.rows(rows.start, rows.stop), skipped=reasons)
    features = started.commit(transform, source, {"test": True})
    store.point("synthetic", {"train": features})
    return features


def test_the_reader_is_short_and_independent() -> None:
    """It has at most 60 lines, and imports only zarr, numpy and the standard library."""
    text = READER.read_text(encoding="utf-8")
    assert (
        len([line for line in text.splitlines() if line.strip()]) <= 60
    )  # blank lines come from the formatter
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for one in imports if isinstance(one, ast.Import) for alias in one.names}
    modules |= {str(one.module) for one in imports if isinstance(one, ast.ImportFrom)}
    assert modules == {"hashlib", "json", "re", "collections.abc", "pathlib", "typing", "numpy", "zarr"}


@settings(max_examples=examples(6))
@given(made=column_sets(max_samples=140), fragment=st.sampled_from([64, 128, 192]))
def test_both_readers_agree(
    tmp_path_factory: pytest.TempPathFactory,
    made: tuple[Transform, Layout, SampleColumns, list[int]],
    fragment: int,
) -> None:
    """All samples, dense, with and without y, also empty and skipped rows, are equal; so is the computed digest."""
    folder = tmp_path_factory.mktemp("store")
    features = build(folder, *made, fragment=fragment)
    theirs = reader.Reader(folder, "synthetic:train")
    assert theirs.digest() == features.digest == theirs.manifest["digest"]
    ours = features.read()
    for row, frames in enumerate(theirs.samples()):
        one = ours.rows(row, row + 1)
        dense = np.zeros((int(one.n_bins[0]), *features.layout.sites), one.value.dtype)
        dense.ravel()[one.index] = one.value
        np.testing.assert_array_equal(frames, dense)
        if row % 64 == 3:
            np.testing.assert_array_equal(frames, features.frames(row))
    for name, column in ours.in_order(features.layout):
        if name in theirs.rows:
            np.testing.assert_array_equal(theirs.rows[name], column)


@pytest.mark.parametrize("name", ["store", "store_65536", "store_continued"])
def test_the_reader_reads_the_golden_stores(name: str) -> None:
    """It also reads stores of another version, with other inner chunks and other padding, and computes their digest."""
    theirs = reader.Reader(HERE.parent / "golden" / name, "golden:test")
    assert theirs.digest() == theirs.manifest["digest"]
    expected = json.loads((HERE.parent / "golden" / "expected.json").read_text(encoding="utf-8"))
    assert theirs.digest() == expected["digest"]
    assert sum(int(frames.sum()) for frames in theirs.samples()) == sum(expected["value"])


@pytest.mark.parametrize("name", ["manifest.json", "00000001.json"])
def test_the_reader_notices_a_changed_document(tmp_path: Path, name: str) -> None:
    """A changed digit in the manifest or the ref is detected by `self`."""
    transform, layout, columns, skipped = small_set()
    build(tmp_path, transform, layout, columns, skipped)
    (path,) = tmp_path.rglob(name)
    text = path.read_bytes()
    at = text.index(b'"format":1') + len(b'"format":')
    path.write_bytes(text[:at] + b"2" + text[at + 1 :])
    with pytest.raises(ValueError, match="own hash"):
        reader.Reader(tmp_path, "synthetic:train")


@pytest.mark.parametrize(
    "member", ["format", "skipped", "events", "provenance", "transform.max_bins", "source.limit"]
)
def test_both_readers_reject_a_manifest_without_a_member(tmp_path: Path, member: str) -> None:
    """A default does not replace a member, because it may have another value in a later version."""
    address = build(tmp_path, *small_set()).address

    def remove(manifest: dict[str, Any]) -> None:
        outer, _, inner = member.rpartition(".")
        del (manifest[outer] if outer else manifest)[inner]

    reseal(tmp_path / address.manifest, remove)
    with pytest.raises(ValueError, match=r"other members|another key"):
        reader.Reader(tmp_path, "synthetic:train")
    with pytest.raises(DamagedError, match=f"  {member}: required field is missing"):
        Store(tmp_path)["synthetic:train"]


def test_both_readers_accept_skipped_rows_of_any_source(tmp_path: Path) -> None:
    """`on_error` says what `preprocess` does; another writer may skip rows of a source with ``raise``."""
    transform, layout, columns, _ = small_set()
    skipped = replace(
        columns,
        index=columns.index[:0],
        value=columns.value[:0],
        nnz=columns.nnz * 0,
        n_bins=columns.n_bins * 0,
        label=columns.label * 0 - 1,
    )
    features = build(tmp_path, transform, layout, skipped, [0])
    assert features.manifest.source.on_error == "raise"
    assert [row.row for row in features.manifest.skipped] == [0]
    theirs = reader.Reader(tmp_path, "synthetic:train")
    assert theirs.digest() == features.digest
    assert not Store(tmp_path)["synthetic:train"].read().n_bins.any()


def small_set() -> tuple[Transform, Layout, SampleColumns, list[int]]:
    from spikestore.store_schemas import ToFrame, layout_of

    transform = Transform(operations=(ToFrame(sensor_size=(4, 1, 1), time_window=1.0),))
    layout = layout_of(transform, has_y=False, classes=["a"], extras=[])
    index = np.arange(0, 8)
    columns = SampleColumns(index, index + 1, np.array([8]), np.array([2]), np.array([0]), {})
    return transform, layout, columns.as_stored(layout), []
