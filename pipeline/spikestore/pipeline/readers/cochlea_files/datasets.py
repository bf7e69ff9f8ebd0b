"""SSC and SHD: spoken words and digits that a model of the cochlea converted to spikes; each split is one HDF5 file."""

from __future__ import annotations

from pathlib import Path

from spikestore.pipeline.readers.dataset import Dataset, TonicClass
from spikestore.pipeline.readers.reader import Reader
from spikestore.pipeline.readers.split_files import NamedFiles
from spikestore.pipeline.readers.watched_file import only_file
from spikestore.store_schemas.specs.source import Source


def _open(source: Source, root: Path, first_row: int) -> Reader:
    from spikestore.pipeline.readers.cochlea_files.cochlea import CochleaReader  # imports HDF5

    return CochleaReader(only_file(source, root), limit=source.limit)


def _cochlea(name: str, *splits: str) -> Dataset:
    return Dataset(
        name=name,
        reader="cochlea-hdf5",
        reader_version=1,
        splits={split: NamedFiles((f"{name.lower()}_{split}.h5",)) for split in splits},
        open=_open,
        licence="CC BY 4.0",
        citation=(
            "Cramer, Stradmann, Schemmel and Zenke, The Heidelberg Spiking Data Sets for the Systematic Evaluation of Spiking "
            "Neural Networks, IEEE Transactions on Neural Networks and Learning Systems 33, 2022, doi:10.1109/TNNLS.2020.3044364"
        ),
        tonic=TonicClass("hsd"),
    )


SHD = _cochlea("SHD", "train", "test")
SSC = _cochlea("SSC", "train", "valid", "test")
