"""Layout of cochlea files: functions that return the HDF5 datasets, or raise an error that names the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import numpy.typing as npt

from spikestore.pipeline.readers.cochlea_files.hdf5 import type_text
from spikestore.store_schemas.errors import LayoutError

EXPECTED = "expected HDF5 with spikes/times, spikes/units, labels and extra/keys, as in SSC and SHD"
DOWNLOAD = "download it again (https://zenkelab.org/datasets/)"


class CochleaLayout:
    """The HDF5 datasets of one file. A method raises a `LayoutError` if the dataset `name` is missing or has another type.

    Parameters
    ----------
    path : pathlib.Path
        Path of the file, for messages.
    file : h5py.File
        The open file.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file

    def sequences(self, name: str, kinds: str, noun: str) -> Any:
        """Return a dataset of variable-length sequences. NumPy's kind of the numbers must be one of the letters in `kinds`; `noun` describes the numbers in error messages."""
        requirement = f"variable-length {noun} sequences, little-endian"
        dataset = self._dataset(name, requirement)
        base = h5py.check_vlen_dtype(dataset.dtype)
        # h5py 3.16 does not swap the bytes of sequences in the other byte order, and silently returns wrong numbers.
        if base is None or np.dtype(base).kind not in kinds or not np.dtype(base).isnative:
            self.refuse(f"{name} holds {type_text(dataset)}, but should hold {requirement}")
        return dataset

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        """Return the values of a dataset of integers: int64, shape (n,). Values that are too large for int64 become the largest int64."""
        dataset = self._dataset(name, "integers")
        if dataset.dtype.kind not in "iu":
            self.refuse(f"{name} holds {type_text(dataset)}, but should hold integers")
        values = dataset[()]
        if dataset.dtype == np.uint64:
            values = np.minimum(values, np.iinfo(np.int64).max)
        return np.asarray(values, np.int64)

    def names(self, name: str) -> tuple[str, ...]:
        """Return the class names in the dataset `name`."""
        dataset = self._dataset(name, "class names")
        if h5py.check_string_dtype(dataset.dtype) is None:
            self.refuse(f"{name} holds {type_text(dataset)}, but should hold class names")
        try:
            return tuple(value.decode() for value in dataset[()].tolist())
        except UnicodeDecodeError:
            self.refuse(f"{name} has a class name that is not UTF-8 text")

    def refuse(self, why: str) -> NoReturn:
        """Raise the error for a file with another layout."""
        raise LayoutError(
            f"{self._path}: {why}; {EXPECTED}: choose another file or {DOWNLOAD}", path=str(self._path)
        )

    def _dataset(self, name: str, requirement: str) -> Any:
        dataset = self._file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            self.refuse(f"no dataset {name}")
        if dataset.ndim != 1:
            self.refuse(f"{name} has shape {dataset.shape}, but should have one axis ({requirement})")
        if dataset.external or dataset.is_virtual or dataset.file.filename != self._file.filename:
            # The source key hashes this file only.
            self.refuse(f"{name} is stored in another file")
        return dataset
