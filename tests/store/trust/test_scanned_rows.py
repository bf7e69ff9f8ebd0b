"""Errors while rows are read chunk by chunk: those of reading name the damage, and those of the caller's code are not changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pytest
from tests.store.small_sets import memory_storage, small_set

from spikestore.store import FeatureSet
from spikestore.store.columns.reader import DirectReader
from spikestore.store.feature_set import scanned
from spikestore.store.trust.block_rows import RowRange
from spikestore.store.trust.scanned_rows import ScannedRows
from spikestore.store_schemas.errors import DamagedError, StoreError, UsageError

SMALL = small_set(140)

Open = Callable[[FeatureSet, dict[str, bytes]], ScannedRows | None]
"""Returns the first 64 rows of a set, whose objects of the first fragment are also given."""


def _of_set(features: FeatureSet, objects: dict[str, bytes]) -> ScannedRows | None:
    return scanned(features, RowRange(0, 0, 64))


def _of_objects(features: FeatureSet, objects: dict[str, bytes]) -> ScannedRows | None:
    return ScannedRows.of_objects(features.address, features.manifest, features.root, 0, objects)


@pytest.fixture(params=[_of_set, _of_objects])
def open_rows(request: pytest.FixtureRequest) -> Open:
    opener: Open = request.param
    return opener


@pytest.fixture
def features() -> FeatureSet:
    """Build a set of 140 rows in fragments of 64."""
    return SMALL.build(memory_storage())


def objects_of(features: FeatureSet) -> dict[str, bytes]:
    """Return the objects of the first fragment by path below ``data.zarr``."""
    paths = [entry.path for entry in features.record(0).objects]
    return {path: features.storage.get(f"{features.data_path}/{path}") for path in paths}


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), UsageError("mine"), StoreError("mine")])
@pytest.mark.parametrize("name", ["index", "value"])
def test_an_error_of_the_caller_is_not_damage(
    features: FeatureSet, open_rows: Open, name: str, error: Exception
) -> None:
    """A loop that uses the pieces fails with its own error, without a cause."""
    rows = open_rows(features, objects_of(features))
    assert rows is not None

    def loop() -> None:
        for _ in rows.pieces(name):
            raise error

    with pytest.raises(type(error)) as caught:
        loop()
    assert caught.value is error
    assert error.__cause__ is None


def test_all_rows_are_read(features: FeatureSet, open_rows: Open) -> None:
    """Intact rows are those of the set."""
    rows = open_rows(features, objects_of(features))
    assert rows is not None
    for name in ("index", "value"):
        values = np.concatenate([piece.copy() for _, piece in rows.pieces(name)])
        assert np.array_equal(values, getattr(SMALL.truth.rows(0, 64), name))
    rows.finish()


def test_rows_that_were_not_read_are_refused(features: FeatureSet, open_rows: Open) -> None:
    """`finish` compares all values, so it also finds a column that the caller did not read."""
    rows = open_rows(features, objects_of(features))
    assert rows is not None
    for _ in rows.pieces("index"):
        pass
    with pytest.raises(StoreError):
        rows.finish()


@pytest.mark.parametrize("name", ["index", "value"])
def test_damaged_bytes_are_damage(features: FeatureSet, open_rows: Open, name: str) -> None:
    """Chunks that cannot be decoded raise an error that says so, and that names the object where the storage has it."""
    objects, path = objects_of(features), f"{name}/c/0"
    damaged = objects | {path: b"\xff" * len(objects[path])}
    features.storage.delete(f"{features.data_path}/{path}")
    features.storage.put_if_absent(f"{features.data_path}/{path}", damaged[path])
    expected = (
        f"{features.data_path}/{path} (damaged)" if open_rows is _of_set else "cannot decode fragment 0: "
    )
    with pytest.raises(DamagedError) as caught:
        _scan(open_rows(features, damaged))
    assert expected in str(caught.value)


def _scan(rows: ScannedRows | None) -> None:
    assert rows is not None
    for name in ("index", "value"):
        for _ in rows.pieces(name):
            pass
    rows.finish()


class PanicException(BaseException):
    """What a Rust codec raises when it panics."""


@pytest.mark.parametrize("error", [PanicException("out of bounds"), MemoryError(), ValueError("bad")])
def test_anything_that_a_decoder_raises_is_an_error_of_reading(
    features: FeatureSet, open_rows: Open, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The objects are intact, so a set says that, and a fragment in memory cannot be decoded."""
    rows = open_rows(features, objects_of(features))
    assert rows is not None

    def pieces(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(DirectReader, "pieces", pieces)
    intact = rf"\({str(error) or 'MemoryError'}\), although its stored bytes are not damaged"
    expected = intact if open_rows is _of_set else "cannot decode fragment 0"
    with pytest.raises(StoreError, match=expected) as caught:
        _scan(rows)
    assert caught.value.__cause__ is error


def test_an_interrupt_is_not_an_error_of_reading(
    features: FeatureSet, open_rows: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = open_rows(features, objects_of(features))
    assert rows is not None

    def pieces(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(DirectReader, "pieces", pieces)
    with pytest.raises(KeyboardInterrupt):
        _scan(rows)
