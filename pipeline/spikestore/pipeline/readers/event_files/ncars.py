"""Reader of N-CARS: ``n-cars_train/cars/obj_004396_td.dat`` holds 100 ms of a car or of the background.

The files are Prophesee's ``.dat``, version 2. Labels are 0 for background and 1 for cars. Tonic has no class for this data set. The
archive may be unpacked with one more folder, ``n-cars_train/train/cars``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.event_files.file_per_recording import (
    Decoded,
    FilePerRecording,
    decode_each,
    misplaced,
)
from spikestore.pipeline.readers.formats.prophesee_dat import EVENT_BYTES, read_dat
from spikestore.pipeline.readers.split_files import FileTree

_FOLDERS = ("background", "cars")


class NCarsReader(FilePerRecording):
    """Reader of one split of N-CARS; recordings are sorted by file."""

    name = "ncars-dat"
    version = 1
    sensor_size = (120, 100, 2)
    event = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.uint8)])
    classes = _FOLDERS

    @staticmethod
    def label_of(name: str) -> int:
        """Return 0 for a file in a folder ``background``, 1 for one in ``cars``."""
        folder = name.split("/")[-2]
        if folder not in _FOLDERS:
            raise misplaced(
                name, "a file in a folder background or cars, such as n-cars_train/cars/obj_004396_td.dat"
            )
        return _FOLDERS.index(folder)

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return the number of events of each recording from its file's size; a header counts as a few events."""
        return np.array([file.size // EVENT_BYTES for file in self.files], np.int64)

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of the given files."""
        return decode_each(contents, read_dat, self.event)


def _cars(folder: str) -> FileTree:
    return FileTree(folder, ".dat", (f"{folder}.zip", "Prophesee_Dataset_n_cars.zip"))


NCARS = Dataset(
    name="NCARS",
    reader=NCarsReader.name,
    reader_version=NCarsReader.version,
    splits={"train": _cars("n-cars_train"), "test": _cars("n-cars_test")},
    open=NCarsReader.open,
    citation=(
        "Sironi, Brambilla, Bourdis, Lagorce and Benosman, HATS: Histograms of Averaged Time Surfaces for Robust Event-based "
        "Object Classification, CVPR 2018"
    ),
)
