"""Reader of ASL-DVS: ``a/a_0001.mat`` holds one hand that shows a letter of the American Sign Language.

A file has the vectors ``ts`` (µs), ``x``, ``y`` and ``pol``. Events are those of `tonic.datasets.ASLDVS`: y becomes 179 - y.
The label of a letter is its position in the alphabet, from 0 for a. The letters j and z have no recordings, because they are
movements.
"""

from __future__ import annotations

import re

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, misplaced
from spikestore.pipeline.readers.formats.events import FourColumns, refuse_odd_events
from spikestore.pipeline.readers.formats.mat import read_vectors
from spikestore.pipeline.readers.split_files import FileTree

_NAME = re.compile(r"(?:.*/)?(?P<letter>[a-z])/[^/]+")


class ASLDVSReader(DecodedAlone):
    """Reader of ASL-DVS; recordings are sorted by the paths of their files."""

    name = "asldvs-mat"
    version = 1
    sensor_size = (240, 180, 2)
    event_bytes = 5  # roughly, compressed
    event = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
    classes = tuple("abcdefghijklmnopqrstuvwxyz")

    @staticmethod
    def label_of(name: str) -> int:
        """Return the label of a file: the position of its folder's name in the alphabet, 0 for ``a``."""
        if (match := _NAME.fullmatch(name)) is None:
            raise misplaced(
                name, "a file in a folder whose name is a letter from a to z, such as a/a_0001.mat"
            )
        return ord(match["letter"]) - ord("a")

    @staticmethod
    def columns(content: bytes) -> FourColumns:
        """Return the events of one file; raise ValueError with a description of the fault."""
        t, x, y, p = read_vectors(content, ("ts", "x", "y", "pol"))
        refuse_odd_events((t, x, y, p), ASLDVSReader.sensor_size, time="ts")
        upside_down = ASLDVSReader.sensor_size[1] - 1 - y.astype(np.int64)
        return t.astype(np.int64), x.astype(np.int64), upside_down, p.astype(np.int64)


ASLDVS = Dataset(
    name="ASLDVS",
    reader=ASLDVSReader.name,
    reader_version=ASLDVSReader.version,
    splits={"all": FileTree("", ".mat", ("ASLDVS.zip", "ICCV2019_DVS_dataset.zip"), sign="[a-z]/*.mat")},
    open=ASLDVSReader.open,
    citation=(
        "Bi, Chadha, Abbas, Bourtsoulatze and Andreopoulos, Graph-based Object Classification for Neuromorphic Vision "
        "Sensing, ICCV 2019"
    ),
    tonic=TonicClass("asl_dvs", ASLDVSReader.label_of),
)
