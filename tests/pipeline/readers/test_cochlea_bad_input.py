"""A clear line for each way in which a cochlea file, or one recording in it, can be wrong."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.pipeline.cochlea_files import bad, draw, good, write_file

from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader
from spikestore.store_schemas.errors import (
    LayoutError,
    RecordingError,
    SourceChangedError,
    SourceNotFoundError,
)

# ------------------------------------------------------------------------------------- bad recordings


def a_recording(**change: Any) -> Any:
    """Return three recordings of four events; `change` replaces fields of the middle one."""
    times, units = np.array([0, 0.25, 0.5, 1], np.float16), np.array([0, 3, 699, 1], np.uint16)
    return [
        (times, units),
        (np.asarray(change.get("times", times)), np.asarray(change.get("units", units))),
        (times, units),
    ]


@pytest.mark.parametrize(
    ("change", "options", "message", "event"),
    [
        ({"times": np.array([0, np.nan, 1, 1], "f2")}, {}, "the time of event 1 is nan s", 1),
        ({"times": np.array([0, 0, 1, np.inf], "f2")}, {}, "the time of event 3 is inf s", 3),
        ({"times": np.array([-np.inf, 0, 1, 1], "f2")}, {}, "the time of event 0 is -inf s", 0),
        ({"times": np.array([0, 1, 1e13, np.nan])}, {"times_type": "f8"}, "event 2 is 10000000000000.0 s", 2),
        ({"times": np.array([0, 1, -1e13, 2])}, {"times_type": "f8"}, "event 2 is -10000000000000.0 s", 2),
        ({"times": np.array([0, 1, 1e305, 2])}, {"times_type": "f8"}, "the time of event 2 is 1e+305 s", 2),
        ({"units": [1, 700, 2, 65535]}, {}, "event 1 is in channel 700, channels are 0 to 699", 1),
        ({"units": [1, 2, 700, 3]}, {}, "event 2 is in channel 700, channels are 0 to 699", 2),
        ({"units": [1, 2, 2, -1]}, {"units_type": "i4"}, "event 3 is in channel -1, channels are 0 to", 3),
        ({"units": [1, 2, 2]}, {}, "4 times but 3 units", None),
        ({"times": []}, {}, "0 times but 4 units", None),
        ({}, {"labels": [0, 3, 2]}, "label 3 is not one of the 3 classes", None),
        ({}, {"labels": np.array([0, -1, 2], "i8")}, "label -1 is not one of the 3 classes", None),
    ],
)
def test_a_bad_recording_is_returned_as_its_error(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], message: str, event: int | None
) -> None:
    path = write_file(tmp_path / "ssc_train.h5", a_recording(**change), **options)
    with CochleaReader(path) as reader:
        first, middle, last = reader.read(0, 3)
        assert len(reader.n_events()) == 3
        block = reader.read_block(0, 3)
    assert (list(block.errors), str(block.errors[1])) == ([1], str(middle))
    assert np.diff(block.offsets).tolist() == [4, 0, 4]
    assert [good(first).row, good(last).row] == [0, 2]
    error = bad(middle)
    assert str(error).startswith("ssc_train.h5: recording 1: ")
    assert message in str(error)
    assert "\n" not in str(error)
    assert error.details["recording"] == 1
    assert error.details["path"] == str(path)
    assert error.details.get("event") == event


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        (
            {"times": np.array([0, 1, 1, np.nan], "f2"), "units": [700, 0, 0, 0]},
            [0, 1, 2],
            "the time of event 3",
        ),
        ({"times": np.array([0, 1, 1, np.nan], "f2"), "units": [700, 0, 0, 0]}, [0, 9, 2], "label 9 is not"),
        ({"times": np.array([np.nan], "f2"), "units": [700, 0]}, [0, 9, 2], "1 times but 2 units"),
    ],
)
def test_the_first_of_several_problems_is_reported(
    tmp_path: Path, change: dict[str, Any], labels: list[int], message: str
) -> None:
    path = write_file(tmp_path / "ssc_train.h5", a_recording(**change), labels=labels)
    with CochleaReader(path) as reader:
        assert message in str(bad(reader.read(0, 3)[1]))
        assert message in str(reader.read_block(0, 3).errors[1])


# ------------------------------------------------------------------------------------- bad files


def refused(path: Path) -> str:
    with pytest.raises(LayoutError) as caught:
        CochleaReader(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.details["path"] == str(path)
    return message


def a_dataset(name: str, values: Any, **options: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, data=values, **options)

    return change


def vlen_of(element: Any, count: int = 4, shape: tuple[int, ...] | None = None) -> Callable[[str], Any]:
    def replace(name: str) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            del file[name]
            file.create_dataset(name, shape or (count,), h5py.vlen_dtype(element))

        return change

    return replace


def without(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


WRONG: list[tuple[Callable[[h5py.File], None], str]] = [
    (without("spikes"), "no dataset spikes/times"),
    (without("spikes/times"), "no dataset spikes/times"),
    (without("spikes/units"), "no dataset spikes/units"),
    (without("labels"), "no dataset labels"),
    (without("extra/keys"), "no dataset extra/keys"),
    (without("extra"), "no dataset extra/keys"),
    (vlen_of(np.int32)("spikes/times"), "spikes/times holds variable-length int32, but should hold variable"),
    (vlen_of(np.float16)("spikes/units"), "spikes/units holds variable-length float16, but should hold"),
    (
        vlen_of(np.dtype(">f2"))("spikes/times"),
        "spikes/times holds variable-length >f2, but should hold variable",
    ),
    (
        vlen_of(np.dtype(">u2"))("spikes/units"),
        "spikes/units holds variable-length >u2, but should hold variable",
    ),
    (
        a_dataset("spikes/times", np.zeros(4, "f2")),
        "spikes/times holds float16, but should hold variable-length",
    ),
    (a_dataset("spikes/units", ["a"] * 4), "spikes/units holds"),
    (
        vlen_of(np.uint16, shape=(4, 1))("spikes/units"),
        "spikes/units has shape (4, 1), but should have one axis",
    ),
    (a_dataset("labels", np.zeros(4)), "labels holds float64, but should hold integers"),
    (a_dataset("labels", np.zeros((4, 2), int)), "labels has shape (4, 2)"),
    (a_dataset("labels", 3), "labels has shape ()"),
    (a_dataset("labels", np.zeros(5, int)), "4 in spikes/times, 4 in spikes/units, 5 in labels"),
    (vlen_of(np.float16, 3)("spikes/times"), "numbers of recordings differ: 3 in spikes/times, 4 in"),
    (vlen_of(np.uint16, 6)("spikes/units"), "4 in spikes/times, 6 in spikes/units, 4 in labels"),
    (a_dataset("extra/speaker", np.zeros(2, int)), "4 in labels, 2 in extra/speaker"),
    (a_dataset("extra/speaker", np.zeros(4)), "extra/speaker holds float64, but should hold integers"),
    (a_dataset("extra/keys", np.arange(3)), "extra/keys holds int64, but should hold class names"),
    (a_dataset("extra/keys", np.array([b"\xff"])), "extra/keys has a class name that is not UTF-8"),
]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("labels", np.uint64(2**64 - 1), f"label {2**63 - 1} is not one of the 3 classes"),
        ("labels", np.int64(2**31), f"label {2**31} is not one of the 3 classes"),
        ("extra/speaker", np.int64(-(2**31) - 1), f"speaker is {-(2**31) - 1}, which is beyond int32"),
        ("extra/speaker", np.int32(-(2**31)), f"speaker is {-(2**31)}, which is beyond int32"),
        ("extra/speaker", np.uint64(2**31), f"speaker is {2**31}, which is beyond int32"),
    ],
)
def test_a_value_that_a_column_cannot_hold_names_its_recording(
    tmp_path: Path, name: str, value: Any, why: str
) -> None:
    """Only the recording with this value is an error; the others are read."""
    path = write_file(tmp_path / "ssc_train.h5", draw(4))
    values = np.zeros(4, value.dtype)
    values[2] = value
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = values
    with CochleaReader(path) as reader:
        for items in (reader.read(0, 4), reader.read_block(0, 4).errors):
            assert bad(items[2]).message == f"ssc_train.h5: recording 2: {why}"
        assert [*reader.read_block(0, 4).errors] == [2]


def test_a_recording_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    """A damaged chunk of compressed sequences, or a damaged object of the heap, is an error of its recording only."""
    path = write_file(tmp_path / "ssc_train.h5", draw(6), chunks=(1,), compression="gzip")
    with CochleaReader(path) as reader:
        whole = reader.read(0, 6)
        chunk = reader._units.id.get_chunk_info(3)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    with CochleaReader(path) as reader:
        found = reader.read(0, 6)
        block = reader.read_block(0, 6)
        with pytest.raises(LayoutError, match="damaged or truncated"):
            reader.read(3, 4)
    assert bad(found[3]).message.startswith("ssc_train.h5: recording 3: it can't be read (")
    assert [*block.errors] == [3]
    for row in (0, 1, 2, 4, 5):
        assert np.array_equal(good(found[row]).events, good(whole[row]).events)
        assert len(good(found[row]).events) == block.offsets[row + 1] - block.offsets[row]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[f"{i} {WRONG[i][1]}" for i in range(len(WRONG))])
def test_wrong_layout(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    path = write_file(tmp_path / "ssc_train.h5", draw(4))
    with h5py.File(path, "r+") as file:
        change(file)
    found = refused(path)
    assert message in found
    assert "expected HDF5 with spikes/times, spikes/units, labels and extra/keys" in found
    assert "download it again" in found


def test_data_in_another_file_are_refused_for_the_key_would_not_see_them(tmp_path: Path) -> None:
    other = write_file(tmp_path / "other.h5", draw(4))
    linked = write_file(tmp_path / "linked.h5", draw(4))
    with h5py.File(linked, "r+") as file:
        del file["spikes/times"]
        file["spikes/times"] = h5py.ExternalLink(other.name, "spikes/times")
    assert "spikes/times is stored in another file" in refused(linked)

    external = write_file(tmp_path / "external.h5", draw(4))
    with h5py.File(external, "r+") as file:
        del file["labels"]
        file.create_dataset("labels", (4,), np.int32, external=[(str(tmp_path / "raw"), 0, 16)])
    assert "labels is stored in another file" in refused(external)

    virtual = write_file(tmp_path / "virtual.h5", draw(4))
    with h5py.File(virtual, "r+") as file:
        del file["labels"]
        layout = h5py.VirtualLayout((4,), np.uint16)
        layout[:] = h5py.VirtualSource(other, "labels", (4,))
        file.create_virtual_dataset("labels", layout)
    assert "labels is stored in another file" in refused(virtual)


def test_no_recordings(tmp_path: Path) -> None:
    assert "has no recordings: download it again" in refused(write_file(tmp_path / "a.h5", []))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match=r"ssc_train\.h5 does not exist; expected HDF5"):
        CochleaReader(tmp_path / "ssc_train.h5")
    with pytest.raises(SourceNotFoundError, match="is not a file"):
        CochleaReader(tmp_path)


def zipped(data: bytes) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("ssc_train.h5", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected HDF5"),
        (b"<html>404 not found</html>", "is not HDF5; expected HDF5 with spikes/times"),
        (gzip.compress(b"x" * 100, mtime=0), "is a compressed archive; expected HDF5"),
        (zipped(b"x" * 100), "is a compressed archive; expected HDF5"),
    ],
)
def test_not_hdf5(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "ssc_train.h5"
    path.write_bytes(content)
    assert message in refused(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = write_file(tmp_path / "ssc_train.h5", draw(40))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = refused(path)
    assert "is truncated (" in message
    assert "download it again" in message


def test_damage_that_shows_only_while_reading(tmp_path: Path) -> None:
    """After an interrupted download into a file of full size, the file opens, but its events are holes."""
    path = write_file(tmp_path / "ssc_train.h5", draw(400, longest=400))
    data = path.read_bytes()
    last = data.rindex(b"GCOL")  # the last collection of sequences
    path.write_bytes(data[:last] + bytes(4096) + data[last + 4096 :])
    with CochleaReader(path) as reader:
        found = reader.read(0, len(reader))
    lost = [one.message for one in found if isinstance(one, RecordingError)]
    assert 0 < len(lost) < 100
    assert all(
        re.match(r"ssc_train.h5: recording \d+: it can't be read .*download it again", one) for one in lost
    )
    first = data.index(b"GCOL")
    path.write_bytes(data[:first] + re.sub(b"GCOL", b"\\0\\0\\0\\0", data[first:]))
    with CochleaReader(path) as reader, pytest.raises(LayoutError, match="damaged or truncated") as caught:
        reader.read(0, len(reader))
    assert str(path) in str(caught.value)
    assert "download it again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_shrinks_while_it_is_open(tmp_path: Path) -> None:
    """HDF5 silently returns zeros beyond the end of a file."""
    path = write_file(tmp_path / "ssc_train.h5", draw(40))
    with CochleaReader(path) as reader:
        with path.open("r+b") as raw:
            raw.truncate(path.stat().st_size - 1)
        with pytest.raises(SourceChangedError, match="shrank from"):
            reader.read(0, 1)


def test_a_file_that_is_removed_while_it_is_open(tmp_path: Path) -> None:
    """Some lengths and events are read through the file's name: that the file is gone is not reported as damage."""
    path = write_file(tmp_path / "ssc_train.h5", draw(40))
    with CochleaReader(path) as reader:
        path.unlink()
        for read in (reader.n_events, lambda: reader.read(0, 1), lambda: reader.read_block(0, 1)):
            with pytest.raises(SourceChangedError, match="No such file"):
                read()


def test_a_wrong_file_is_closed_again(tmp_path: Path) -> None:
    path = write_file(tmp_path / "ssc_train.h5", [])
    refused(path)
    with h5py.File(path, "r+"):  # it fails during a read
        pass
