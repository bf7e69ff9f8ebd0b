"""Every format: written by other libraries, or byte by byte as its description says, and read to the same events."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hypothesis.extra.numpy
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
import tonic.io
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pipeline.event_files import OVERFLOW, pack
from tests.pipeline.folders import draw

from spikestore.pipeline.readers.formats import mat
from spikestore.pipeline.readers.formats.clean_events import clean_events
from spikestore.pipeline.readers.formats.registry import format_named, format_of, formats
from spikestore.store_schemas.errors import MissingExtraError, UnknownNameError
from spikestore.store_schemas.specs.folder import Decoding

Events = npt.NDArray[np.void]


def _npy(events: Events) -> bytes:
    file = io.BytesIO()
    np.save(file, events)
    return file.getvalue()


def _table(events: Events) -> npt.NDArray[np.int64]:
    return np.stack([events[field].astype(np.int64) for field in ("t", "x", "y", "p")], axis=1)


def _npz(events: Events) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=events["x"], p=events["p"], t=events["t"], y=events["y"])
    return file.getvalue()


def _npz_of_one(events: Events) -> bytes:
    file = io.BytesIO()
    np.savez(file, events)
    return file.getvalue()


def _csv(events: Events, header: str = "t,x,y,p\n", delimiter: str = ",") -> bytes:
    return (
        header + "".join(delimiter.join(map(str, row)) + "\n" for row in _table(events).tolist())
    ).encode()


def _bools(events: Events) -> bytes:
    return ("x;y;t;p\r\n" + "".join(f"{x};{y};{t};{p}\r\n" for t, x, y, p in events.tolist())).encode()


PACKED: dict[str, Any] = {"compression": "gzip", "chunks": (7,)}


def _h5(layout: str) -> Callable[[Events], bytes]:
    def write(events: Events) -> bytes:
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            if layout == "metavision":
                file.create_dataset("CD/events", data=events, **(PACKED if len(events) else {}))
                file["CD/indexes"] = np.zeros(3)
                file["EXT_TRIGGER/events"] = np.zeros(2, [("p", "i2"), ("t", "i8"), ("id", "i2")])
            else:
                for field in ("t", "x", "y", "p"):
                    name = {
                        "rpg": {"t": "events/ts", "x": "events/xs", "y": "events/ys", "p": "events/ps"}
                    }.get(layout, {})
                    place = name.get(field, f"events/{field}" if layout == "dsec" else field)
                    file.create_dataset(place, data=events[field], **(PACKED if len(events) else {}))
                if layout == "dsec":
                    file["t_offset"], file["ms_to_idx"] = 49_599_000_000, np.arange(20)
        return stream.getvalue()

    return write


def _mat(events: Events) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(
        file,
        {
            "ts": events["t"],
            "x": events["x"],
            "y": events["y"],
            "pol": events["p"].astype("u1"),
            "note": "mine",
        },
    )
    return file.getvalue()


def _mat_of_one(events: Events) -> bytes:
    file = io.BytesIO()
    scipy.io.savemat(file, {"events": _table(events).astype(float)})
    return file.getvalue()


def _bin(events: Events) -> bytes:
    return pack(_table(events)[:, [1, 2, 3, 0]])


def _dat(events: Events) -> bytes:
    header = b"% Data file containing CD events.\n% Version 2\n% Width 16\n% Height 12\n" + bytes([12, 8])
    return header + b"".join(struct.pack("<II", t, x | y << 14 | p << 28) for t, x, y, p in events.tolist())


def _evt2(events: Events) -> bytes:
    words, high = [], None
    for t, x, y, p in events.tolist():
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
    return b"% date 2026-11-26\n% evt 2.0\n% end\n" + struct.pack(f"<{len(words)}I", *words)


def _evt3(events: Events) -> bytes:
    words = []
    for t, x, y, p in events.tolist():
        words += [8 << 12 | t >> 12, 6 << 12 | t & 0xFFF, y, 2 << 12 | p << 11 | x]
    return b"% format EVT3;height=12;width=16\n% end\n" + struct.pack(f"<{len(words)}H", *words)


ORDER = {"order": ("t", "x", "y", "p")}
WRITERS: dict[str, tuple[str, Callable[[Events], bytes], dict[str, Any]]] = {
    "structured npy": ("a.npy", _npy, {}),
    "npy of columns": ("a.npy", lambda events: _npy(_table(events).astype("f4")), ORDER),
    "npy in Fortran order": ("a.npy", lambda events: _npy(np.asfortranarray(_table(events))), ORDER),
    "npz": ("A.NPZ", _npz, {}),
    "npz of one array": ("a.npz", _npz_of_one, {}),
    "csv": ("a.csv", _csv, {}),
    "csv without names": ("a.csv", lambda events: _csv(events, ""), ORDER),
    "txt with spaces": ("a.txt", lambda events: _csv(events, "# made by me\n", " "), ORDER),
    "names in a comment": ("a.txt", lambda events: _csv(events, "# t x y p\n", " "), {}),
    "semicolons and words": ("a.csv", _bools, {}),
    "tabs": ("a.txt", lambda events: _csv(events, "t\tx\ty\tp\n", "\t"), {}),
    "floats": ("a.csv", lambda events: ("t,x,y,p\n" + "".join(f"{t / 1e6:.6f},{x}.0,{y},{p}\n" for t, x, y, p in _table(events))).encode(), {"time_unit": "s"}),
    "csv.gz": ("a.csv.gz", lambda events: gzip.compress(_csv(events)), {}),
    "dsec": ("a.h5", _h5("dsec"), {}),
    "metavision": ("a.hdf5", _h5("metavision"), {}),
    "rpg": ("a.h5", _h5("rpg"), {}),
    "h5 without a group": ("a.h5", _h5("root"), {}),
    "mat": ("a.mat", _mat, {}),
    "mat of one matrix": ("a.mat", _mat_of_one, ORDER),
    "bin": ("a.bin", _bin, {}),
    "dat": ("a_td.dat", _dat, {}),
    "evt2": ("a.raw", _evt2, {}),
    "evt3": ("a.raw", _evt3, {}),
}  # fmt: skip


def read(name: str, content: bytes, **fields: Any) -> npt.NDArray[np.int64]:
    known = format_of(name)
    assert known is not None
    decoding = Decoding(formats={known.name: 1}, fields=("t", "x", "y", "p"), **fields)
    return np.stack(
        [np.asarray(column, np.int64) for column in clean_events(known.read(content), decoding)], axis=1
    )


@pytest.mark.parametrize("layout", WRITERS)
def test_every_format_gives_the_same_events(layout: str) -> None:
    name, write, fields = WRITERS[layout]
    events = draw(3)
    content = write(events)
    assert read(name, content, **fields).tolist() == _table(events).tolist()
    estimate = format_of(name)
    assert estimate is not None
    assert estimate.n_events(len(content)) > 0


EMPTY = {
    name: one
    for name, one in WRITERS.items()
    if name not in ("bin", "csv without names", "txt with spaces", "mat")
}


@pytest.mark.parametrize("layout", EMPTY)
def test_no_events_are_a_recording(layout: str) -> None:
    name, write, fields = EMPTY[layout]
    assert len(read(name, write(draw(3)[:0]), **fields)) == 0


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damage_is_a_value_error(layout: str, damage: str) -> None:
    """Never another exception, and never silence where the format can tell."""
    name, write, fields = WRITERS[layout]
    content = write(draw(3))
    noise = np.random.default_rng(0).bytes(len(content))
    damaged = {"empty": b"", "cut": content[: len(content) * 2 // 3 - 1], "noise": noise}[damage]
    text = name.endswith((".csv", ".txt"))
    if (layout == "bin" and damage == "noise") or (text and damage == "cut"):
        pytest.skip("these bytes are events too")
    with pytest.raises(ValueError, match=r"\w"):
        read(name, damaged, **fields)


FILES = Path(__file__).with_name("files")
"""Recordings that faery 0.7.1 wrote: those of `draw(3)`, whose first event is at 0, and one of 30 other events."""


@pytest.mark.parametrize("name", ["evt2.raw", "evt3.raw", "lz4.aedat4"])
def test_files_of_another_encoder(name: str) -> None:
    if name.endswith(".aedat4"):
        pytest.importorskip("aedat")
    events = draw(3)
    events["t"][0] = 0
    assert read(name, (FILES / name).read_bytes()).tolist() == _table(events).tolist()


@pytest.mark.parametrize("name", ["lz4.aedat4", "zstd.aedat4"])
def test_aedat4_is_tonics(name: str) -> None:
    pytest.importorskip("aedat")
    theirs = tonic.io.read_aedat4(str(FILES / name))
    ours = read(name, (FILES / name).read_bytes())
    assert ours.tolist() == [[int(event[field]) for field in ("t", "x", "y", "on")] for event in theirs]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "header only"])
def test_a_damaged_aedat4_is_a_value_error(damage: str) -> None:
    pytest.importorskip("aedat")
    content = (FILES / "lz4.aedat4").read_bytes()
    noise = np.random.default_rng(0).bytes(900)
    damaged = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "noise": noise,
        "header only": content[:14],
    }[damage]
    with pytest.raises(ValueError, match="the file is "):
        read("a.aedat4", damaged)


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aedat", None)
    with pytest.raises(MissingExtraError, match=r"aedat: pip install 'spikestore\[formats\]'"):
        read("a.aedat4", b"content")


@given(st.data())
def test_mat_is_scipys(data: st.DataObject) -> None:
    """Variables of all numeric types and shapes, compressed or not; others are left out."""
    types = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "?"]
    arrays = {
        name: data.draw(
            hypothesis.extra.numpy.arrays(
                data.draw(st.sampled_from(types)),
                hypothesis.extra.numpy.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4),
            )
        )
        for name in data.draw(
            st.lists(
                st.text("abcXYZ_9", min_size=1, max_size=20).filter(lambda text: text[0].isalpha()),
                unique=True,
            )
        )
    }
    file = io.BytesIO()
    others = {"note0": "a text", "struct0": {"a": 1}, "complex0": np.array([[1j]])}
    scipy.io.savemat(file, {**arrays, **others}, do_compression=data.draw(st.booleans()))
    theirs = scipy.io.loadmat(io.BytesIO(file.getvalue()))
    ours = mat.read_variables(file.getvalue())
    assert ours.keys() == arrays.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name])
        assert values.shape == theirs[name].shape
    some = sorted(arrays)[:1]
    assert [*mat.read_variables(file.getvalue(), some)] == some


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_mat_is_a_value_error_or_other_numbers(data: st.DataObject) -> None:
    content = bytearray(_mat(draw(3)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        mat.read_variables(bytes(content))


@pytest.mark.parametrize("version", ["4", "7.3"])
def test_other_versions_of_mat_are_named(version: str) -> None:
    file = io.BytesIO()
    scipy.io.savemat(file, {"x": np.zeros(3)}, format="4" if version == "4" else "5")
    content = file.getvalue()
    if version == "7.3":
        content = content[:124] + b"\x00\x02IM" + content[128:]
    with pytest.raises(ValueError, match=r"MATLAB.*: save it with the option -v7"):
        mat.read_variables(content)


def test_hdf5_files_that_a_plugin_compressed() -> None:
    """As DSEC's files are."""
    hdf5plugin = pytest.importorskip("hdf5plugin")
    stream, events = io.BytesIO(), draw(3)
    with h5py.File(stream, "w") as file:
        for field in ("t", "x", "y", "p"):
            file.create_dataset(
                f"events/{field}", data=events[field], chunks=(40,), compression=hdf5plugin.Blosc()
            )
    assert read("a.h5", stream.getvalue()).tolist() == _table(events).tolist()


def test_vectors_and_other_words_of_evt3() -> None:
    """Vectors of 12 and 8 pixels, triggers between them, and a clock of 24 bits that starts again."""
    words: list[int] = []
    expected: list[list[int]] = []
    rng = np.random.default_rng(5)
    for t in [2**24 - 9000, 2**24 - 5000, 2**24 - 1, 2**24 + 3, 2**24 + 2**23, 2**25 - 2, 2**25 + 1]:
        y, x, p = (int(rng.integers(0, end)) for end in (480, 500, 2))
        words += [8 << 12 | t >> 12 & 0xFFF, 6 << 12 | t & 0xFFF, y, 3 << 12 | p << 11 | x]
        for kind, width in ((4, 12), (4, 12), (5, 8)):
            bits = int(rng.integers(0, 2**width))
            words += [kind << 12 | bits, 0xA << 12 | 0x101, 0xE << 12 | 7]
            expected += [[t, x + bit, y, p] for bit in range(width) if bits >> bit & 1]
            x += width
    content = b"% evt 3.0\n" + struct.pack(f"<{len(words)}H", *words)
    assert read("a.raw", content).tolist() == expected


def test_the_clock_of_evt2_starts_again() -> None:
    high = [2**28 - 1, 0, 1]
    words = [word for value in high for word in (8 << 28 | value, 1 << 28 | 5 << 22 | 3 << 11 | 2)]
    content = b"% evt 2.0\n" + struct.pack(f"<{len(words)}I", *words)
    assert read("a.raw", content)[:, 0].tolist() == [(2**28 - 1) * 64 + 5, 2**34 + 5, 2**34 + 64 + 5]


def test_events_without_a_time_are_left_out() -> None:
    words = [7, 2 << 12 | 3, 8 << 12 | 1, 2 << 12 | 4]
    assert read("a.raw", b"% evt 3.0\n" + struct.pack("<4H", *words)).tolist() == [[4096, 4, 7, 0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"% evt 2.1\n% end\n", r"the file has events in EVT2\.1, should have EVT2 or EVT3: convert it"),
        (b"% date today\n% end\n", "its header names no version of EVT"),
        (
            b"% evt 3.0\n% end\n\x00",
            "the file is truncated: 1 bytes after the header are not a whole number of words",
        ),
        (b"% evt 3.0", "a line that starts with % does not end"),
    ],
)
def test_other_raw_files_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read("a.raw", content)


def test_bin_is_tonics(tmp_path: Path) -> None:
    events = np.concatenate([_table(draw(1))[:, [1, 2, 3, 0]], [OVERFLOW], _table(draw(2))[:, [1, 2, 3, 0]]])
    path = tmp_path / "a.bin"
    path.write_bytes(pack(events))
    theirs = tonic.io.read_mnist_file(str(path), np.dtype([(field, np.int64) for field in "xytp"]))
    ours = read("a.bin", path.read_bytes())
    assert ours.tolist() == [[int(event[field]) for field in "txyp"] for event in theirs]


def test_large_integers_in_text_stay_exact() -> None:
    """Times of day in ns, beside a column of floats."""
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
        (b"t,t\n1,2\n", "the names of the columns are not different: t, t"),
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


def test_two_groups_of_events_are_named() -> None:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for side in ("left", "right"):
            for field in "txyp":
                file[f"{side}/{field}"] = np.zeros(3)
    with pytest.raises(ValueError, match="the file has events in left, right: there should be one group"):
        format_named("hdf5").read(stream.getvalue())


def test_suffixes() -> None:
    """The longest one counts, in any case; each belongs to one format."""
    found = {
        name: one.name
        for name in ("a.CSV", "a.csv.gz", "a.gz", "b/c.npy")
        if (one := format_of(name)) is not None
    }
    assert found == {"a.CSV": "text", "a.csv.gz": "text-gzip", "b/c.npy": "npy"}
    suffixes = [suffix for one in formats().values() for suffix in one.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    with pytest.raises(UnknownNameError, match="no format is called 'aedat', did you mean 'aedat4'"):
        format_named("aedat")
