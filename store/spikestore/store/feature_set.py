"""The class `FeatureSet`: a committed feature set whose blocks are checked on every read.

NumPy and the readers are imported only by the methods that read rows. A command that only opens sets starts faster without them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spikestore.store.columns.limits import (
    frame_byte_limit,
    refuse_giant_frames,
    refuse_giant_set,
)
from spikestore.store.committed_build import CommittedBuild
from spikestore.store.machine import available_cores
from spikestore.store.notebook.tables import table_of_set
from spikestore.store.plots.sets import plot_classes, plot_row
from spikestore.store.storage import Storage
from spikestore.store.trust.documents import manifest_of
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.documents.ref import Pin
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, UsageError
from spikestore.store_schemas.layout import BLOCK, Layout
from spikestore.store_schemas.specs.canonical import sha256_hex
from spikestore.store_schemas.specs.column_values import array_of
from spikestore.store_schemas.wording import plural

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from spikestore.store.columns.reader import DirectReader
    from spikestore.store.columns.samples import SampleColumns
    from spikestore.store.trust.block_rows import RowRange
    from spikestore.store.trust.checked_reader import CheckedReader
    from spikestore.store.trust.narrow_rows import Empty, NarrowRows
    from spikestore.store.trust.scanned_rows import ScannedRows


class FeatureSet:
    """All samples of one source under one transform; immutable.

    Use a `Store` to open a feature set. Rows are recordings in the source's order. A skipped recording keeps its row
    (``manifest.skipped``), which has label -1, no non-zeros and no bins.

    Examples
    --------
    >>> features = Store("feature_store")["demo:train"]        # doctest: +SKIP
    >>> columns = features.read(0, 128)                # doctest: +SKIP
    >>> frames = features.frames(5)                    # (time, polarity, x) # doctest: +SKIP
    """

    def __init__(self, storage: Storage, address: Address, manifest: Manifest) -> None:
        self._storage = storage
        self.address = address
        self.manifest = manifest
        self._build = CommittedBuild(storage, address, manifest)

    @classmethod
    def open(cls, storage: Storage, address: Address) -> FeatureSet:
        """Open a committed feature set and return it.

        Raises
        ------
        MissingObjectError
            The manifest does not exist: the set is not committed.
        DamagedError
            The manifest is damaged or belongs to another set.
        NewerFormatError
            The manifest has a newer format, or an operation that this version does not know.
        """
        data = storage.get(address.manifest)
        try:
            manifest = manifest_of(address, data)
        except DamagedError as error:
            raise DamagedError(
                f"{error}. To restore the manifest, run spikestore repair {address.short} --store {storage.url} "
                "with --from URL (a store that has the set). Or run the same command with --uncommit instead of --from, and then build again: the build reuses all fragments",
                **error.details,
            ) from error
        return cls(storage, address, manifest)

    def __getstate__(self) -> dict[str, Any]:
        # Without the reader, which holds a lock: a copy opens its own.
        return {
            "_storage": self._storage,
            "address": self.address,
            "manifest": self.manifest,
            "_build": self._build,
        }

    _repr_html_ = table_of_set
    plot = plot_row
    plot_classes = plot_classes

    def __len__(self) -> int:
        return self.manifest.samples

    def __repr__(self) -> str:
        source = self.manifest.source
        return (
            f"<FeatureSet {source.dataset} {source.split}: {plural(len(self), 'sample')}, {plural(self.manifest.nnz, 'non-zero')}, "
            f"{self.address.short} in {self._storage.url}>"
        )

    @property
    def layout(self) -> Layout:
        """Axes, sites, classes and columns."""
        return self.manifest.layout

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label i means ``classes[i]``."""
        return self.layout.classes

    @property
    def digest(self) -> str:
        """Digest of the content (hex); equal for equal samples, independent of their build."""
        return self.manifest.digest

    @property
    def pin(self) -> Pin:
        """Keys and digest, as in refs, locks and checkpoints."""
        return Pin(**self.address._asdict(), digest=self.digest)

    @property
    def storage(self) -> Storage:
        """Storage of the set."""
        return self._storage

    @property
    def data_path(self) -> str:
        """Path of the Zarr group in the storage."""
        return self._build.data_path

    @cached_property
    def root(self) -> dict[str, Any]:
        """``data.zarr/zarr.json``, the metadata of all arrays, checked. Raises the errors of `CommittedBuild.root`."""
        return self._build.root()

    @cached_property
    def _rows(self) -> CheckedReader:
        from spikestore.store.columns.reader import column_reader
        from spikestore.store.trust.checked_reader import CheckedReader

        return CheckedReader(
            lambda: column_reader(self.manifest, self.root, self._build),
            self.address,
            self.manifest,
            self._storage.url,
            self._build.diagnose,
        )

    def read(self, start: int = 0, stop: int | None = None) -> SampleColumns:
        """Return rows `start` to `stop` (exclusive), by default all rows.

        Whole blocks of 64 rows are read and checked. Therefore, one call for many rows is much faster than a call for each row.

        Returns
        -------
        SampleColumns
            Columns with the dtypes on disk; shapes (non-zeros,) and (rows,).

        Raises
        ------
        UsageError
            The rows are not in the set.
        DamagedError
            A stored object differs from what was committed; the message names the object.
        MissingObjectError
            The set was removed, or replaced by another build, after it was opened.
        StoreError
            The rows cannot be read although no object is damaged, for example because memory is short.
        """
        from spikestore.store.columns.samples import concatenate
        from spikestore.store.trust.block_rows import RowRange

        # An unsigned integer of NumPy overflows in the arithmetic below, and a tensor is no index of a list.
        start, stop = operator.index(start), len(self) if stop is None else operator.index(stop)
        if not 0 <= start < stop <= len(self):
            raise UsageError(
                f"a set of {plural(len(self), 'sample')} has no rows {start}:{stop}: pass 0 <= start < stop <= {len(self)}"
            )
        size, parts = self.manifest.fragment_samples, []
        for fragment in range(start // size, (stop - 1) // size + 1):
            base = fragment * size
            first, last = max(start - base, 0), min(stop - base, size)
            block_start = first // BLOCK * BLOCK
            block_stop = min(-(-last // BLOCK) * BLOCK, self.manifest.fragments[fragment].samples)
            columns = self._rows.read(RowRange(fragment, block_start, block_stop))
            parts.append(columns.rows(first - block_start, last - block_start))
        return concatenate(parts)

    def read_narrow(
        self,
        start: int,
        stop: int,
        dtypes: tuple[np.dtype[Any], np.dtype[Any]],
        empty: Empty | None = None,
    ) -> NarrowRows:
        """Return rows `start` to `stop` (exclusive) with ``index`` and ``value`` in smaller dtypes.

        If the rows are whole blocks of 64 rows of one fragment, this method is faster than `read` followed by a conversion
        (``benchmarks.loading --rows read_narrow``).

        Parameters
        ----------
        start, stop : int
            The rows.
        dtypes : tuple of two dtypes
            Dtypes of ``index`` and ``value``; they must hold the manifest's ``max_index`` and ``max_value``.
        empty : callable, optional
            Called with a number of elements and a dtype; returns an uninitialised array for ``index`` or ``value``. By default
            `numpy.empty`.

        Raises
        ------
        UsageError
            The rows are not in the set, or a dtype is too small for its values.
        DamagedError, MissingObjectError, StoreError
            See `read`.
        """
        import numpy as np

        from spikestore.store.trust.block_rows import RowRange
        from spikestore.store.trust.narrow_rows import NarrowRows

        largest = (self.manifest.max_index, self.manifest.max_value)
        for dtype, number in zip(dtypes, largest, strict=True):
            if dtype.kind in "iu" and number > np.iinfo(dtype).max:
                raise UsageError(
                    f"{dtype.name} is too small for values up to {number:.16g}: pass a larger dtype"
                )
        fragment, first = divmod(start, self.manifest.fragment_samples)
        last = stop - start + first
        if (
            0 <= start < stop <= len(self)
            and first % BLOCK == 0
            and last <= self.manifest.fragments[fragment].samples
            and (last % BLOCK == 0 or stop == len(self))
        ):
            return self._rows.read_narrow(RowRange(fragment, first, last), dtypes, empty or np.empty)
        return NarrowRows.of(self.read(start, stop), dtypes)

    def fragments(self) -> Iterator[SampleColumns]:
        """Yield all rows, one checked fragment at a time; chunks are decoded on all cores. Raises the errors of `read`."""
        from spikestore.store.trust.block_rows import RowRange

        with ThreadPoolExecutor(available_cores(), thread_name_prefix="spikestore-decode") as pool:
            for fragment, row in enumerate(self.manifest.fragments):
                yield self._rows.read(RowRange(fragment, 0, row.samples), pool.map)

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a per-sample column of the whole set, shape (samples,).

        The names of optional columns are in ``manifest.extras``. Each object of the column is compared with the SHA-256 in
        its fragment's record, and the non-zeros are not read. But if only Zarr supports the codecs of the set, all rows
        are read and checked, with their non-zeros. The columns in ``manifest.source_columns`` are int32, float64 or
        texts (``<U…``); their value in a skipped row is 0 or an empty text.

        Raises
        ------
        UsageError
            The set has no such column; the message lists its columns.
        DamagedError, MissingObjectError, StoreError
            See `read`.
        """
        import numpy as np

        from spikestore.store.columns.reader import DirectReader

        known = ("nnz", "n_bins", "label", *self.manifest.extras)
        if name not in known:
            raise UsageError(f"{self!r} has no column {name!r}; its columns are {', '.join(known)}")
        refuse_giant_set(self.manifest)
        of_source = self.manifest.source_columns
        if name in of_source:
            values = array_of(of_source[name][: len(self)])
            values[self.manifest.skipped_rows(range(len(self)))] = values.dtype.type()  # 0 or ""
            return values
        reader = self._rows.reader
        if not isinstance(reader, DirectReader):
            return np.concatenate([dict(part.in_order(self.layout))[name] for part in self.fragments()])
        numbers = range(len(self.manifest.fragments))
        try:
            return np.concatenate([_column_of(self, number, name, reader) for number in numbers])
        except DamagedError as error:
            if (gone := self._build.removed()) is not None:
                raise gone from error
            raise

    def frames(self, row: int, *, max_frame_bytes: int | None = None) -> npt.NDArray[Any]:
        """Return the dense frames of one row: shape (n_bins, polarity, [y,] x), uint32 counts or float32 real numbers.

        Parameters
        ----------
        row : int
            Number of the row.
        max_frame_bytes : int, optional
            Limit of the frames in bytes; by default 4 GiB or half of this machine's memory, whichever is less.

        Raises
        ------
        UsageError
            The row is not in the set, or its frames exceed `max_frame_bytes`.
        DamagedError, MissingObjectError, StoreError
            See `read`.
        """
        import numpy as np

        row = operator.index(row)
        columns = self.read(row, row + 1)
        n_bins, dtype = int(columns.n_bins[0]), columns.value.dtype
        places = n_bins * self.layout.site_count
        refuse_giant_frames(row, n_bins, places * dtype.itemsize, frame_byte_limit(max_frame_bytes))
        dense = np.zeros(places, dtype)
        dense[columns.index] = columns.value
        return dense.reshape(n_bins, *self.layout.sites)

    def record(self, fragment: int) -> Record:
        """Return the record of a fragment, checked against the manifest; raise `DamagedError` if it is missing or contradicts the manifest."""
        return self._build.record(fragment)

    def record_bytes(self, fragment: int) -> bytes:
        """Return the bytes of a fragment's record. Raise `DamagedError` if the record is missing, or if its SHA-256 differs from the hash in the manifest."""
        return self._build.record_bytes(fragment)


def _column_of(features: FeatureSet, fragment: int, name: str, reader: DirectReader) -> npt.NDArray[Any]:
    """Return a per-sample column of a fragment; raise `DamagedError` if its object is missing or damaged."""
    from spikestore.store.trust.rows import refuse_untrue_column

    sha256 = {entry.path: entry.sha256 for entry in features.record(fragment).objects}
    path = f"{features.data_path}/{name}/c/{fragment}"
    try:
        data = features.storage.get(path)
    except MissingObjectError as error:
        raise features._build.missing(path) from error
    if sha256_hex(data) != sha256[f"{name}/c/{fragment}"]:
        raise DamagedError(f"{path} in {features.storage.url} is damaged", objects=(path,))
    values = reader.column(name, fragment, data)
    try:
        refuse_untrue_column(features.manifest, fragment, name, values)
    except DamagedError as error:
        raise DamagedError(f"{path} in {features.storage.url}: {error}", objects=(path,)) from error
    return values


def scanned(features: FeatureSet, rows: RowRange) -> ScannedRows | None:
    """Return an object that reads and checks these rows chunk by chunk; None if only Zarr can decode them. `rows` must be whole blocks of 64 rows.

    This function, `ScannedRows.pieces` and `ScannedRows.finish` raise the errors of `FeatureSet.read`. After an error, do not use any of
    the rows.
    """
    return features._rows.scanned(rows)
