"""The DVSGesture reader: Tonic's events to the bit, from any array that Tonic reads well, and nothing is unpickled."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.pipeline.cochlea_files import bad, good
from tests.pipeline.event_files import (
    draw_events,
    dvsgesture_reader,
    located,
    reader_of_files,
    tonic_dataset,
    write_dvsgesture,
)
from tonic.datasets import DVSGesture

from spikestore.pipeline.readers.event_files.dvsgesture import DVSGestureReader
from spikestore.pipeline.readers.registry import open_reader
from spikestore.pipeline.sources.source_files import make_source
from spikestore.store_schemas.errors import LayoutError, UnknownNameError

FINE = np.array([[1, 2, 1, 3], [127, 0, 0, 32]])


def of(file: Path, theirs: Any) -> Any:
    """Return Tonic's item of a file; Tonic's order is that of the file system, so rows are matched by file."""
    (place,) = [i for i, path in enumerate(theirs.data) if os.path.samefile(path, file)]  # noqa: PTH121
    return *theirs[place], theirs.users[place]


@pytest.mark.parametrize("split", ["train", "test"])
def test_recordings_are_tonics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str) -> None:
    """Every item, matched by file: events with their dtype, labels and users; rows are sorted by name."""
    root = write_dvsgesture(tmp_path)
    theirs = tonic_dataset("DVSGesture", split, tmp_path, monkeypatch)
    source = located("DVSGesture", split, tmp_path, columns=["user"])
    with open_reader(source.source, source.root) as reader:
        assert len(reader) == len(theirs) == 6
        names = [reader.name_of(row) for row in range(6)]
        assert names == sorted(names)
        for item, name in zip(reader.read(0, 6), names, strict=True):
            events, label, user = of(root / name, theirs)
            recording = good(item)
            assert (recording.label, recording.extras) == (label, {"user": user})
            assert recording.events.dtype == events.dtype
            np.testing.assert_array_equal(recording.events, events)
        assert reader.classes == tuple(DVSGesture.classes)
        assert (DVSGestureReader.sensor_size, reader.has_y, reader.extras) == (
            DVSGesture.sensor_size,
            True,
            ("user",),
        )
        assert reader.n_events().tolist() == [150] * 6


TYPES = [*"bBhHiIlLqQ", "f4", "f8", ">i4", ">f8"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("fortran", [False, True])
def test_arrays_of_other_types_are_tonics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, fortran: bool
) -> None:
    """Integers, two kinds of floats, any byte and memory order are read as Tonic reads them, unless Tonic's values wrap.

    Tonic multiplies times by 1000, which does not fit into 8 bits; in 16 bits, times beyond 32 ms wrap.
    """
    events = draw_events(np.random.default_rng(1), 60, 128, 30).astype(dtype)
    if events.dtype.kind == "f":
        events[:, 3] += np.linspace(0, 50000, 60) / 7  # fractions of ms, so that rounding shows
    array = np.asfortranarray(events) if fortran else events
    root = tmp_path / "DVSGesture"
    reader = dvsgesture_reader(root, array)
    (root / "ibmGestureTrain.tar.gz").touch()
    (ours,) = reader.read(0, 1)
    if events.dtype.itemsize == 1:
        expected = events.astype(np.int64)[:, 3] * 1000
        np.testing.assert_array_equal(good(ours).events["t"], expected)
        return
    theirs, _ = tonic_dataset("DVSGesture", "train", tmp_path, monkeypatch)[0]
    assert good(ours).events.dtype == theirs.dtype
    np.testing.assert_array_equal(good(ours).events, theirs)


@pytest.mark.parametrize(
    ("dtype", "latest"), [("i2", 2**15 - 1), ("u2", 2**16 - 1), ("i4", 2**31 - 1), ("u8", 2**53)]
)
def test_times_that_wrap_in_tonic_do_not_wrap_here(tmp_path: Path, dtype: str, latest: int) -> None:
    reader = dvsgesture_reader(tmp_path, np.array([[0, 0, 0, latest]], dtype))
    assert good(reader.read(0, 1)[0]).events["t"].tolist() == [1000 * latest]


def test_a_block_holds_the_same_in_columns(tmp_path: Path) -> None:
    """An array without events is an empty recording."""
    reader = dvsgesture_reader(tmp_path, FINE, np.zeros((0, 4)), FINE[:1])
    block = reader.read_block(0, 3)
    assert (block.offsets.tolist(), block.t.tolist()) == ([0, 2, 2, 3], [3000, 32000, 3000])
    assert [block.x.tolist(), block.y.tolist(), block.p.tolist()] == [
        [1, 127, 1],
        [2, 0, 2],
        [True, False, True],
    ]
    assert (block.labels.tolist(), block.extras["user"].tolist(), block.errors) == ([0, 1, 2], [1, 1, 1], {})
    assert [len(good(item).events) for item in reader.read(0, 3)] == reader.n_events().tolist() == [2, 0, 1]
    assert len(reader.read_block(1, 1)) == 0
    with pytest.raises(IndexError):
        reader.read_block(0, 4)


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def zipped(array: npt.NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, events=array)
    return file.getvalue()


class Trap:
    """An object that records whether it was unpickled."""

    opened = False

    def __reduce__(self) -> Any:
        return setattr, (Trap, "opened", True)


def with_cell(column: int, value: float, dtype: str = "f8") -> npt.NDArray[Any]:
    events = FINE.astype(dtype)
    events[1, column] = value
    return events


HUGE = saved(FINE).replace(b"(2, 4)", b"(9999999999999, 4)").replace(b" " * 12 + b"\n", b"\n")
BAD = [
    (b"", "the file is empty"),
    (b"no array", "the file is not a NumPy array, or has a damaged header"),
    (saved(FINE)[:20], "the file is not a NumPy array, or has a damaged header"),
    (b"\x93NUMPY\x09\x00" + saved(FINE)[8:], "the file is not a NumPy array, or has a damaged header"),
    (saved(FINE).replace(b"}", b" "), "the file is not a NumPy array, or has a damaged header"),
    (saved(FINE).replace(b"(2, 4)", b"((((2,"), "the file is not a NumPy array, or has a damaged header"),
    (zipped(FINE), "the file is not a NumPy array"),
    (saved(FINE)[:-8], "the file is truncated: it has 184 bytes, its header says 192"),
    (saved(FINE) + b"\0", "the file is damaged: it has 193 bytes, its header says 192"),
    (HUGE, "the file is truncated: it has .* bytes, its header says 320000000000096"),
    (saved(np.array([Trap()] * 4, object), allow_pickle=True), "the file holds pickled Python objects"),
    (saved(FINE[:, :3]), r"the array has shape \(2, 3\), should have \(events, 4\)"),
    (saved(FINE.T), r"the array has shape \(4, 2\)"),
    (saved(FINE.ravel()), r"the array has shape \(8,\)"),
    (saved(FINE[None]), r"the array has shape \(1, 2, 4\)"),
    (saved(np.zeros(3, DVSGesture.dtype)), r"the array has shape \(3,\)"),
    (saved(FINE.astype("f2")), "the array holds float16"),
    (saved(FINE.astype("c8")), "the array holds complex64"),
    (saved(FINE.astype(bool)), "the array holds bool"),
    (saved(FINE.astype("S3")), r"the array holds \|S3"),
    (saved(with_cell(3, np.nan)), "event 1: t = nan ms is not a valid time"),
    (saved(with_cell(3, -np.inf)), "event 1: t = -inf ms is not a valid time"),
    (saved(with_cell(3, 1e36, "f4")), "event 1: t = .* ms is not a valid time"),
    (saved(with_cell(3, 2**63 // 1000 + 1, "i8")), "event 1: t = 9223372036854776 ms is not a valid time"),
    (saved(with_cell(3, -(2**63) // 1000 - 1, "i8")), "event 1: t = -9223372036854777 ms is not a valid time"),
    (saved(with_cell(3, 2**63, "u8")), "event 1: t = 9223372036854775808 ms is not a valid time"),
    (saved(with_cell(0, 128, "i8")), "event 1: x = 128 is outside the sensor, which has 0 to 127"),
    (saved(with_cell(1, -1, "i8")), "event 1: y = -1 is outside the sensor"),
    (saved(with_cell(1, 0.5)), "event 1: y = 0.5 is outside the sensor"),
    (saved(with_cell(0, np.nan)), "event 1: x = nan is outside the sensor"),
    (saved(with_cell(0, 2**16, "i8")), "event 1: x = 65536 is outside the sensor"),
    (saved(with_cell(2, 2, "u1")), "event 1: p = 2 should be 0 or 1"),
    (saved(with_cell(2, -1, "i2")), "event 1: p = -1 should be 0 or 1"),
    (saved(with_cell(2, np.nan)), "event 1: p = nan should be 0 or 1"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "why"), BAD, ids=[f"{i} {why[:40]}" for i, (_, why) in enumerate(BAD)])
def test_a_bad_file_is_the_error_of_its_row(tmp_path: Path, content: bytes, why: str) -> None:
    """Its neighbours are read, its columns are empty, and the message has its relative name and no path."""
    reader = dvsgesture_reader(tmp_path, FINE, content, FINE)
    first, error, last = reader.read(0, 3)
    with pytest.raises(type(bad(error)), match=rf"^ibmGestureTrain/user01_led/1\.npy: {why}"):
        raise bad(error)
    assert str(tmp_path) not in str(error)
    assert good(first).events["t"].tolist() == good(last).events["t"].tolist() == [3000, 32000]
    block = reader.read_block(0, 3)
    assert block.offsets.tolist() == [0, 2, 2, 4]
    assert [*block.errors] == [1]
    assert reader.n_events()[[0, 2]].tolist() == [2, 2]
    assert not Trap.opened


@pytest.mark.parametrize("values", [2**63 // 1000, -(2**63 // 1000)])
def test_the_last_times_that_fit(tmp_path: Path, values: int) -> None:
    reader = dvsgesture_reader(tmp_path, np.array([[0, 0, 0, values]]))
    assert good(reader.read(0, 1)[0]).events["t"].tolist() == [1000 * values]


@pytest.mark.parametrize(
    "name",
    [
        "user01_led/11.npy",
        f"user{10**20}_led/1.npy",
        "user01_led/a.npy",
        "user01_led/-1.npy",
        "user_led/1.npy",
        "led/1.npy",
        "user01/1.npy",
    ],
)
def test_a_file_that_says_no_class_or_user_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ibmGestureTest" / name
    path.parent.mkdir(parents=True)
    np.save(path, FINE)
    with pytest.raises(
        LayoutError,
        match=f"^ibmGestureTest/{name} is not a recording of this data set: expected a file named 0.npy to 10.npy in a folder named user",
    ):
        reader_of_files(DVSGestureReader, tmp_path)


def test_users_are_read_on_request_only(tmp_path: Path) -> None:
    """Without the column, key and reader are those of versions without columns; with it, the key is another one."""
    write_dvsgesture(tmp_path)
    plain = located("DVSGesture", "train", tmp_path)
    asked = located("DVSGesture", "train", tmp_path, columns=["user", "user"])
    assert "columns" not in plain.source.key_document()
    assert asked.source.key_document() == plain.source.key_document() | {"columns": ["user"]}
    with open_reader(plain.source, plain.root) as reader:
        assert (reader.extras, dict(reader.read_block(0, 6).extras)) == ((), {})
    with open_reader(asked.source, asked.root) as reader:
        assert (reader.extras, reader.read_block(0, 6).extras["user"].tolist()) == (
            ("user",),
            [2, 2, 2, 10, 10, 10],
        )
    for dataset, known in (("DVSGesture", "it has user"), ("NMNIST", "it has none")):
        with pytest.raises(
            UnknownNameError, match=f"{dataset} has no column 'age' that can be requested: {known}"
        ):
            make_source(dataset, "train", tmp_path, columns=["age"])


def test_limit_and_part(tmp_path: Path) -> None:
    """A part has the files and users of its rows, with their numbers in the set."""
    write_dvsgesture(tmp_path)
    source = located("DVSGesture", "train", tmp_path, limit=5, columns=["user"])
    whole = open_reader(source.source, source.root).read(0, 5)
    part = source.part(range(2, 4))
    with open_reader(part.source, part.root, first_row=part.first_row) as reader:
        for ours, row in zip(reader.read(2, 4), (2, 3), strict=True):
            theirs = good(whole[row])
            assert (good(ours).row, good(ours).label, good(ours).extras) == (row, theirs.label, theirs.extras)
            np.testing.assert_array_equal(good(ours).events, theirs.events)
    assert [good(item).extras["user"] for item in whole] == [2, 2, 2, 10, 10]
    with open_reader(source.source, source.root) as reader:
        assert reader.read_block(2, 4).extras["user"].tolist() == [2, 10]
