"""The forms ``zarr`` (a plain Zarr v3 group) and ``hdf5`` (one file): columns of all samples, as in a CSR matrix."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.exporting.columns import CHUNK, Array, write_columns
from spikestore.pipeline.exporting.description import SplitToWrite
from spikestore.store_schemas.errors import MissingExtraError

_AXIS = {"index": "nonzero", "value": "nonzero", "offsets": "edge"}


def write_zarr(split: SplitToWrite) -> None:
    """Write ``SPLIT.zarr``: arrays in chunks of at most 2^20 values, compressed with Zstandard; the attributes of the group describe the set."""
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(split.path_with(".zarr"), mode="w-", zarr_format=3, attributes=dict(split.facts))

    def create(name: str, length: int, dtype: np.dtype[Any]) -> Array:
        return group.create_array(
            name,
            shape=(length,),
            chunks=(max(1, min(length, CHUNK)),),
            dtype="string" if dtype.kind == "U" else dtype,
            compressors=[ZstdCodec(level=3)],
            attributes={"meaning": split.arrays[name]},
            dimension_names=[_AXIS.get(name, "sample")],
            config={"write_empty_chunks": True},  # all chunks exist then, so a missing one is damage
        )

    write_columns(split.features, create, split.progress)


def write_hdf5(split: SplitToWrite) -> None:
    """Write ``SPLIT.h5``: data sets in chunks of at most 2^20 values, compressed with gzip.

    The attributes of the file describe the set; they do not list the skipped rows. The data set ``classes`` has the class names.

    Raises
    ------
    MissingExtraError
        h5py is not installed.
    OSError
        A write failed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the form 'hdf5' needs h5py: pip install 'spikestore[pipeline]'", extra="pipeline", module="h5py"
        ) from error
    with _KeptError(split.path_with(".h5"), "x+b") as disk, h5py.File(disk, "w") as file:
        # Attributes hold at most 64 kB, and there may be any number of classes.
        file["classes"] = np.array(split.facts["classes"], object).astype(h5py.string_dtype())
        file["classes"].attrs["meaning"] = "class names: label 0 is the first name"
        for name, fact in split.facts.items():
            if name not in ("classes", "skipped_rows"):
                file.attrs[name] = fact if isinstance(fact, (str, int, float)) else json.dumps(fact)

        def create(name: str, length: int, dtype: np.dtype[Any]) -> Array:
            packed = (
                {"chunks": (min(length, CHUNK),), "compression": "gzip", "shuffle": True} if length else {}
            )
            is_text = dtype.kind == "U"
            array = file.create_dataset(name, (length,), h5py.string_dtype() if is_text else dtype, **packed)
            array.attrs["meaning"] = split.arrays[name]
            return _Texts(array) if is_text else array

        def report(done: int, total: int) -> None:
            disk.raise_error()
            split.progress(done, total)

        write_columns(split.features, create, report)
        file.close()
        disk.raise_error()


class _Texts:
    """An HDF5 dataset of texts, to which NumPy arrays of texts can be written."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __setitem__(self, place: slice, values: npt.NDArray[Any], /) -> None:
        self._array[place] = values.astype(object)


class _KeptError(io.FileIO):
    """A file that keeps the error of a failed write for `raise_error`.

    HDF5 does not receive the error, because HDF5 could crash the process after such an error, for example if the disk is full.
    """

    _error: OSError | None = None

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while len(rest) and self._error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def raise_error(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error is not None:
            raise self._error
