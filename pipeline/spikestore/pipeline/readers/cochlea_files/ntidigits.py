"""N-TIDIGITS18: spoken digits that a cochlea chip with 64 channels converted to spikes; ``n-tidigits.hdf5`` has both splits.

The datasets ``train_labels`` and ``test_labels`` have the names of recordings. The groups ``train_timestamps`` (s),
``train_addresses`` (channels), ``test_timestamps`` and ``test_addresses`` have a dataset for each name. A name ends with the
spoken digits.

Only recordings of a single digit are read, because a sequence of digits is not a class. `tonic.datasets.NTIDIGITS18` reads the
same recordings if it is called with ``single_digits=True``. Events equal Tonic's bit for bit: seconds are converted to float64,
multiplied by 10^6 and truncated to µs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.readers.split_files import NamedFiles
from spikestore.pipeline.readers.watched_file import only_file
from spikestore.store_schemas.specs.source import Source
from spikestore.store_schemas.wording import plural

FILE = "n-tidigits.hdf5"


def _open(source: Source, root: Path, first_row: int) -> Reader:
    from spikestore.pipeline.readers.cochlea_files.ntidigits_reader import NTIDigitsReader  # imports HDF5

    return NTIDigitsReader(only_file(source, root), source.split, limit=source.limit)


def _split_of(dataset: Any) -> str:
    if not dataset.single_digits:
        raise ValueError("reads sequences of digits, which are not classes: pass single_digits=True")
    if len(dataset) != len(dataset.single_indices):
        recordings, in_file = len(dataset), len(dataset.single_indices)
        raise ValueError(
            f"has {plural(recordings, 'recording')}, but its file has {in_file:,} of a single digit: create this Python object again"
        )
    return str(dataset.partition)


NTIDIGITS18 = Dataset(
    name="NTIDIGITS18",
    reader="ntidigits-hdf5",
    reader_version=1,
    splits={split: NamedFiles((FILE,)) for split in ("train", "test")},
    open=_open,
    citation=(
        "Anumula, Neil, Delbruck and Liu, Feature Representations for Neuromorphic Audio Spike Streams, Frontiers in "
        "Neuroscience 12, 2018, doi:10.3389/fnins.2018.00023"
    ),
    tonic=TonicClass("ntidigits18", split_of=_split_of),
)
