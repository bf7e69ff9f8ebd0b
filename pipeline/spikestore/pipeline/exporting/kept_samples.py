"""The samples of a feature set as every form of export writes them: without skipped rows, in dtypes that other programs support."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet, SampleColumns
from spikestore.store.columns.limits import frame_byte_limit, refuse_giant_frames
from spikestore.store_schemas.documents.manifest import Manifest

_SIGNED = (np.int16, np.int32, np.int64)


@dataclass(frozen=True, eq=False)
class KeptSamples:
    """Consecutive samples of a set, without skipped rows.

    Attributes
    ----------
    features : FeatureSet
        The set.
    row : int64 array, shape (samples,)
        Row of each sample in the set.
    columns : SampleColumns
        Columns of these samples, with the dtypes on disk.
    """

    features: FeatureSet
    row: npt.NDArray[np.int64]
    columns: SampleColumns

    def __len__(self) -> int:
        return len(self.row)

    def per_sample(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns with one value for each sample: int64, float64 or texts, shape (samples,) each."""
        columns = self.columns
        named = {"label": columns.label, "row": self.row, "n_bins": columns.n_bins, **columns.extras}
        return {
            name: column.astype(np.int64) if column.dtype.kind in "iu" else column
            for name, column in named.items()
        }

    def frames(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the dense frames of each sample: shape (n_bins, polarity, [y,] x), dtype of `value_dtype`.

        Raises
        ------
        UsageError
            The frames of a sample need more than 4 GiB, or more than half of this machine's memory.
        """
        layout, dtype, limit = (
            self.features.layout,
            value_dtype(self.features.manifest),
            frame_byte_limit(None),
        )
        offsets = self.columns.offsets()
        for position, row in enumerate(self.row):
            non_zeros = slice(*offsets[position : position + 2])
            n_bins = int(self.columns.n_bins[position])
            places = n_bins * layout.site_count
            refuse_giant_frames(int(row), n_bins, places * dtype.itemsize, limit)
            flat = np.zeros(places, dtype)
            flat[self.columns.index[non_zeros]] = self.columns.value[non_zeros]
            yield flat.reshape(n_bins, *layout.sites)


def kept_samples(features: FeatureSet) -> Iterator[KeptSamples]:
    """Yield the samples of a set, one fragment at a time; rows of skipped recordings are left out. Each fragment is checked.

    Raises
    ------
    StoreError
        A stored object is damaged or missing, or cannot be read; the message names the object.
    """
    first = 0
    of_source = {name: features.column(name) for name in features.manifest.source_columns}
    for columns in features.fragments():
        rows = np.arange(first, first + len(columns))
        kept = np.ones(len(columns), bool)
        kept[features.manifest.skipped_rows(range(first, first + len(columns))) - first] = False
        first += len(columns)
        # Skipped rows have no non-zeros, so index and value are complete.
        per_sample = {name: getattr(columns, name)[kept] for name in ("nnz", "n_bins", "label")}
        extras = {name: column[kept] for name, column in columns.extras.items()}
        extras |= {name: column[rows[kept]] for name, column in of_source.items()}
        yield KeptSamples(features, rows[kept], replace(columns, **per_sample, extras=extras))


def sample_count(manifest: Manifest) -> int:
    """Return the number of rows that are samples and not skipped recordings."""
    return manifest.samples - len(manifest.skipped)


def value_dtype(manifest: Manifest) -> np.dtype[Any]:
    """Return the dtype of values: for counts, the smallest sufficient one of uint8, int16, int32 and int64; for real values, float32."""
    if manifest.layout.dtype("value").kind == "f":
        return np.dtype(np.float32)
    fits = (dtype for dtype in (np.uint8, *_SIGNED) if manifest.max_value <= np.iinfo(dtype).max)
    return np.dtype(next(fits))


def index_dtype(manifest: Manifest) -> np.dtype[Any]:
    """Return int32 if it can hold every index of the longest sample, else int64; SciPy's sparse matrices use these dtypes too."""
    places = manifest.n_bins * manifest.layout.site_count
    return np.dtype(np.int32 if places <= np.iinfo(np.int32).max else np.int64)
