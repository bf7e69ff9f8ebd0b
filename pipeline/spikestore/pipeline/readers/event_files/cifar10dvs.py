"""Reader of CIFAR10-DVS as Tonic distributes it: ``airplane/….aedat4`` holds one image that moves on a screen.

Events are those of `tonic.datasets.CIFAR10DVS`. Rows are in the order of the sorted file names, but Tonic's order depends on
the file system.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, class_of_folder
from spikestore.pipeline.readers.formats.aedat.aedat4 import read_aedat4
from spikestore.pipeline.readers.formats.events import FourColumns, refuse, refuse_outside
from spikestore.pipeline.readers.split_files import FileTree

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class CIFAR10DVSReader(DecodedAlone):
    """The recordings of CIFAR10-DVS, in the order of their relative names."""

    name = "cifar10dvs-aedat4"
    version = 1
    sensor_size = (128, 128, 2)
    event = np.dtype([("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.bool_)])
    event_bytes = 8
    classes = _CLASSES

    @staticmethod
    def label_of(name: str) -> int:
        """Return the position of a file's folder among the class names."""
        expected = "a file in a folder with the name of a class, such as airplane/0.aedat4"
        return class_of_folder(name, _CLASSES, expected)

    @staticmethod
    def columns(content: bytes) -> FourColumns:
        """Return the events of one file; raise ValueError with a description of the fault."""
        events = read_aedat4(content)
        assert isinstance(events, Mapping)  # noqa: S101 - for type checkers
        t, x, y, p = (events[field] for field in ("t", "x", "y", "p"))
        refuse(t > 2**62, "t", t, "µs is beyond 62 bits")
        refuse_outside("x", x, CIFAR10DVSReader.sensor_size[0])
        refuse_outside("y", y, CIFAR10DVSReader.sensor_size[1])
        return t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.bool_)


CIFAR10DVS = Dataset(
    name="CIFAR10DVS",
    reader=CIFAR10DVSReader.name,
    reader_version=CIFAR10DVSReader.version,
    splits={
        "all": FileTree(
            "",
            ".aedat4",
            ("CIFAR10DVS.zip", *(f"{name}.zip" for name in _CLASSES)),
            _CLASSES,
            sign="airplane/*.aedat4",
        )
    },
    open=CIFAR10DVSReader.open,
    citation=(
        "Li, Liu, Ji, Li and Shi, CIFAR10-DVS: An Event-Stream Dataset for Object Classification, Frontiers in Neuroscience "
        "11, 2017, doi:10.3389/fnins.2017.00309"
    ),
    tonic=TonicClass("cifar10dvs", CIFAR10DVSReader.label_of),
)
