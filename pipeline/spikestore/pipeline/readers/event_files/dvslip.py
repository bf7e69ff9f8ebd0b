"""Reader of DVS-Lip: ``DVS-Lip/train/accused/0.npy`` is a recording of the lips of a person who says "accused".

A file is a structured array with the fields t (µs), x, y and p. Label i is the i-th word in sorted order. Rows are in the order
of the sorted file names, but the order of `tonic.datasets.DVSLip` depends on the file system.
"""

from __future__ import annotations

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.dvsgesture import EVENT
from spikestore.pipeline.readers.event_files.file_per_recording import DecodedAlone, class_of_folder
from spikestore.pipeline.readers.formats import npy
from spikestore.pipeline.readers.formats.events import FourColumns, refuse_odd_events
from spikestore.pipeline.readers.split_files import FileTree

_WORDS = (
    "accused", "action", "allow", "allowed", "america", "american", "another", "around", "attacks", "banks",
    "become", "being", "benefit", "benefits", "between", "billion", "called", "capital", "challenge",
    "change", "chief", "couple", "court", "death", "described", "difference", "different", "during",
    "economic", "education", "election", "england", "evening", "everything", "exactly", "general",
    "germany", "giving", "ground", "happen", "happened", "having", "heavy", "house", "hundreds",
    "immigration", "judge", "labour", "leaders", "legal", "little", "london", "majority", "meeting",
    "military", "million", "minutes", "missing", "needs", "number", "numbers", "paying", "perhaps", "point",
    "potential", "press", "price", "question", "really", "right", "russia", "russian", "saying", "security",
    "several", "should", "significant", "spend", "spent", "started", "still", "support", "syria", "syrian",
    "taken", "taking", "terms", "these", "thing", "think", "times", "tomorrow", "under", "warning", "water",
    "welcome", "words", "worst", "years", "young",
)  # fmt: skip


class DVSLipReader(DecodedAlone):
    """Reader of one split of DVS-Lip; recordings are sorted by the paths of their files."""

    name = "dvslip-npy"
    version = 1
    sensor_size = (128, 128, 2)
    event_bytes = 8  # roughly
    event = EVENT
    classes = _WORDS

    @staticmethod
    def label_of(name: str) -> int:
        """Return the class number of a file; the name of its folder is the word that is the class."""
        expected = "a file in a folder with the name of a word, such as DVS-Lip/train/accused/0.npy"
        return class_of_folder(name, _WORDS, expected)

    @staticmethod
    def columns(content: bytes) -> FourColumns:
        """Return the events of one file; raise ValueError with a description of the fault."""
        events = npy.read_array(content)
        if events.ndim != 1 or not {"t", "x", "y", "p"} <= set(events.dtype.names or ()):
            raise ValueError(
                f"the array has shape {events.shape} and type {events.dtype}, should be structured with the fields t, x, y, p"
            )
        t, x, y, p = (events[field] for field in ("t", "x", "y", "p"))
        if any(column.dtype.kind not in "biuf" for column in (t, x, y, p)):
            raise ValueError(f"the array has the type {events.dtype}, should hold numbers")
        refuse_odd_events((t, x, y, p), DVSLipReader.sensor_size)
        return t.astype(np.int64), x.astype(np.int16), y.astype(np.int16), p.astype(np.bool_)


def _words(split: str) -> FileTree:
    return FileTree(f"DVS-Lip/{split}", ".npy", ("DVS-Lip.zip",))


DVSLIP = Dataset(
    name="DVSLip",
    reader=DVSLipReader.name,
    reader_version=DVSLipReader.version,
    splits={"train": _words("train"), "test": _words("test")},
    open=DVSLipReader.open,
    citation=(
        "Tan, Wang, Han, Cao, Wu and Zha, Multi-Grained Spatio-Temporal Features Perceived Network for Event-Based Lip-Reading, "
        "CVPR 2022"
    ),
    tonic=TonicClass("dvs_lips", DVSLipReader.label_of),
)
