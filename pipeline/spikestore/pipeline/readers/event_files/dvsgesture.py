"""Reader of DVSGesture as Tonic distributes it: ``ibmGestureTrain/user01_fluorescent/0.npy`` holds one gesture.

A file is a NumPy array of shape (n, 4) with the columns x, y, p, and t in ms. The name of the file is the class number, and the
name of its folder contains the user and the lighting. Times are multiplied by 1000 and truncated to int64 µs. Floating-point
times are multiplied in their own precision. Integer times are converted to int64 before they are multiplied; Tonic multiplies
them in the dtype of the file. Events equal those of `tonic.datasets.DVSGesture` bit for bit, unless Tonic's product overflows
in the dtype of the file. Values that Tonic's dtypes change silently are an error here: coordinates that are fractional or outside the
sensor, polarities other than 0 and 1, and times that exceed int64. Nothing is unpickled.

Recordings are sorted by the relative path of their file. Tonic's order depends on the file system, so a row of Tonic's data
set must be identified by its file (``dataset.data``), not by its number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, misplaced
from spikestore.pipeline.readers.formats import npy
from spikestore.pipeline.readers.formats.events import FourColumns, refuse, refuse_outside, refuse_polarities
from spikestore.pipeline.readers.split_files import FileTree
from spikestore.store_schemas.specs.files import SourceFile

EVENT = np.dtype([("x", np.int16), ("y", np.int16), ("p", np.bool_), ("t", np.int64)])
"""Tonic's dtype of events; ``t`` is in µs."""

_COLUMNS = ("x", "y", "p", "t")
_PIXELS = 128
_TOO_LATE = 2.0**63
_NAME = re.compile(r"[^/]+/user(?P<user>[0-9]{1,9})_[^/]*/(?:[^/]+/)*(?P<label>[0-9]+)\.npy")


class DVSGestureReader(DecodedAlone):
    """Reader of one split of DVSGesture; recordings are sorted by the paths of their files. The column ``user`` is read on request."""

    name = "dvsgesture-npy"
    version = 1
    sensor_size = (_PIXELS, _PIXELS, 2)
    event = EVENT
    estimates_events = False
    classes = (
        "Hand clapping", "Right hand wave", "Left hand wave", "Right arm cw", "Right arm ccw", "Left arm cw",
        "Left arm ccw", "Arm roll", "Air drums", "Air guitar", "Other gestures",
    )  # fmt: skip

    @staticmethod
    def label_of(name: str) -> int:
        """Return the class number, which is the name of a file."""
        match = _NAME.fullmatch(name)
        if match is None or int(match["label"]) >= len(DVSGestureReader.classes):
            raise misplaced(
                name,
                "a file named 0.npy to 10.npy in a folder named userNUMBER_LIGHT, such as ibmGestureTrain/user01_fluorescent/0.npy",
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
                    counts[place] = _header(opened.read(npy.LONGEST_HEADER), file.size).shape[0]
            except (OSError, ValueError):
                continue  # reading the file reports the error
        return counts

    @staticmethod
    def columns(content: bytes) -> FourColumns:
        """Return the events of one file; raise ValueError with a description of the fault."""
        _header(content, len(content))
        x, y, p, t = npy.read_array(content).T
        refuse_polarities(p)
        microseconds = _microseconds(t)
        refuse_outside("x", x, _PIXELS)
        refuse_outside("y", y, _PIXELS)
        return microseconds, x.astype(np.int16), y.astype(np.int16), p.astype(np.bool_)


def _header(content: bytes, size: int) -> npy.NpyHeader:
    """Return the header of a file of `size` bytes; raise ValueError if no gesture can be read from such a file."""
    if not size:
        raise ValueError("the file is empty: unpack it again from the downloaded archive")
    header = npy.read_header(content)
    shape, dtype = header.shape, header.dtype
    if len(shape) != 2 or shape[1] != len(_COLUMNS):
        raise ValueError(f"the array has shape {shape}, should have (events, 4) with the columns x, y, p, t")
    if not (dtype.kind in "iu" or (dtype.kind == "f" and dtype.itemsize in (4, 8))):
        raise ValueError(f"the array holds {dtype}, should hold integers, float32 or float64")
    header.refuse_other_size(size)
    return header


def _microseconds(times: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if times.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            microseconds = times * times.dtype.type(1000)
        refuse(~(np.abs(microseconds) < _TOO_LATE), "t", times, "ms is not a valid time")
        return np.asarray(microseconds, np.int64)
    latest = np.iinfo(np.int64).max // 1000
    if times.dtype.itemsize == 8:
        late = times > latest
        refuse(
            late if times.dtype.kind == "u" else late | (times < -latest),
            "t",
            times,
            "ms is not a valid time",
        )
    return times.astype(np.int64) * 1000


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
    columns=("user",),  # keys of earlier versions have no columns, so their sets have no users
    tonic=TonicClass("dvsgesture", DVSGestureReader.label_of),
)
