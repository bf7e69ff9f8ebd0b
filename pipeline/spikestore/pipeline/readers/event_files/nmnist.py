"""Reader of N-MNIST: each file, such as ``Train/5/00001.bin``, is the recording of one digit by an event camera that moves three times.

Events are those of `tonic.io.read_mnist_file` (`spikestore.pipeline.readers.formats.mnist_bin`). An event outside the sensor is an
error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import Decoded, FilePerRecording, misplaced
from spikestore.pipeline.readers.formats import mnist_bin
from spikestore.pipeline.readers.split_files import FileTree

EVENT = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
"""Tonic's dtype of events; ``t`` is in µs."""

_NAME = re.compile(r"[^/]+/(?P<label>[0-9])/[^/]+")


class NMNISTReader(FilePerRecording):
    """Reader of one split of N-MNIST; recordings are sorted by the paths of their files, as in Tonic."""

    name = "nmnist-bin"
    version = 1
    sensor_size = (34, 34, 2)
    event_bytes = mnist_bin.BYTES
    estimates_events = False
    event = EVENT
    classes = (
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four",
        "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    )  # fmt: skip

    @staticmethod
    def label_of(name: str) -> int:
        """Return the digit, which is the name of the file's folder."""
        if (match := _NAME.fullmatch(name)) is None:
            raise misplaced(
                name, "a file in a folder whose name is a digit from 0 to 9, such as Train/5/00001.bin"
            )
        return int(match["label"])

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of some files, given their contents. A file with an event outside of the sensor gets a problem instead of events."""
        problems = mnist_bin.problems_of(contents)
        events = mnist_bin.unpack(contents, problems)
        width, height, _ = self.sensor_size
        if events.x.max(initial=0) < width and events.y.max(initial=0) < height:
            return Decoded(*events, problems)
        outside = (events.x >= width) | (events.y >= height)
        wrong = np.flatnonzero(outside)
        places = np.searchsorted(events.offsets, wrong, side="right") - 1
        # The first wrong event of a file is entered last, and stays.
        for place, event in zip(places[::-1].tolist(), wrong[::-1].tolist(), strict=True):
            x, y = int(events.x[event]), int(events.y[event])
            number = event - int(events.offsets[place])
            problems[place] = f"event {number} is at x = {x}, y = {y}, the sensor has 0 to 33"
        return Decoded(*mnist_bin.unpack(contents, problems), problems)


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
