"""Packed columns: a whole feature set in memory, in the narrowest dtypes that hold its index and value.

On disk, dtypes follow from the transform and the axes; in memory, they follow from the manifest's ``max_index`` and
``max_value``: uint16 and uint8 for SSC at 100 channels and 250 bins. A non-zero then takes 3 bytes; in a
``torch.sparse_coo`` tensor of shape (time, x), it takes 20 bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store import FeatureSet
from spikestore.store.columns.limits import refuse_giant_set
from spikestore.store.columns.packed_size import narrow_dtypes, packed_bytes
from spikestore.store.machine import physical_memory_bytes
from spikestore.store.progress import Progress
from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.wording import plural

logger = logging.getLogger(__name__)

TELL_S = 5.0
"""Seconds between two log lines about the progress of loading."""


@dataclass(frozen=True, eq=False)
class PackedColumns:
    """All samples of a feature set in memory; skipped rows are left out.

    Attributes
    ----------
    index : uint16, uint32 or int64 array, shape (non-zeros,)
        Places of the non-zeros, row-major over (time bin, polarity, [y,] x), strictly increasing in a sample.
    value : uint8, uint16, uint32 or float32 array, shape (non-zeros,)
        Values of the non-zeros.
    offsets : int64 array, shape (samples + 1,)
        Start of each sample in ``index``, and the end of the last sample.
    n_bins : int32 array, shape (samples,)
        Time bins.
    label : int64 array, shape (samples,)
        Class numbers.
    rows : int64 array, shape (samples,)
        Row of each sample in the feature set.
    extras : mapping of str to array, shape (samples,) each
        The set's optional columns: ``speaker``, ``n_events``, columns of a folder, and so on.
    set_rows : int
        Rows of the feature set, skipped ones included.
    sites : tuple of int
        Sizes of the axes after time.
    classes : tuple of str
        Class names.
    digest : str
        Digest of the feature set.
    """

    index: npt.NDArray[Any]
    value: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    n_bins: npt.NDArray[np.int32]
    label: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    extras: Mapping[str, npt.NDArray[Any]]
    set_rows: int
    sites: tuple[int, ...]
    classes: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def site_count(self) -> int:
        """Number of sites (channels, or pixels, of all polarities): the product of ``sites``."""
        return int(np.prod(self.sites, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Size of all columns in bytes."""
        columns = (self.index, self.value, self.offsets, self.n_bins, self.label, self.rows)
        return sum(column.nbytes for column in (*columns, *self.extras.values()))

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column with one value for each sample, such as ``label``, ``nnz`` or ``speaker``.

        Raises
        ------
        UsageError
            No column has that name.
        """
        known: dict[str, npt.NDArray[Any]] = {
            "label": self.label,
            "n_bins": self.n_bins,
            "nnz": np.diff(self.offsets),
            **self.extras,
        }
        if name not in known:
            raise UsageError(f"no column {name!r}; the columns are {', '.join(known)}")
        return known[name]

    def take(self, positions: npt.NDArray[np.int64]) -> PackedColumns:
        """Return the samples at `positions`; without a copy if `positions` has all samples.

        Parameters
        ----------
        positions : int64 array
            Positions of the samples, ascending.
        """
        if len(positions) == len(self):
            return self
        counts = np.diff(self.offsets)
        kept = np.zeros(len(self), bool)
        kept[positions] = True
        non_zeros = np.repeat(kept, counts)
        offsets = np.zeros(len(positions) + 1, np.int64)
        np.cumsum(counts[kept], out=offsets[1:])
        return replace(
            self,
            index=self.index[non_zeros],
            value=self.value[non_zeros],
            offsets=offsets,
            n_bins=self.n_bins[kept],
            label=self.label[kept],
            rows=self.rows[kept],
            extras={name: column[kept] for name, column in self.extras.items()},
        )


def refuse_other_than_features(features: object) -> None:
    """Raise `UsageError` unless `features` is a feature set."""
    if not isinstance(features, FeatureSet):
        raise UsageError(
            f'features must be a FeatureSet, got {features!r}: get a set from a store, such as Store("store")["demo:train"]'
        )


def pack(features: FeatureSet, progress: Progress | None = None) -> PackedColumns:
    """Load a feature set into packed columns; all rows are checked, and progress of long loads is logged.

    Raises
    ------
    DamagedError
        Stored data differ from the committed data, and the message names the object; or a fragment would decode to more than this
        machine's memory.
    StoreError
        Stored data can't be reached.
    UsageError
        Every row was skipped, or the set is larger than this machine's memory.
    """
    manifest = features.manifest
    refuse_giant_set(manifest)
    needed, memory = packed_bytes(manifest), physical_memory_bytes()
    if memory is not None and needed > memory:
        raise UsageError(
            f"the packed columns of {features!r} need {needed:,} bytes, but this machine has {memory:,}: use FeatureLoader with "
            "residence='stream'"
        )
    index_dtype, value_dtype = narrow_dtypes(manifest)
    index = np.empty(manifest.nnz, index_dtype)
    value = np.empty(manifest.nnz, value_dtype)
    nnz = np.empty(manifest.samples, np.int64)
    n_bins = np.empty(manifest.samples, np.int32)
    label = np.empty(manifest.samples, np.int64)
    layout = features.layout
    extras = {name: np.empty(manifest.samples, layout.dtype(name)) for name in layout.extras}
    row = place = 0
    began = logged = time.monotonic()
    for columns in features.fragments():
        rows, values = slice(row, row + len(columns)), slice(place, place + len(columns.index))
        index[values], value[values] = columns.index, columns.value
        nnz[rows], n_bins[rows], label[rows] = columns.nnz, columns.n_bins, columns.label
        for name, column in extras.items():
            column[rows] = columns.extras[name]
        row, place = rows.stop, values.stop
        if time.monotonic() - logged >= TELL_S:
            logged = time.monotonic()
            _log_progress(features, place * (index.itemsize + value.itemsize), row, logged - began)
        if progress is not None:
            progress(row, manifest.samples, f"{manifest.source.dataset} {manifest.source.split}")
    # Skipped rows have no non-zeros: index and value stay as they are.
    kept = np.ones(manifest.samples, bool)
    kept[[skipped.row for skipped in manifest.skipped]] = False
    if not kept.any():
        raise UsageError(f"every recording of {features!r} was skipped: nothing to load")
    offsets = np.zeros(int(kept.sum()) + 1, np.int64)
    np.cumsum(nnz[kept], out=offsets[1:])
    return PackedColumns(
        index=index[:place],  # a rebinned set has fewer non-zeros than its manifest allows
        value=value[:place],
        offsets=offsets,
        n_bins=n_bins[kept],
        label=label[kept],
        rows=np.flatnonzero(kept).astype(np.int64),
        extras={name: column[kept] for name, column in extras.items()}
        | {name: features.column(name)[kept] for name in manifest.source_columns},
        set_rows=manifest.samples,
        sites=features.layout.sites,
        classes=features.classes,
        digest=features.digest,
    )


def _log_progress(features: FeatureSet, loaded: int, rows: int, seconds: float) -> None:
    source, left = features.manifest.source, (len(features) - rows) * seconds / rows
    logger.info(
        "%s %s: %d of %s loaded, %.1f MB packed, %.1f MB/s, %.0f s left",
        source.dataset,
        source.split,
        rows,
        plural(len(features), "sample"),
        loaded / 1e6,
        loaded / 1e6 / max(seconds, 1e-9),
        left,
    )
