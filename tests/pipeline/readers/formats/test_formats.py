"""Every format: written by other libraries, or byte by byte as its description says, and read to the same events."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tonic.io
from tests.pipeline.event_files import OVERFLOW, pack
from tests.pipeline.folders import draw
from tests.pipeline.format_writers import FILES, WRITERS, read, table_of

from spikestore.pipeline.readers.formats.clean_events import clean_events
from spikestore.pipeline.readers.formats.registry import format_named, format_of, formats
from spikestore.store_schemas.errors import MissingExtraError, UnknownNameError
from spikestore.store_schemas.specs.folder import Decoding, EventField


@pytest.mark.parametrize("layout", WRITERS)
def test_every_format_has_the_same_events(layout: str) -> None:
    name, write, fields = WRITERS[layout]
    events = draw(3)
    content = write(events)
    assert read(name, content, **fields).tolist() == table_of(events).tolist()
    estimate = format_of(name)
    assert estimate is not None
    assert estimate.n_events(len(content)) > 0


EMPTY = {
    name: one
    for name, one in WRITERS.items()
    if name not in ("bin", "bs2", "csv without names", "txt with spaces", "mat")
}


@pytest.mark.parametrize("layout", EMPTY)
def test_no_events_are_a_recording(layout: str) -> None:
    name, write, fields = EMPTY[layout]
    assert len(read(name, write(draw(3)[:0]), **fields)) == 0


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damage_is_a_value_error(layout: str, damage: str) -> None:
    """Damage raises no other exception, and raises one wherever the format allows to detect it."""
    name, write, fields = WRITERS[layout]
    content = write(draw(3))
    noise = np.random.default_rng(0).bytes(len(content))
    damaged = {"empty": b"", "cut": content[: len(content) * 2 // 3 - 1], "noise": noise}[damage]
    text = name.endswith((".csv", ".txt"))
    if (layout in ("bin", "bs2") and damage == "noise") or (text and damage == "cut"):
        pytest.skip("these bytes are events too")
    with pytest.raises(ValueError, match=r"\w"):
        read(name, damaged, **fields)


def test_all_pixels_of_slayers_files_are_events() -> None:
    """The value y = 240 stands for an overflow in files of N-MNIST, but here it is read as any other y."""
    events = [OVERFLOW, *draw(3)[["x", "y", "p", "t"]].tolist(), (255, 255, 1, 2**23 - 1)]
    assert read("1.bs2", pack(events)).tolist() == [[t, x, y, p] for x, y, p, t in events]


@pytest.mark.parametrize("name", ["evt2.raw", "evt3.raw", "lz4.aedat4"])
def test_files_of_another_encoder(name: str) -> None:
    if name.endswith(".aedat4"):
        pytest.importorskip("aedat")
    events = draw(3)
    events["t"][0] = 0
    assert read(name, (FILES / name).read_bytes()).tolist() == table_of(events).tolist()


def test_hdf5_files_that_a_plugin_compressed() -> None:
    """DSEC's files, for example, are compressed by a plugin."""
    hdf5plugin = pytest.importorskip("hdf5plugin")
    stream, events = io.BytesIO(), draw(3)
    with h5py.File(stream, "w") as file:
        for field in ("t", "x", "y", "p"):
            file.create_dataset(
                f"events/{field}", data=events[field], chunks=(40,), compression=hdf5plugin.Blosc()
            )
    assert read("a.h5", stream.getvalue()).tolist() == table_of(events).tolist()


def test_bin_is_tonics(tmp_path: Path) -> None:
    events = np.concatenate(
        [table_of(draw(1))[:, [1, 2, 3, 0]], [OVERFLOW], table_of(draw(2))[:, [1, 2, 3, 0]]]
    )
    path = tmp_path / "a.bin"
    path.write_bytes(pack(events))
    theirs = tonic.io.read_mnist_file(str(path), np.dtype([(field, np.int64) for field in "xytp"]))
    ours = read("a.bin", path.read_bytes())
    assert ours.tolist() == [[int(event[field]) for field in "txyp"] for event in theirs]


@pytest.mark.parametrize("first", [b"t,x\n", b"# t,x\n", b""])
def test_a_byte_order_mark_is_no_part_of_the_text(first: bytes) -> None:
    """Excel writes it at the start of a file. Before a number, it made the file unreadable."""
    events = format_named("text").read(b"\xef\xbb\xbf" + first + b"1,2\n3,4\n")
    columns = [events["t"], events["x"]] if isinstance(events, dict) else list(np.asarray(events).T)
    assert [column.tolist() for column in columns] == [[1, 3], [2, 4]]


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\r\r\n"])
@pytest.mark.parametrize("header_only", [False, True])
def test_lines_of_text_may_end_with_a_carriage_return(end: bytes, header_only: bool) -> None:
    """No event is lost after a header that ends in this way: some programs still write such files."""
    lines = [b"t,x", b"1,2", b"3,4", b""]
    content = lines[0] + end + b"\n".join(lines[1:]) if header_only else end.join(lines)
    events = format_named("text").read(content)
    assert isinstance(events, dict)
    assert {name: column.tolist() for name, column in events.items()} == {"t": [1, 3], "x": [2, 4]}


def test_large_integers_in_text_stay_exact() -> None:
    """Times of day in ns stay exact beside a column of floats."""
    start = 2**53 + 1
    content = f"{start},1,0.5\n{start + 2},2,1.5\n".encode()
    known = format_of("a.csv")
    assert known is not None
    events = clean_events(
        known.read(content), Decoding(formats={"text": 1}, fields=("t", "x"), order=("t", "x", "-"))
    )
    assert events.t.tolist() == [start, start + 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"t,x\n1,2\n3,four\n", r"not all lines hold 2 numbers \(.*four.*\)"),
        (b"t,x\n1,2\n3\n", "not all lines hold 2 numbers"),
        (b"t,x\n1,2,3\n", "the line '1,2,3' has 3 values, should have 2"),
        (b"t,t\n1,2\n", "several columns have the same name: t, t"),
        (b"t,1x\n1,2\n", "the line 't,1x' has neither numbers nor names of columns"),
    ],
)
def test_wrong_lines_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        format_named("text").read(content)


def test_pickles_in_an_archive_are_never_loaded() -> None:
    file = io.BytesIO()
    np.savez(file, t=np.array([{}], object), x=np.zeros(1))
    with pytest.raises(ValueError, match="pickled Python objects, which are never loaded"):
        format_named("npz").read(file.getvalue())


def test_an_old_dat_is_named() -> None:
    with pytest.raises(ValueError, match=r"the file has version 1 of Prophesee's \.dat, should have 2"):
        format_named("prophesee-dat").read(b"% Version 1\n\x00\x08" + bytes(8))
    with pytest.raises(
        ValueError, match="the file has events of type 14 with 8 bytes, should have type 0 or 12 with 8"
    ):
        format_named("prophesee-dat").read(b"% Version 2\n\x0e\x08")


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize(
    "names", [{"t": "clock", "x": "column", "p": "sign"}, {"p": "sign"}, {"t": "clock", "x": "ts"}]
)
def test_a_recipe_names_the_columns_of_hdf5_files(names: dict[EventField, str], structured: bool) -> None:
    """Only the usual names were found."""
    columns: dict[EventField, list[int]] = {"t": [5, 7], "x": [1, 2], "p": [0, 1]}
    stored = {names.get(field, field): np.array(values) for field, values in columns.items()}
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["note"], file["sizes"] = "a text", np.zeros(3)
        if structured:
            table = np.empty(2, [(name, "<i8") for name in stored])
            for name, values in stored.items():
                table[name] = values
            file["events"] = table
        else:
            for name, values in stored.items():
                file[f"events/{name}"] = values
    events = format_named("hdf5").read(stream.getvalue())
    cleaned = clean_events(events, Decoding(formats={"hdf5": 1}, fields=("t", "x", "p"), names=names))
    assert [np.asarray(column).tolist() for column in (cleaned.t, cleaned.x, cleaned.p)] == [
        *columns.values()
    ]


def test_links_that_lead_nowhere_do_not_damage_an_hdf5_file() -> None:
    """The events of the file are complete."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["events/t"], file["events/x"] = np.array([5, 7]), np.array([1, 2])
        file["events/y"], file["picture"] = h5py.SoftLink("/nowhere"), h5py.ExternalLink("nowhere.h5", "/x")
    events = format_named("hdf5").read(stream.getvalue())
    assert {name: column.tolist() for name, column in dict(events).items()} == {"t": [5, 7], "x": [1, 2]}


@pytest.mark.parametrize("shape", [(1, 0), (0, 1), (0, 0), (0,)])
@pytest.mark.parametrize("suffix", ["npz", "mat"])
def test_vectors_without_events_have_any_shape_of_matlab(shape: tuple[int, ...], suffix: str) -> None:
    """Vectors of shape (1, 0) and (0, 1) were refused."""
    file = io.BytesIO()
    columns: dict[str, Any] = {field: np.zeros(shape, np.int32) for field in "txyp"}
    if suffix == "mat":
        scipy.io.savemat(file, columns)
    else:
        np.savez(file, **columns)
    assert len(read(f"a.{suffix}", file.getvalue())) == 0


def test_two_groups_of_events_are_named() -> None:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for side in ("left", "right"):
            for field in "txyp":
                file[f"{side}/{field}"] = np.zeros(3)
    with pytest.raises(ValueError, match="the file has events in left, right: there should be one group"):
        format_named("hdf5").read(stream.getvalue())


def test_a_file_with_an_unknown_filter_is_named() -> None:
    """The missing filter is no fault of the recording, so nothing else adds the name of the file."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in ("t", "x", "y", "p"):
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_chunk((4,))
            settings.set_filter(511, h5py.h5z.FLAG_OPTIONAL, ())  # a number that no filter has
            h5py.h5d.create(
                file.require_group("events").id,
                name.encode(),
                h5py.h5t.NATIVE_INT64,
                h5py.h5s.create_simple((4,)),
                settings,
            ).write_direct_chunk((0,), bytes(32))
    with pytest.raises(
        MissingExtraError, match=r"^a/1\.h5: the file is compressed by a filter that is not installed"
    ):
        format_named("hdf5").events_of("a/1.h5", stream.getvalue())


def test_suffixes() -> None:
    """The longest suffix decides, in upper or lower case; each suffix belongs to one format."""
    found = {
        name: one.name
        for name in ("a.CSV", "a.csv.gz", "a.gz", "b/c.npy")
        if (one := format_of(name)) is not None
    }
    assert found == {"a.CSV": "text", "a.csv.gz": "text-gzip", "b/c.npy": "npy"}
    suffixes = [suffix for one in formats().values() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    with pytest.raises(UnknownNameError, match="no format is called 'aedat44', did you mean 'aedat4'"):
        format_named("aedat44")
