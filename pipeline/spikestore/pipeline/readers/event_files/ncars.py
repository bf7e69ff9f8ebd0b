"""Reader of N-CARS: ``n-cars_train/cars/obj_004396_td.dat`` holds 100 ms of a car or of the background.

The files are Prophesee's ``.dat``, version 2. Labels are 0 for background and 1 for cars. Tonic has no class for this data set.
The unpacked archive may also have one more level of folders: ``n-cars_train/train/cars``.
"""

from __future__ import annotations

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, class_of_folder
from spikestore.pipeline.readers.formats.prophesee_dat import EVENT_BYTES, read_dat
from spikestore.pipeline.readers.split_files import FileTree

_FOLDERS = ("background", "cars")


class NCarsReader(DecodedAlone):
    """Reader of one split of N-CARS; recordings are sorted by the paths of their files."""

    name = "ncars-dat"
    version = 1
    sensor_size = (120, 100, 2)
    event_bytes = EVENT_BYTES
    estimates_events = False
    event = np.dtype([("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.uint8)])
    classes = _FOLDERS
    columns = staticmethod(read_dat)

    @staticmethod
    def label_of(name: str) -> int:
        """Return 0 for a file in a folder ``background``, and 1 for a file in a folder ``cars``."""
        expected = "a file in a folder named background or cars, such as n-cars_train/cars/obj_004396_td.dat"
        return class_of_folder(name, _FOLDERS, expected)


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
