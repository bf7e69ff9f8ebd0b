"""Recordings in every file format, and what `clean_events` makes of them."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
from tests.pipeline.event_files import pack

from spikestore.pipeline.readers.formats.clean_events import clean_events
from spikestore.pipeline.readers.formats.registry import format_of
from spikestore.store_schemas.specs.folder import Decoding

Events = npt.NDArray[np.void]


def _npy(events: Events) -> bytes:
    file = io.BytesIO()
    np.save(file, events)
    return file.getvalue()


def table_of(events: Events) -> npt.NDArray[np.int64]:
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
        header + "".join(delimiter.join(map(str, row)) + "\n" for row in table_of(events).tolist())
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


def write_mat(events: Events) -> bytes:
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
    scipy.io.savemat(file, {"events": table_of(events).astype(float)})
    return file.getvalue()


def _bin(events: Events) -> bytes:
    return pack(table_of(events)[:, [1, 2, 3, 0]])


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


def aedat_packets(
    events: Events, *, size: int = 50, kind: int = 1, source: int = 1, invalid: int = 0
) -> bytes:
    """Return packets of AEDAT 3.1; the last `invalid` events of each are marked as invalid."""
    packets = []
    for start in range(0, len(events), size):
        rows = events[start : start + size].tolist()
        overflow = rows[0][0] >> 31
        valid = max(len(rows) - invalid, 0)
        packets.append(struct.pack("<HHIIIIII", kind, source, 8, 4, overflow, len(rows), len(rows), valid))
        packets += [
            struct.pack("<II", x << 17 | y << 2 | p << 1 | (number < valid), t - (overflow << 31))
            for number, (t, x, y, p) in enumerate(rows)
        ]
    return b"".join(packets)


AEDAT_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def _aedat(events: Events) -> bytes:
    return AEDAT_HEADER + aedat_packets(events)


def aedat2(chip: str = "") -> Callable[[Events], bytes]:
    """Return a function that writes AEDAT 2.0 of a DVS128, or of the DAVIS346 that `chip` names."""
    header = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n# Timestamps tick is 1 us\r\n"
    if chip:
        header += f"# AEChip: {chip}\r\n#End Of ASCII Header\r\n".encode()

    def write(events: Events) -> bytes:
        t, x, y, p = table_of(events).T
        address = (
            (259 - y) << 22 | (345 - x) << 12 | p << 11
            if "avi" in chip.lower()
            else (127 - y) << 8 | (127 - x) << 1 | 1 - p
        )
        return header + np.stack([address, t], axis=1).astype(">u4").tobytes()

    return write


ORDER = {"order": ("t", "x", "y", "p")}
WRITERS: dict[str, tuple[str, Callable[[Events], bytes], dict[str, Any]]] = {
    "structured npy": ("a.npy", _npy, {}),
    "npy of columns": ("a.npy", lambda events: _npy(table_of(events).astype("f4")), ORDER),
    "npy in Fortran order": ("a.npy", lambda events: _npy(np.asfortranarray(table_of(events))), ORDER),
    "npz": ("A.NPZ", _npz, {}),
    "npz of one array": ("a.npz", _npz_of_one, {}),
    "csv": ("a.csv", _csv, {}),
    "csv without names": ("a.csv", lambda events: _csv(events, ""), ORDER),
    "txt with spaces": ("a.txt", lambda events: _csv(events, "# made by me\n", " "), ORDER),
    "names in a comment": ("a.txt", lambda events: _csv(events, "# t x y p\n", " "), {}),
    "semicolons and words": ("a.csv", _bools, {}),
    "tabs": ("a.txt", lambda events: _csv(events, "t\tx\ty\tp\n", "\t"), {}),
    "floats": ("a.csv", lambda events: ("t,x,y,p\n" + "".join(f"{t / 1e6:.6f},{x}.0,{y},{p}\n" for t, x, y, p in table_of(events))).encode(), {"time_unit": "s"}),
    "csv.gz": ("a.csv.gz", lambda events: gzip.compress(_csv(events)), {}),
    "dsec": ("a.h5", _h5("dsec"), {}),
    "metavision": ("a.hdf5", _h5("metavision"), {}),
    "rpg": ("a.h5", _h5("rpg"), {}),
    "h5 without a group": ("a.h5", _h5("root"), {}),
    "mat": ("a.mat", write_mat, {}),
    "mat of one matrix": ("a.mat", _mat_of_one, ORDER),
    "bin": ("a.bin", _bin, {}),
    "dat": ("a_td.dat", _dat, {}),
    "bs2": ("1.bs2", _bin, {}),
    "aedat": ("a.aedat", _aedat, {}),
    "aedat 2 of a DVS128": ("a.aedat", aedat2(), {}),
    "aedat 2 of a DAVIS": ("a.aedat", aedat2("eu.seebetter.ini.chips.davis.Davis346B"), {}),
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


FILES = Path(__file__).parent / "readers/formats/files"
"""Recordings that faery 0.7.1 wrote: those of `draw(3)`, whose first event is at 0, and one of 30 other events."""
