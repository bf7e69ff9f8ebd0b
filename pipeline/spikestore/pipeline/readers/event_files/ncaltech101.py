"""Reader of N-Caltech101: ``Caltech101/airplanes/image_0001.bin`` holds one image, seen by a camera that moves.

The files have the format of N-MNIST. As in `tonic.datasets.NCALTECH101`, the smallest x and the smallest y of each recording are
subtracted from its coordinates. Rows are in the order of the sorted file names; label i is the i-th class name in sorted order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.event_files.file_per_recording import (
    Decoded,
    FilePerRecording,
    class_of_folder,
)
from spikestore.pipeline.readers.event_files.nmnist import EVENT
from spikestore.pipeline.readers.formats import mnist_bin
from spikestore.pipeline.readers.split_files import FileTree

_CLASSES = (
    "BACKGROUND_Google", "Faces_easy", "Leopards", "Motorbikes", "accordion", "airplanes", "anchor", "ant",
    "barrel", "bass", "beaver", "binocular", "bonsai", "brain", "brontosaurus", "buddha", "butterfly",
    "camera", "cannon", "car_side", "ceiling_fan", "cellphone", "chair", "chandelier", "cougar_body",
    "cougar_face", "crab", "crayfish", "crocodile", "crocodile_head", "cup", "dalmatian", "dollar_bill",
    "dolphin", "dragonfly", "electric_guitar", "elephant", "emu", "euphonium", "ewer", "ferry", "flamingo",
    "flamingo_head", "garfield", "gerenuk", "gramophone", "grand_piano", "hawksbill", "headphone",
    "hedgehog", "helicopter", "ibis", "inline_skate", "joshua_tree", "kangaroo", "ketch", "lamp", "laptop",
    "llama", "lobster", "lotus", "mandolin", "mayfly", "menorah", "metronome", "minaret", "nautilus",
    "octopus", "okapi", "pagoda", "panda", "pigeon", "pizza", "platypus", "pyramid", "revolver", "rhino",
    "rooster", "saxophone", "schooner", "scissors", "scorpion", "sea_horse", "snoopy", "soccer_ball",
    "stapler", "starfish", "stegosaurus", "stop_sign", "strawberry", "sunflower", "tick", "trilobite",
    "umbrella", "watch", "water_lilly", "wheelchair", "wild_cat", "windsor_chair", "wrench", "yin_yang",
)  # fmt: skip


class NCaltech101Reader(FilePerRecording):
    """Reader of N-Caltech101; recordings are sorted by the paths of their files."""

    name = "ncaltech101-bin"
    version = 1
    sensor_size = (240, 180, 2)
    event_bytes = mnist_bin.BYTES
    estimates_events = False
    event = EVENT
    classes = _CLASSES

    @staticmethod
    def label_of(name: str) -> int:
        """Return the position of a file's folder among the class names."""
        expected = "a file in a folder with the name of a class, such as Caltech101/airplanes/image_0001.bin"
        return class_of_folder(name, _CLASSES, expected)

    def decode(self, contents: Sequence[bytes]) -> Decoded:
        """Return the events of the given files."""
        problems = mnist_bin.problems_of(contents)
        events = mnist_bin.unpack(contents, problems)
        counts = np.diff(events.offsets)
        filled = events.offsets[:-1][counts > 0]
        if len(filled):
            for column in (events.x, events.y):
                column -= np.repeat(np.minimum.reduceat(column, filled), counts[counts > 0])
        return Decoded(*events, problems)


NCALTECH101 = Dataset(
    name="NCALTECH101",
    reader=NCaltech101Reader.name,
    reader_version=NCaltech101Reader.version,
    splits={"all": FileTree("Caltech101", ".bin", ("Caltech101.zip", "N-Caltech101-archive.zip"))},
    open=NCaltech101Reader.open,
    citation=(
        "Orchard, Jayawant, Cohen and Thakor, Converting Static Image Datasets to Spiking Neuromorphic Datasets Using "
        "Saccades, Frontiers in Neuroscience 9, 2015, doi:10.3389/fnins.2015.00437"
    ),
    tonic=TonicClass("ncaltech101", lambda name: name.split("/")[-2]),
)
