"""Columns of a whole set, appended fragment by fragment to arrays of any library; for the forms ``zarr`` and ``hdf5``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from spikestore.pipeline.exporting.kept_samples import index_dtype, kept_samples, sample_count, value_dtype
from spikestore.store import FeatureSet
from spikestore.store.progress import UnlabelledProgress
from spikestore.store_schemas.specs.column_values import array_of, kind_of

CHUNK = 2**20
"""Maximum number of values in a chunk."""


class Array(Protocol):
    """A one-dimensional array on disk."""

    def __setitem__(self, place: slice, values: npt.NDArray[Any], /) -> None: ...


CreateArray = Callable[[str, int, np.dtype[Any]], Array]
"""Called with the name of a column, its length and its dtype; texts have a dtype such as ``<U9``."""


class Appender:
    """Appends values in whole chunks to an array on disk.

    A chunk is written only when it is full, because a chunk that is written in two parts would be encoded twice.
    """

    def __init__(self, array: Array, dtype: np.dtype[Any]) -> None:
        self._array = array
        self._buffer = np.empty(CHUNK, dtype)
        self._filled = 0
        self._written = 0

    def append(self, values: npt.NDArray[Any]) -> None:
        """Append values, converted to the dtype of the array on disk."""
        while len(values):
            part = values[: CHUNK - self._filled]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            values = values[len(part) :]
            if self._filled == CHUNK:
                self.flush()

    def flush(self) -> None:
        """Write the values that are not on disk yet; must be called at the end."""
        if self._filled:
            self._array[self._written : self._written + self._filled] = self._buffer[: self._filled]
            self._written += self._filled
            self._filled = 0


def write_columns(features: FeatureSet, create: CreateArray, progress: UnlabelledProgress) -> None:
    """Write all columns of a set; needs memory for one fragment and one chunk of each column."""
    manifest, samples = features.manifest, sample_count(features.manifest)
    dtypes = {"index": index_dtype(manifest), "value": value_dtype(manifest)}
    for name, values in manifest.source_columns.items():
        if kind_of(values) != "whole":
            dtypes[name] = array_of(values).dtype
    names = ("label", "row", "n_bins", *manifest.extras)
    lengths = {
        "index": manifest.nnz,
        "value": manifest.nnz,
        "offsets": samples + 1,
        **dict.fromkeys(names, samples),
    }
    appenders = {}
    for name, length in lengths.items():
        dtype = dtypes.get(name, np.dtype(np.int64))
        appenders[name] = Appender(create(name, length, dtype), dtype)
    done = end = 0
    appenders["offsets"].append(np.zeros(1, np.int64))
    for kept in kept_samples(features):
        appenders["index"].append(kept.columns.index)
        appenders["value"].append(kept.columns.value)
        appenders["offsets"].append(kept.columns.offsets()[1:] + end)
        for name, column in kept.per_sample().items():
            appenders[name].append(column)
        end += len(kept.columns.index)
        done += len(kept)
        progress(done, samples)
    for appender in appenders.values():
        appender.flush()
