"""Reader of DVSGesture as Tonic distributes it: ``ibmGestureTrain/user01_fluorescent/0.npy`` holds one gesture.

A file is a NumPy array of shape (n, 4) with the columns x, y, p, and t in ms; its name is the class number, its
folder's the user and the lighting. Events are those of `tonic.datasets.DVSGesture`, bit for bit: t is multiplied by
1000, a floating-point one in its own precision, and then truncated to int64 µs. Integers are widened first: Tonic
multiplies in the file's type, and wraps where that is narrow. What Tonic's types would change without a word is an
error here: coordinates that are not whole or outside the sensor, polarities other than 0 and 1, times beyond int64.
Nothing is unpickled.

Recordings are in the order of their files' relative names. Tonic's order is the file system's, which differs from
one machine to the next: its rows are found by their files (``dataset.data``), not by their numbers.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import Decoded, FilePerRecording, misplaced
from spikestore.pipeline.readers.split_files import FileTree
from spikestore.store_schemas.specs.source import SourceFile

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("p", np.bool_), ("t", np.int64)])
"""Tonic's dtype; ``t`` in µs."""

_COLUMNS = ("x", "y", "p", "t")
_PIXELS = 128
_TOO_LATE = 2.0**63
_NAME = re.compile(r"[^/]+/user(?P<user>[0-9]{1,9})_[^/]*/(?:[^/]+/)*(?P<label>[0-9]+)\.npy")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LONGEST_HEADER = 2**16

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.bool_]]
"""t in µs, x, y, p; shape (events,) each."""


class DVSGestureReader(FilePerRecording):
    """The recordings of one split of DVSGesture, in the order of their relative names; the column `user` on request."""

    name = "dvsgesture-npy"
    version = 1
    sensor_size = (_PIXELS, _PIXELS, 2)
    event = EVENT
    classes = (
        "Hand clapping", "Right hand wave", "Left hand wave", "Right arm cw", "Right arm ccw", "Left arm cw",
        "Left arm ccw", "Arm roll", "Air drums", "Air guitar", "Other gestures",
    )  # fmt: skip

    @staticmethod
    def label_of(name: str) -> int:
        """Return the class number in a file's name."""
        match = _NAME.fullmatch(name)
        if match is None or int(match["label"]) >= len(DVSGestureReader.classes):
            raise misplaced(
                name,
                "a number from 0 to 10, such as ibmGestureTrain/user01_fluorescent/0.npy",
            )
        return int(match["label"])

    def extras_of(self, files: Sequence[SourceFile]) -> dict[str, npt.NDArray[np.int64]]:
        """Return the column `user` if it was requested."""
        if "user" not in self.extras:
            return {}
        # label_of has matched all names
        users = [int(match["user"]) for file in files if (match := _NAME.fullmatch(file.name))]
        return {"user": np.array(users, np.int64)}

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording from the file headers; 0 for a file without a valid header."""
        counts = np.zeros(len(self.files), np.int64)
        for place, file in enumerate(self.files):
            try:
                with (self._root / file.name).open("rb") as opened:
                    counts[place] = _header(opened.read(_LONGEST_HEADER), file.size)[0]
            except (OSError, ValueError):
                continue  # told when it is read
        return counts

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of some files."""
        problems: dict[int, str] = {}
        parts: list[Columns] = []
        for place, content in enumerate(contents):
            try:
                parts.append(_columns(content))
            except ValueError as error:
                problems[place] = str(error)
                parts.append(_NO_EVENTS)
        offsets = np.cumsum([0, *(len(part[0]) for part in parts)], dtype=np.int64)
        t, x, y, p = (np.concatenate(column) for column in zip(_NO_EVENTS, *parts, strict=True))
        return Decoded(offsets, t, x, y, p, problems)


_NO_EVENTS: Columns = (
    np.empty(0, np.int64), np.empty(0, np.int16), np.empty(0, np.int16), np.empty(0, np.bool_),
)  # fmt: skip


def _header(content: bytes, size: int) -> tuple[int, bool, np.dtype[Any], int]:
    """Return number of events, column order, element type and offset of the data from a file's header.

    `size` is that of the whole file, `content` at least its header. Raises ValueError with what is wrong.
    """
    if not size:
        raise ValueError("the file is empty: unpack it again from the downloaded archive")
    file = io.BytesIO(content)
    try:
        read_header = _HEADERS[np.lib.format.read_magic(file)]
        shape, fortran_order, dtype = read_header(file)
    except Exception as error:  # NumPy evaluates text: errors of Python's tokenizer and parser are among them
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"the file is no NumPy array, or has a damaged header ({why})") from None
    if dtype.hasobject:
        raise ValueError("the file holds pickled Python objects, which are never loaded")
    if len(shape) != 2 or shape[1] != len(_COLUMNS):
        raise ValueError(f"the array has shape {shape}, should have (events, 4) with the columns x, y, p, t")
    if not (dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8))):
        raise ValueError(f"the array holds {dtype}, should hold integers, float32 or float64")
    expected = file.tell() + math.prod(shape) * dtype.itemsize
    if size != expected:
        what = "is truncated" if size < expected else "is damaged"
        raise ValueError(f"the file {what}: it has {size} bytes, its header says {expected}")
    return int(shape[0]), bool(fortran_order), dtype, file.tell()


def _columns(content: bytes) -> Columns:
    """Return the events of one file; raise ValueError with the problem."""
    count, fortran_order, dtype, start = _header(content, len(content))
    flat = np.frombuffer(content, dtype, count * len(_COLUMNS), start)
    x, y, p, t = flat.reshape(len(_COLUMNS), count) if fortran_order else flat.reshape(count, len(_COLUMNS)).T
    _refuse((p != 0) & (p != 1), "p", p, "should be 0 or 1")
    return _microseconds(t), _pixels("x", x), _pixels("y", y), p.astype(np.bool_)


def _pixels(field: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    wrong = (values < 0) | (values >= _PIXELS)
    if values.dtype.kind == "f":
        wrong |= np.trunc(values) != values  # NaN too
    _refuse(wrong, field, values, f"is no pixel, the sensor has 0 to {_PIXELS - 1}")
    return values.astype(np.int16)


def _microseconds(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if times.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            microseconds = times * times.dtype.type(1000)
        _refuse(~(np.abs(microseconds) < _TOO_LATE), "t", times, "ms is no time")
        return np.asarray(microseconds, np.int64)
    latest = np.iinfo(np.int64).max // 1000
    if times.dtype.itemsize == 8:
        late = times > latest
        _refuse(late if times.dtype.kind == "u" else late | (times < -latest), "t", times, "ms is no time")
    return times.astype(np.int64) * 1000


def _refuse(wrong: npt.NDArray[np.bool_], field: str, values: npt.NDArray[Any], problem: str) -> None:
    if wrong.any():
        event = int(np.argmax(wrong))
        raise ValueError(f"event {event}: {field} = {values[event]} {problem}")


def _gestures(folder: str) -> FileTree:
    return FileTree(folder, ".npy", (f"{folder}.tar.gz",))


DVSGESTURE = Dataset(
    name="DVSGesture",
    reader=DVSGestureReader.name,
    reader_version=DVSGestureReader.version,
    splits={"train": _gestures("ibmGestureTrain"), "test": _gestures("ibmGestureTest")},
    open=DVSGestureReader.open,
    licence="CC BY 4.0",
    citation="Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017, doi:10.1109/CVPR.2017.781",
    columns=("user",),  # older keys have no columns, and sets of these keys no user
    tonic=TonicClass("dvsgesture", DVSGestureReader.label_of),
)
