"""Runs of rows by ranged reads: the index of a shard once, then only the chunks that hold the run.

Zarr reads the same bytes, through more layers; what comes out is compared with ``check`` either way
(`FeatureSet.read_with`). Plans with other codecs than `packed_objects` knows are read by Zarr.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.shard_codec import Extent, PackedObject
from spikestore.store.feature_set import FeatureSet
from spikestore.store_schemas.documents.checked_root import checked_root
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import DamagedError, MissingObjectError
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.canonical import sha256_hex

TABLE_BYTES = 64 * 2**20
"""Bytes of per-sample columns that a reader keeps, of the fragments used last."""


@dataclass(frozen=True, eq=False)
class FragmentTable:
    """What is known of a fragment before its non-zeros are read.

    Attributes
    ----------
    columns : dict of str to array
        All columns with one value a sample, shape (samples,).
    check : uint64 array, shape (blocks,)
        Stored hashes.
    offsets : int64 array, shape (samples + 1,)
        Where each sample's non-zeros start, counted from the fragment's first.
    extents : dict of str to list of Extent
        The chunks of ``index`` and ``value``; empty where the fragment has no non-zeros.
    """

    columns: dict[str, npt.NDArray[Any]]
    check: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    extents: dict[str, list[Extent]]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        arrays = [*self.columns.values(), self.check, self.offsets]
        return sum(array.nbytes for array in arrays) + 128 * sum(map(len, self.extents.values()))


class ChunkReader:
    """Reads runs of rows of one feature set; any number of threads may share one.

    Parameters
    ----------
    features : FeatureSet
        The set.
    packed : dict of str to PackedObject
        How each column is encoded.
    """

    def __init__(self, features: FeatureSet, packed: dict[str, PackedObject]) -> None:
        self._features = features
        self._storage = features.storage
        self._packed = packed
        self._tables: OrderedDict[int, FragmentTable] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, features: FeatureSet) -> ChunkReader | None:
        """Return a reader, or None for a set whose codecs only Zarr knows.

        Raises
        ------
        DamagedError
            The metadata are missing or are not what the manifest says.
        """
        packed = _encodings(features)
        return None if packed is None else cls(features, packed)

    def read(self, fragment: int, start: int, stop: int) -> tuple[SampleColumns, npt.NDArray[np.uint64]]:
        """Read rows `start` to `stop` of `fragment`, counted from its first row; `start` begins a block.

        Raises
        ------
        DamagedError
            A chunk or the index of a shard is damaged, or ``start`` contradicts ``nnz``.
        """
        table = self.table(fragment)
        first, last = int(table.offsets[start]), int(table.offsets[stop])
        values = {name: self._values(fragment, table, name, first, last) for name in ("index", "value")}
        columns = SampleColumns(
            **values,
            **{name: table.columns[name][start:stop] for name in ("nnz", "n_bins", "label")},
            extras={name: table.columns[name][start:stop] for name in self._features.layout.extras},
        )
        return columns, table.check[start // BLOCK : -(-stop // BLOCK)]

    def table(self, fragment: int) -> FragmentTable:
        """Return what is known of a fragment before its non-zeros are read; unchecked but for checksums."""
        with self._lock:
            found = self._tables.get(fragment)
            if found is not None:
                self._tables.move_to_end(fragment)
                return found
        found = self._read_table(fragment)
        with self._lock:
            self._tables[fragment] = found
            while len(self._tables) > 1 and sum(one.nbytes for one in self._tables.values()) > TABLE_BYTES:
                self._tables.popitem(last=False)
        return found

    def _read_table(self, fragment: int) -> FragmentTable:
        features, manifest = self._features, self._features.manifest
        row = manifest.fragments[fragment]
        sizes = {entry.path: entry.size for entry in features.record(fragment).objects}
        names = [name for name in self._packed if name not in {"index", "value"}]
        counts = dict.fromkeys(names, row.samples) | {"check": -(-row.samples // BLOCK)}
        columns = {}
        for name in names:
            packed = self._packed[name]
            columns[name] = np.empty(counts[name], packed.dtype)
            packed.decode_chunk(self._storage.get(self._path(name, fragment)), columns[name])
        offsets = np.zeros(row.samples + 1, np.int64)
        np.cumsum(columns["nnz"], out=offsets[1:])
        expected = (fragment * manifest.shard_values + offsets[:-1]).astype(np.uint64)
        if offsets[-1] != row.nnz or not np.array_equal(columns.pop("start"), expected):
            raise DamagedError(f"the columns start and nnz of fragment {fragment} contradict each other")
        extents: dict[str, list[Extent]] = {"index": [], "value": []}
        for name in extents if row.nnz else ():
            packed, path = self._packed[name], self._path(name, fragment)
            size = sizes.get(f"{name}/c/{fragment}", 0)
            tail = self._storage.get_range(path, max(size - packed.table_bytes, 0), size)
            extents[name] = packed.extents(tail, size)
        return FragmentTable(columns, columns.pop("check"), offsets, extents)

    def _values(
        self, fragment: int, table: FragmentTable, name: str, first: int, last: int
    ) -> npt.NDArray[Any]:
        """Read values `first` to `last` of a fragment's shard."""
        packed = self._packed[name]
        out = np.empty(last - first, packed.dtype)
        if first == last:
            return out
        chunks = range(first // packed.chunk, (last - 1) // packed.chunk + 1)
        extents = [table.extents[name][chunk] for chunk in chunks]
        if not all(extent.length for extent in extents):
            raise DamagedError(f"a chunk of {name} is missing")
        data = self._chunks(self._path(name, fragment), extents)
        for chunk, part in zip(chunks, data, strict=True):
            begins = chunk * packed.chunk
            if begins >= first:
                packed.decode_chunk(part, out[begins - first : min(begins + packed.chunk, last) - first])
                continue
            # The run begins within this chunk, and a chunk can be decoded from its start only.
            end = min(packed.chunk, last - begins)
            head = np.empty(end, packed.dtype)
            packed.decode_chunk(part, head)
            out[: end - (first - begins)] = head[first - begins :]
        return out

    def _chunks(self, path: str, extents: list[Extent]) -> list[memoryview]:
        """Read chunks of one object: by one read, if they lie side by side."""
        start = min(extent.offset for extent in extents)
        stop = max(extent.offset + extent.length for extent in extents)
        if stop - start > 2 * sum(extent.length for extent in extents):
            return [
                memoryview(self._storage.get_range(path, one.offset, one.offset + one.length))
                for one in extents
            ]
        data = memoryview(self._storage.get_range(path, start, stop))
        return [data[one.offset - start : one.offset - start + one.length] for one in extents]

    def _path(self, name: str, fragment: int) -> str:
        return f"{self._features.data_path}/{name}/c/{fragment}"


def sample_columns(features: FeatureSet, name: str) -> npt.NDArray[Any]:
    """Return a column with one value a sample, of the whole set, without reading the non-zeros.

    Each object is compared with the SHA-256 in its fragment's record.

    Raises
    ------
    DamagedError
        What is stored is not what was committed; the message names the object.
    """
    packed = _encodings(features)
    if packed is None:
        runs = (dict(run.in_order(features.layout)) for run in features.fragments())
        return np.concatenate([run[name] for run in runs])
    found = []
    for fragment, row in enumerate(features.manifest.fragments):
        (sha256,) = (
            entry.sha256
            for entry in features.record(fragment).objects
            if entry.path == f"{name}/c/{fragment}"
        )
        path = f"{features.data_path}/{name}/c/{fragment}"
        try:
            data = features.storage.get(path)
        except MissingObjectError as error:
            raise DamagedError(f"{path} is missing from {features.storage.url}", objects=(path,)) from error
        if sha256_hex(data) != sha256:
            raise DamagedError(f"{path} in {features.storage.url} is damaged", objects=(path,))
        values = np.empty(row.samples, packed[name].dtype)
        packed[name].decode_chunk(data, values)
        found.append(values)
    return np.concatenate(found)


def _encodings(features: FeatureSet) -> dict[str, PackedObject] | None:
    """Return how each column is encoded, or None if only Zarr knows."""
    path = f"{features.data_path}/zarr.json"
    try:
        data = features.storage.get(path)
    except MissingObjectError as error:
        raise DamagedError(f"{path} is missing from {features.storage.url}", objects=(path,)) from error
    if sha256_hex(data) != features.manifest.zarr:
        raise DamagedError(f"{path} is damaged: its SHA-256 is not what the manifest says", objects=(path,))
    arrays, packed = documents(checked_root(features.address, features.manifest, data)), {}
    for name in (*(name for name, _ in features.layout.columns), "start", "check"):
        one = PackedObject.of(arrays[f"{name}/zarr.json"])
        sharded = name in {"index", "value"}
        # An array that does not fit the set would be read at wrong places.
        values = features.manifest.shard_values if sharded else features.manifest.fragment_samples
        values = values // BLOCK if name == "check" else values
        if one is None or one.values != values or one.sharded is not sharded:
            return None
        packed[name] = one
    return packed
