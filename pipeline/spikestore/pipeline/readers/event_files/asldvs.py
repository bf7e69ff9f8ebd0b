"""Reader of ASL-DVS: ``a/a_0001.mat`` holds one hand that shows a letter of the American Sign Language.

A file has the vectors ``ts`` (µs), ``x``, ``y`` and ``pol``. Events are those of `tonic.datasets.ASLDVS`: y becomes 179 - y. Labels number
the letters from a = 0 to z = 25; the letters j and z, which are movements, have no recordings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import (
    Decoded,
    FilePerRecording,
    decode_each,
    misplaced,
)
from spikestore.pipeline.readers.formats.events import FourColumns, refuse, refuse_outside, refuse_polarities
from spikestore.pipeline.readers.formats.mat import read_vectors
from spikestore.pipeline.readers.split_files import FileTree

_NAME = re.compile(r"(?:.*/)?(?P<letter>[a-z])/[^/]+")
_BYTES = 5
"""Approximate size of an event in a compressed file, in bytes."""


class ASLDVSReader(FilePerRecording):
    """Reader of ASL-DVS; recordings are sorted by file."""

    name = "asldvs-mat"
    version = 1
    sensor_size = (240, 180, 2)
    event = np.dtype([("t", np.int64), ("x", np.int64), ("y", np.int64), ("p", np.int64)])
    classes = tuple("abcdefghijklmnopqrstuvwxyz")

    @staticmethod
    def label_of(name: str) -> int:
        """Return the number of the letter that is the name of a file's folder."""
        if (match := _NAME.fullmatch(name)) is None:
            raise misplaced(name, "a file in a folder a to z, such as a/a_0001.mat")
        return ord(match["letter"]) - ord("a")

    def n_events(self) -> npt.NDArray[np.int64]:
        """Return an estimate of the number of events of each recording, from the size of its file."""
        return np.array([file.size // _BYTES for file in self.files], np.int64)

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of the given files."""
        return decode_each(contents, _columns, self.event)


def _columns(content: bytes) -> FourColumns:
    t, x, y, p = read_vectors(content, ("ts", "x", "y", "pol"))
    refuse_outside("x", x, ASLDVSReader.sensor_size[0])
    refuse_outside("y", y, ASLDVSReader.sensor_size[1])
    refuse_polarities(p)
    if t.dtype.kind == "f":
        refuse(~(np.abs(t) < 2.0**62), "ts", t, "is not a valid time")
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
