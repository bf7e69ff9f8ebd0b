"""Reader of ST-MNIST: ``data_submission/3/LUC_….mat`` holds one digit that a person drew on 10 x 10 tactile sensors.

A file has the variable ``spiketrain``, shape (101, columns). Rows 0 to 99 are the sensors, with 1 and -1 for the two polarities and 0
for no event. Row 100 is the time of each column in s. Sensor i is at x = i modulo 10, y = i divided by 10, rounded down. Times are truncated
to µs. Tonic has no class for this data set.
"""

from __future__ import annotations

import re

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, misplaced
from spikestore.pipeline.readers.formats.events import FourColumns, refuse
from spikestore.pipeline.readers.formats.mat import read_variables
from spikestore.pipeline.readers.split_files import FileTree

_NAME = re.compile(r"[^/]+/(?:.*/)?(?P<label>[0-9])/[^/]+")
_SIDE = 10
_SENSORS = _SIDE * _SIDE


class STMNISTReader(DecodedAlone):
    """Reader of ST-MNIST; recordings are sorted by the paths of their files."""

    name = "stmnist-mat"
    version = 1
    sensor_size = (_SIDE, _SIDE, 2)
    event_bytes = 4  # roughly, compressed
    event = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
    classes = tuple("0123456789")

    @staticmethod
    def label_of(name: str) -> int:
        """Return the digit, which is the name of a file's folder."""
        if (match := _NAME.fullmatch(name)) is None:
            raise misplaced(
                name,
                "a file in a folder whose name is a digit from 0 to 9, such as data_submission/3/LUC_3_001.mat",
            )
        return int(match["label"])

    @staticmethod
    def columns(content: bytes) -> FourColumns:
        """Return the events of one file; raise ValueError with a description of the fault."""
        spiketrain = read_variables(content, ("spiketrain",)).get("spiketrain")
        if spiketrain is None:
            raise ValueError("the file has no numeric variable spiketrain")
        if spiketrain.ndim != 2 or len(spiketrain) != _SENSORS + 1:
            raise ValueError(
                f"spiketrain has shape {spiketrain.shape}, should have ({_SENSORS + 1}, columns)"
            )
        spikes, seconds = spiketrain[:_SENSORS].T, spiketrain[_SENSORS].astype(np.float64)
        column, sensor = spikes.nonzero()
        polarity = spikes[column, sensor]
        refuse((polarity != 1) & (polarity != -1), "p", polarity, "should be 1 or -1")
        microseconds = seconds[column] * 1e6
        refuse(~(np.abs(microseconds) < 2.0**62), "t", microseconds, "µs is not a valid time")
        x, y = sensor % _SIDE, sensor // _SIDE
        return (
            microseconds.astype(np.int64),
            x.astype(np.int64),
            y.astype(np.int64),
            (polarity > 0).astype(np.int64),
        )


STMNIST = Dataset(
    name="STMNIST",
    reader=STMNISTReader.name,
    reader_version=STMNISTReader.version,
    splits={
        "all": FileTree(
            "data_submission", ".mat", ("STMNIST dataset NUS Tee Research Group.zip", "STMNIST.zip")
        )
    },
    open=STMNISTReader.open,
    citation="See et al., ST-MNIST - The Spiking Tactile MNIST Neuromorphic Dataset, 2020, arXiv:2005.04319",
)
