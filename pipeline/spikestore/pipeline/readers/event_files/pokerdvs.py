"""Reader of POKER-DVS: ``pips_train/he/…npy`` holds one pip of a playing card that is flipped past a camera.

A file is an array of shape (events, 4) with the columns t (µs), x, y, p. Labels are 0 to 3 for clubs, hearts, diamonds and
spades, in folders ``cl``, ``he``, ``di`` and ``sp``. Rows are in the order of the sorted file names, but the order of
`tonic.datasets.POKERDVS` depends on the file system.
"""

from __future__ import annotations

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, class_of_folder
from spikestore.pipeline.readers.formats import npy
from spikestore.pipeline.readers.formats.events import FourColumns, refuse_odd_events
from spikestore.pipeline.readers.split_files import FileTree

_FOLDERS = ("cl", "he", "di", "sp")


class PokerDVSReader(DecodedAlone):
    """Reader of one split of POKER-DVS; recordings are sorted by the paths of their files."""

    name = "pokerdvs-npy"
    version = 1
    sensor_size = (35, 35, 2)
    event_bytes = 32  # four numbers of 64 bits
    event = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
    classes = _FOLDERS

    @staticmethod
    def label_of(name: str) -> int:
        """Return the position of a file's folder among the class names."""
        expected = "a file in a folder named cl, he, di or sp, such as pips_train/he/0.npy"
        return class_of_folder(name, _FOLDERS, expected)

    @staticmethod
    def columns(content: bytes) -> FourColumns:
        """Return the events of one file. Raise ValueError if the file is faulty; the message describes the fault."""
        array = npy.read_array(content)
        if array.ndim != 2 or array.shape[1] != 4:
            raise ValueError(
                f"the array has shape {array.shape}, should have (events, 4) with the columns t, x, y, p"
            )
        if array.dtype.kind not in "iuf":
            raise ValueError(f"the array holds {array.dtype}, should hold numbers")
        t, x, y, p = array.T
        refuse_odd_events((t, x, y, p), PokerDVSReader.sensor_size)
        return t.astype(np.int64), x.astype(np.int64), y.astype(np.int64), p.astype(np.int64)


def _pips(folder: str) -> FileTree:
    return FileTree(folder, ".npy", (f"{folder}.tar.gz",))


POKERDVS = Dataset(
    name="POKERDVS",
    reader=PokerDVSReader.name,
    reader_version=PokerDVSReader.version,
    splits={"train": _pips("pips_train"), "test": _pips("pips_test")},
    open=PokerDVSReader.open,
    citation=(
        "Serrano-Gotarredona and Linares-Barranco, Poker-DVS and MNIST-DVS. Their History, How They Were Made, and Other Details, "
        "Frontiers in Neuroscience 9, 2015, doi:10.3389/fnins.2015.00481"
    ),
    tonic=TonicClass("pokerdvs", PokerDVSReader.label_of),
)
