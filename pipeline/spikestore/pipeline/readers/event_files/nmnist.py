"""Reader of N-MNIST: ``Train/5/00001.bin`` holds one digit, seen by an event camera that moves three times.

A file is a run of events of 40 bits each: x (8 bits), y (8), p (1), t in µs (23), big-endian. An event with y = 240
is none: it says that the clock overflowed, and adds 2^13 µs to the times of all that follow. Events are those of
`tonic.io.read_mnist_file`, bit for bit, with one exception: Tonic adds in uint32 and wraps behind 4,295 s, which
takes over 2.6 MB of overflow events; here such times are right. What lies outside the sensor is an error.

Files of a block are decoded together, so that no numpy call is made for each file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import Decoded, FilePerRecording, misplaced
from spikestore.pipeline.readers.split_files import FileTree

EVENT = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
"""Tonic's dtype; ``t`` in µs."""

_BYTES = 5
_OVERFLOW = 240
_OVERFLOW_SHIFT = 13
_NAME = re.compile(r"[^/]+/(?P<label>[0-9])/[^/]+")
_DAMAGED = "unpack it again from the downloaded archive"


class NMNISTReader(FilePerRecording):
    """The recordings of one split of N-MNIST, in the order of their relative names, which is Tonic's."""

    name = "nmnist-bin"
    version = 1
    sensor_size = (34, 34, 2)
    event = EVENT
    classes = (
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    )  # fmt: skip

    @staticmethod
    def label_of(name: str) -> int:
        """Return the digit in the name of a file's folder."""
        if (match := _NAME.fullmatch(name)) is None:
            raise misplaced(name, "a file in a folder 0 to 9, such as Train/5/00001.bin")
        return int(match["label"])

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording from its file's size, overflow events included."""
        return np.array([file.size // _BYTES for file in self.files], np.int64)

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of the given files."""
        problems = {place: why for place, content in enumerate(contents) if (why := _problem(content))}
        decoded = _decode_all(contents, problems)
        outside = (decoded.x >= self.sensor_size[0]) | (decoded.y >= self.sensor_size[1])
        if not outside.any():
            return decoded
        wrong = np.flatnonzero(outside)
        places = np.searchsorted(decoded.offsets, wrong, side="right") - 1
        for place, event in zip(
            places[::-1].tolist(), wrong[::-1].tolist(), strict=True
        ):  # the first one stays
            x, y = int(decoded.x[event]), int(decoded.y[event])
            number = event - int(decoded.offsets[place])
            problems[place] = f"event {number} is at x = {x}, y = {y}, the sensor has 0 to 33"
        return _decode_all(contents, problems)


def _decode_all(contents: Sequence[bytes], problems: Mapping[int, str]) -> Decoded:
    """Return the events of some files; files with a problem have none."""
    whole = [b"" if place in problems else content for place, content in enumerate(contents)]
    bounds = np.cumsum([0, *(len(content) // _BYTES for content in whole)], dtype=np.int64)
    raw = np.frombuffer(b"".join(whole), np.uint8).reshape(-1, _BYTES)
    x, y, p = raw[:, 0].copy(), raw[:, 1].copy(), raw[:, 2] >> 7
    t = (raw[:, 2] & 0x7F).astype(np.int32) << 16 | raw[:, 3].astype(np.int32) << 8 | raw[:, 4]
    overflow = y == _OVERFLOW
    if not overflow.any():
        return Decoded(bounds, t, x, y, p, problems)
    passed = np.cumsum(overflow, dtype=np.int64)  # in all files, up to each event
    before = np.concatenate([np.zeros(1, np.int64), passed])[bounds]  # in all files before each one
    late = (passed - np.repeat(before[:-1], np.diff(bounds))) << _OVERFLOW_SHIFT
    events = ~overflow
    return Decoded(bounds - before, (t + late)[events], x[events], y[events], p[events], problems)


def _problem(content: bytes) -> str | None:
    if not content:
        return f"the file is empty: {_DAMAGED}"
    if len(content) % _BYTES:
        return f"{len(content)} bytes are no whole number of events, which have {_BYTES}: {_DAMAGED}"
    return None


def _digits(folder: str) -> FileTree:
    # Tonic calls the download train.zip, its authors Train.zip.
    downloads = (f"{folder.lower()}.zip", f"{folder}.zip")
    return FileTree(folder, ".bin", downloads, tuple(str(digit) for digit in range(10)))


NMNIST = Dataset(
    name="NMNIST",
    reader=NMNISTReader.name,
    reader_version=NMNISTReader.version,
    splits={"train": _digits("Train"), "test": _digits("Test")},
    open=NMNISTReader.open,
    licence="CC BY-SA 4.0",
    citation=(
        "Orchard, Jayawant, Cohen and Thakor, Converting Static Image Datasets to Spiking Neuromorphic Datasets Using "
        "Saccades, Frontiers in Neuroscience 9, 2015, doi:10.3389/fnins.2015.00437"
    ),
    tonic=TonicClass("nmnist", NMNISTReader.label_of, options=("first_saccade_only", "stabilize")),
)
