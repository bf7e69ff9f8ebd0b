"""The N-MNIST reader: Tonic's events to the bit, many files at once, and a bad file costs its own row only."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hypothesis_profiles import examples
from tests.pipeline.cochlea_files import bad, good
from tests.pipeline.event_files import (
    OVERFLOW,
    located,
    nmnist_reader,
    pack,
    reader_of_files,
    tonic_dataset,
    write_nmnist,
)
from tonic.datasets import NMNIST
from tonic.io import read_mnist_file

from spikestore.pipeline.readers.event_files.nmnist import NMNISTReader
from spikestore.pipeline.readers.registry import open_reader
from spikestore.store_schemas.errors import LayoutError, SourceChangedError, SourceError

FINE = pack([(1, 2, 1, 3), (33, 33, 0, 2**23 - 1)])


@pytest.mark.parametrize("split", ["train", "test"])
def test_recordings_are_tonics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    """Items have Tonic's order, events (also overflow events) with Tonic's dtype, and labels."""
    write_nmnist(tmp_path)
    theirs = tonic_dataset("NMNIST", split, tmp_path, monkeypatch)
    source = located("NMNIST", split, tmp_path)
    with open_reader(source.source, source.root) as reader:
        assert len(reader) == len(theirs) == 20
        for row, item in enumerate(reader.read(0, 20)):
            events, label = theirs[row]
            recording = good(item)
            assert (recording.row, recording.label, recording.extras) == (row, label, {})
            assert recording.events.dtype == events.dtype
            np.testing.assert_array_equal(recording.events, events)
            assert theirs.data[row].endswith(reader.name_of(row))
        assert max(good(item).events["t"].max() for item in reader.read(0, 20)) > 3 * 8192
        assert reader.classes == tuple(NMNIST.classes)
        assert (NMNISTReader.sensor_size, reader.has_y, reader.extras) == (NMNIST.sensor_size, True, ())


pixels = st.integers(0, 33)
times = st.one_of(st.integers(0, 2**23 - 1), st.sampled_from([0, 2**16 - 1, 2**16, 2**23 - 1]))
any_event = st.one_of(
    st.tuples(pixels, pixels, st.integers(0, 1), times),
    st.tuples(st.integers(0, 255), st.just(240), st.integers(0, 1), times),
)


@given(recordings=st.lists(st.lists(any_event, min_size=1, max_size=12), min_size=1, max_size=6))
@settings(max_examples=examples(60))
def test_any_files_are_tonics_whatever_they_are_read_with(recordings: list[list[tuple[int, ...]]]) -> None:
    """Overflow events may be anywhere, with any x and any time; those of one file do not affect another file."""
    with tempfile.TemporaryDirectory() as name:
        reader = nmnist_reader(Path(name), *map(pack, recordings))
        for row, item in enumerate(reader.read(0, len(recordings))):
            expected = read_mnist_file(str(Path(name) / reader.name_of(row)), dtype=NMNIST.dtype)
            np.testing.assert_array_equal(good(item).events, expected)
            (alone,) = reader.read(row, row + 1)
            np.testing.assert_array_equal(good(alone).events, expected)


def test_a_block_holds_the_same_in_columns(tmp_path: Path) -> None:
    """A file with overflow events only is an empty recording, not an invalid one."""
    reader = nmnist_reader(tmp_path, FINE, pack([OVERFLOW, OVERFLOW]), FINE + pack([OVERFLOW, (5, 6, 1, 7)]))
    block = reader.read_block(1, 3)
    assert (block.first_row, len(block), block.offsets.tolist()) == (1, 2, [0, 0, 3])
    assert block.t.tolist() == [3, 2**23 - 1, 8199]
    assert [block.x.tolist(), block.y.tolist(), block.p.tolist()] == [[1, 33, 5], [2, 33, 6], [1, 0, 1]]
    assert (block.labels.tolist(), block.errors, block.time_table) == ([1, 1], {}, None)
    assert len(good(reader.read(1, 2)[0]).events) == 0
    assert reader.n_events().tolist() == [2, 2, 4]
    assert len(reader.read_block(2, 2)) == 0
    for rows in ((-1, 2), (3, 2), (0, 4)):
        with pytest.raises(IndexError):
            reader.read(*rows)


def test_times_above_32_bits_do_not_wrap(tmp_path: Path) -> None:
    """Tonic adds in uint32, and takes minutes for so many overflow events."""
    reader = nmnist_reader(tmp_path, pack([OVERFLOW]) * 2**19 + pack([(0, 0, 0, 5)]))
    assert good(reader.read(0, 1)[0]).events["t"].tolist() == [2**32 + 5]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty: unpack it again"),
        (FINE[:-1], "9 bytes are not a whole number of events of 5 bytes"),
        (FINE + b"\0", "11 bytes are not a whole number"),
        (FINE[:1], "1 bytes are not a whole number"),
        (FINE + pack([(34, 3, 0, 9), (99, 0, 0, 10)]), "event 2 is at x = 34, y = 3, the sensor has 0 to 33"),
        (pack([OVERFLOW, (3, 3, 1, 1), (0, 239, 0, 1)]), "event 1 is at x = 0, y = 239"),
    ],
)
def test_a_bad_file_is_the_error_of_its_row(tmp_path: Path, content: bytes, why: str) -> None:
    """Its neighbours are read, its columns are empty, and the message has its relative name and no path."""
    reader = nmnist_reader(tmp_path, FINE, content, FINE + pack([OVERFLOW]), content)
    items = reader.read(0, 4)
    for row in (1, 3):
        error = bad(items[row])
        assert str(error).startswith(f"Train/1/{row:05d}.bin: {why}")
        assert str(tmp_path) not in str(error)
        assert error.details["recording"] == row
    for row in (0, 2):
        assert good(items[row]).events["t"].tolist() == [3, 2**23 - 1]
    block = reader.read_block(0, 4)
    assert block.offsets.tolist() == [0, 2, 2, 4, 4]
    assert {row: str(error) for row, error in block.errors.items()} == {1: str(items[1]), 3: str(items[3])}
    assert [*reader.read_block(1, 3).errors] == [1]
    assert [*reader.read_block(2, 4).errors] == [3]


def test_files_that_are_not_those_that_were_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another size, or a missing one, is a changed source; an unreadable one is not."""
    reader = nmnist_reader(tmp_path, FINE, FINE)
    path = tmp_path / "Train/1/00001.bin"
    path.write_bytes(FINE[:5])
    with pytest.raises(SourceChangedError, match=r"00001\.bin has 5 bytes, but had 10"):
        reader.read(0, 2)
    assert len(reader.read(0, 1)) == 1
    path.unlink()
    with pytest.raises(SourceChangedError, match=r"00001\.bin was deleted after it was hashed"):
        reader.read_block(0, 2)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SourceError, match=r"00000\.bin can't be read: Permission denied"):
        reader.read(0, 1)


def test_limit_and_part(tmp_path: Path) -> None:
    """A limit removes the last rows; a part keeps the row numbers, has only its own files, and no limit."""
    write_nmnist(tmp_path)
    source = located("NMNIST", "train", tmp_path, limit=13)
    whole = open_reader(source.source, source.root)
    assert len(whole) == len(whole.n_events()) == 13
    part = source.part(range(9, 13)).part(range(10, 13))
    assert (part.first_row, part.source.limit) == (10, None)
    assert len(part.source.files) == len(part.stamps) == 3
    with open_reader(part.source, part.root, first_row=part.first_row) as reader:
        assert reader.name_of(10) == whole.name_of(10) == "Train/5/00000.bin"
        for ours, theirs in zip(reader.read(10, 13), whole.read(10, 13), strict=True):
            assert good(ours).row == good(theirs).row
            assert good(ours).label == good(theirs).label
            np.testing.assert_array_equal(good(ours).events, good(theirs).events)
        assert reader.read_block(11, 12).first_row == 11
        for rows in ((9, 11), (12, 14)):
            with pytest.raises(IndexError, match="has the recordings 10 to 12"):
                reader.read(*rows)


@pytest.mark.parametrize(
    "name", ["Train/10/1.bin", "Train/x/1.bin", "Train/1/2/1.bin", "1.bin", "Train/1.bin"]
)
def test_a_file_in_no_class_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(FINE)
    with pytest.raises(
        LayoutError,
        match=f"^{name} is not a recording of this data set: expected a file in a folder whose name is a digit from 0 to 9",
    ):
        reader_of_files(NMNISTReader, tmp_path)


def test_closing_is_nothing(tmp_path: Path) -> None:
    reader: Any = nmnist_reader(tmp_path, FINE)
    with reader:
        pass
    reader.close()
    assert len(reader.read(0, 1)) == 1
