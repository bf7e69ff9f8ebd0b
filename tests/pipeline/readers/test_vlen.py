"""Lengths of variable-length sequences: the same from the descriptors as from reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.pipeline.cochlea_files import draw, good, write_file

from spikestore.pipeline.readers.cochlea_files import vlen
from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.store_schemas.errors import LayoutError

STORAGE: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "after a userblock": {"userblock": 1024},
    "chunks of one": {"chunks": (1,)},
    "last chunk cut": {"chunks": (8,)},
    "one chunk larger than the data": {"chunks": (64,), "maxshape": (None,)},
    "compressed": {"chunks": (8,), "compression": "gzip"},
}


@pytest.mark.parametrize("storage", STORAGE.values(), ids=STORAGE)
@pytest.mark.parametrize("limit", [None, 1, 11])
def test_numbers_of_events_without_and_by_reading(
    tmp_path: Path, storage: dict[str, Any], limit: int | None
) -> None:
    recordings = draw(21)
    path = write_file(tmp_path / "ssc_train.h5", recordings, **storage)
    with CochleaReader(path, limit=limit) as reader:
        expected = [len(times) for times, _ in recordings][:limit]
        assert reader.n_events().dtype == np.int64
        assert reader.n_events().tolist() == expected
        assert vlen.lengths_by_reading(reader._units, len(reader)).tolist() == expected
        assert [len(good(item).events) for item in reader.read(0, len(reader))] == expected


@pytest.mark.parametrize("storage", [name for name in STORAGE if name != "compressed"])
def test_numbers_of_events_read_no_events(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path / "ssc_train.h5", draw(21), **STORAGE[storage])
    with CochleaReader(path) as reader:
        monkeypatch.setattr(h5py.Dataset, "__getitem__", None)
        assert len(reader.n_events()) == 21


@pytest.mark.parametrize("chunks", [None, (4,)])
def test_sequences_never_written_are_empty(tmp_path: Path, chunks: tuple[int] | None) -> None:
    path = tmp_path / "ssc_train.h5"
    with h5py.File(path, "w") as file:
        for name, element in (("times", np.float16), ("units", np.uint16)):
            dataset = file.create_dataset(f"spikes/{name}", (10,), h5py.vlen_dtype(element), chunks=chunks)
            if chunks:
                dataset[5] = [1, 2]
        file["labels"] = np.zeros(10, np.uint16)
        file["extra/keys"] = np.array([b"a"])
    expected = [0, 0, 0, 0, 0, 2 if chunks else 0, 0, 0, 0, 0]
    with CochleaReader(path) as reader:
        assert reader.n_events().tolist() == expected
        assert [len(good(item).events) for item in reader.read(0, 10)] == expected


@pytest.mark.parametrize("filters", [{"compression": "gzip"}, {"shuffle": True}])
def test_filtered_descriptors_are_not_believed(tmp_path: Path, filters: dict[str, Any]) -> None:
    """Today's HDF5 does not apply filters to such datasets, but other writers might."""
    path = write_file(tmp_path / "ssc_train.h5", draw(16), chunks=(8,), **filters)
    with CochleaReader(path) as reader:
        assert vlen.stored_lengths(reader._units, 16) is None
        assert reader.n_events().tolist() == [len(times) for times, _ in draw(16)]


def test_an_impossible_length_is_damage(tmp_path: Path) -> None:
    path = write_file(tmp_path / "ssc_train.h5", draw(3))
    with h5py.File(path) as file:
        offset = file["spikes/units"].id.get_offset()
    with path.open("r+b") as raw:
        raw.seek(offset + 16)
        raw.write(b"\xff\xff\xff\x7f")
    with (
        CochleaReader(path) as reader,
        pytest.raises(
            LayoutError,
            match=r"damaged or truncated, or has another layout .recording 1 claims 2147483647 events",
        ),
    ):
        reader.n_events()
