"""Readers of a fragment's rows from its stored objects: `DirectReader` decodes them itself, `ZarrReader` uses Zarr.

`DirectReader` first reads the index of a shard, then only the chunks that contain the requested rows. It verifies only
the checksums of the chunks; `FeatureSet` verifies the rows, against the column ``check``. `ZarrReader` is used for codecs that
`shard_codec` does not support.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.limits import checked_offsets, refuse_giant_fragment
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.shard_codec import Extent, PackedObject, packed_objects
from spikestore.store.columns.zarr_reader import ZarrReader
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.errors import DamagedError, StoreError
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.canonical import canonical_json

if TYPE_CHECKING:
    from zarr.storage import StorePath

TABLE_BYTES = 64 * 2**20
"""Maximum size of the per-sample columns that a reader caches, in bytes. Those of the last used fragment are cached whatever their size."""

Rows = tuple[SampleColumns, npt.NDArray[np.uint64]]
"""Rows of a fragment, and the stored hashes of their blocks."""


Apply = Callable[..., Iterable[None]]
"""Calls a function with the items of several lists, as `map` does."""


@contextmanager
def read_errors(describe: Callable[[BaseException], StoreError]) -> Iterator[None]:
    """Raise ``describe(error)`` for every error of the ``with`` block, because decoding a damaged object may raise anything.

    The block should only read and decode: errors of any other code in it would be reported as damage, too.
    """
    try:
        yield
    except BaseException as error:
        # A panic in a Rust codec derives from BaseException only.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise describe(error) from error


def undecodable(fragment: int, error: BaseException) -> DamagedError:
    """Return the error for a fragment whose objects cannot be decoded."""
    return DamagedError(f"cannot decode fragment {fragment}: {error}")


class ObjectSource(Protocol):
    """Access to the objects of a build; paths are below ``data.zarr``, such as ``index/c/3``."""

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""

    def get_range(self, path: str, start: int, stop: int) -> bytes | memoryview:
        """Return bytes `start` to `stop` (exclusive) of an object."""

    def sizes(self, fragment: int) -> Mapping[str, int]:
        """Return a mapping from the path of each object of a fragment to its size in bytes; objects of unknown size are left out."""

    def zarr_store(self) -> StorePath:
        """Return ``data.zarr`` as a path in a read-only Zarr store."""


class ColumnReader(Protocol):
    """Reads rows of one build; any number of threads may share a reader."""

    def read(self, fragment: int, start: int, stop: int, decode: Apply = map) -> Rows:
        """Return rows `start` to `stop` - 1 of `fragment`, counted from its first row. `start` must be a multiple of 64 (`BLOCK`).

        `decode` applies a function to chunks; with ``ThreadPoolExecutor.map``, several chunks are decoded in parallel.

        Raises
        ------
        DamagedError
            An object is damaged, the stored arrays ``start`` and ``nnz`` contradict each other, or ``nnz`` contradicts the manifest.
            If Zarr decodes, damage may raise any other error: use `read_errors`.
        """


def column_reader(build: Manifest | Plan, root: Mapping[str, Any], objects: ObjectSource) -> ColumnReader:
    """Return the reader of a build.

    Parameters
    ----------
    build : Manifest or Plan
        Columns and sizes of the build. With a manifest, the reader also checks the number of non-zeros of each fragment.
    root : mapping
        The build's ``data.zarr/zarr.json``, checked (`checked_root`).
    objects : ObjectSource
        Access to the build's objects.
    """
    packed = packed_objects(build, root)
    if packed is not None:
        return DirectReader(build, packed, objects)
    return ZarrReader(build, canonical_json(dict(root)), objects.zarr_store())


@dataclass(frozen=True, eq=False)
class FragmentTable:
    """Per-sample columns of a fragment, and the byte ranges of its chunks.

    Attributes
    ----------
    columns : dict of str to array
        All columns with one value per sample, shape (samples,).
    check : uint64 array, shape (blocks,)
        Stored hash of each block of rows.
    offsets : int64 array, shape (samples + 1,)
        Position at which each sample's non-zeros start, then the position after the last non-zero; both are counted from the
        fragment's first non-zero.
    extents : dict of str to list of Extent
        Byte ranges of the chunks of ``index`` and ``value``; empty if the fragment has no non-zeros.
    """

    columns: dict[str, npt.NDArray[Any]]
    check: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    extents: dict[str, list[Extent]]

    @property
    def nbytes(self) -> int:
        """Approximate bytes in memory."""
        arrays = [*self.columns.values(), self.check, self.offsets]
        return sum(array.nbytes for array in arrays) + 128 * sum(map(len, self.extents.values()))


class DirectReader:
    """Reads rows without Zarr.

    Parameters
    ----------
    build : Manifest or Plan
        See `column_reader`.
    packed : dict of str to PackedObject
        Encoding of each column.
    objects : ObjectSource
        Access to the objects.
    """

    def __init__(
        self, build: Manifest | Plan, packed: dict[str, PackedObject], objects: ObjectSource
    ) -> None:
        self._build = build
        self._packed = packed
        self._objects = objects
        self._tables: OrderedDict[int, FragmentTable] = OrderedDict()
        self._lock = threading.Lock()
        self._buffers = threading.local()

    def read(self, fragment: int, start: int, stop: int, decode: Apply = map) -> Rows:
        """Return rows `start` to `stop` - 1 of `fragment`; see `ColumnReader`."""
        table = self.table(fragment)
        first, last = int(table.offsets[start]), int(table.offsets[stop])
        values = {
            name: self._values(fragment, table, name, (first, last), decode) for name in ("index", "value")
        }
        # Copies: a caller who changes them must not change what others read.
        rows = {name: column[start:stop].copy() for name, column in table.columns.items()}
        extras = {name: rows.pop(name) for name in self._build.layout.extras}
        return SampleColumns(**values, **rows, extras=extras), table.check[start // BLOCK : -(-stop // BLOCK)]

    def column(self, name: str, fragment: int, data: bytes) -> npt.NDArray[Any]:
        """Return a per-sample column from the bytes of its object: shape (samples of the fragment,)."""
        values = np.empty(len(self._build.rows(fragment)), self._packed[name].dtype)
        self._packed[name].decode_chunk(data, values)
        return values

    def table(self, fragment: int) -> FragmentTable:
        """Return the per-sample columns of a fragment. Later calls may return the same arrays, so callers must not change them."""
        with self._lock:
            table = self._tables.get(fragment)
            if table is not None:
                self._tables.move_to_end(fragment)
                return table
        table = self._read_table(fragment)
        with self._lock:
            self._tables[fragment] = table
            while len(self._tables) > 1 and sum(kept.nbytes for kept in self._tables.values()) > TABLE_BYTES:
                self._tables.popitem(last=False)
        return table

    def _read_table(self, fragment: int) -> FragmentTable:
        samples = len(self._build.rows(fragment))
        counts = dict.fromkeys(self._packed, samples) | {"check": -(-samples // BLOCK)}
        columns = {}
        for name, packed in self._packed.items():
            if not packed.sharded:
                columns[name] = np.empty(counts[name], packed.dtype)
                packed.decode_chunk(self._objects.get(f"{name}/c/{fragment}"), columns[name])
        offsets = checked_offsets(self._build, fragment, columns["nnz"], columns.pop("start"))
        extents: dict[str, list[Extent]] = {"index": [], "value": []}
        sizes = self._objects.sizes(fragment) if offsets[-1] else {}
        for name in extents if offsets[-1] else ():
            packed, path = self._packed[name], f"{name}/c/{fragment}"
            size = sizes[path] if path in sizes else len(self._objects.get(path))
            tail = self._objects.get_range(path, max(size - packed.table_bytes, 0), size)
            extents[name] = packed.extents(tail, size)
        return FragmentTable(columns, columns.pop("check"), offsets, extents)

    def _values(
        self, fragment: int, table: FragmentTable, name: str, span: tuple[int, int], decode: Apply
    ) -> npt.NDArray[Any]:
        """Return the values ``span[0]`` to ``span[1]`` (exclusive) of ``index`` or ``value`` (`name`) in a fragment."""
        (first, last), packed = span, self._packed[name]
        out = np.empty(last - first, packed.dtype)
        if first == last:
            return out
        chunks, data = self._stored_chunks(fragment, table, name, span)

        def decode_into_place(chunk: int, part: memoryview) -> None:
            begins = chunk * packed.chunk
            if begins >= first:
                packed.decode_chunk(part, out[begins - first : min(begins + packed.chunk, last) - first])
                return
            # The rows begin within this chunk, but a chunk can only be decoded from its start.
            end = min(packed.chunk, last - begins)
            head = np.empty(end, packed.dtype)
            packed.decode_chunk(part, head)
            out[: end - (first - begins)] = head[first - begins :]

        for _ in decode(decode_into_place, chunks, data):
            pass  # raises the errors of the chunks
        return out

    def pieces(
        self, fragment: int, name: str, start: int, stop: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield the ``index`` or ``value`` of rows `start` to `stop` - 1 in pieces, one for each chunk.

        Yields
        ------
        tuple of int and array
            Position of the piece, counted from the first value of row `start`; and the piece. Each thread has one buffer
            for all pieces, which stays in the processor's cache. So a piece is valid until its thread reads the next piece.
        """
        table = self.table(fragment)
        first, last = int(table.offsets[start]), int(table.offsets[stop])
        if first == last:
            return
        packed = self._packed[name]
        buffer = self._piece_buffer(packed)
        chunks, data = self._stored_chunks(fragment, table, name, (first, last))
        for chunk, part in zip(chunks, data, strict=True):
            begins = chunk * packed.chunk
            decoded = buffer[: min(packed.chunk, last - begins)]
            packed.decode_chunk(part, decoded)
            yield max(begins - first, 0), decoded[max(first - begins, 0) :]

    def _piece_buffer(self, packed: PackedObject) -> npt.NDArray[Any]:
        buffers = self._buffers.__dict__  # of this thread
        key = f"{packed.dtype.num} {packed.chunk}"  # the number, because NumPy takes long to name a dtype
        if key not in buffers:
            buffers[key] = np.empty(packed.chunk, packed.dtype)
        made: npt.NDArray[Any] = buffers[key]
        return made

    def _stored_chunks(
        self, fragment: int, table: FragmentTable, name: str, span: tuple[int, int]
    ) -> tuple[range, list[memoryview]]:
        """Return the numbers and the bytes of the chunks of array `name` that hold values ``span[0]`` to ``span[1]`` - 1 of a fragment."""
        (first, last), packed = span, self._packed[name]
        chunks = range(first // packed.chunk, (last - 1) // packed.chunk + 1)
        extents = [table.extents[name][chunk] for chunk in chunks]
        if not all(extent.length for extent in extents):
            raise DamagedError(f"a chunk of {name} is missing")
        return chunks, self._chunks(f"{name}/c/{fragment}", extents)

    def _chunks(self, path: str, extents: list[Extent]) -> list[memoryview]:
        """Return the bytes of the object `path` at each of the `extents`; if they are close together, all are read in one request."""
        start = min(extent.offset for extent in extents)
        stop = max(extent.offset + extent.length for extent in extents)
        if stop - start > 2 * sum(extent.length for extent in extents):
            return [
                memoryview(self._objects.get_range(path, extent.offset, extent.offset + extent.length))
                for extent in extents
            ]
        data = memoryview(self._objects.get_range(path, start, stop))
        return [data[extent.offset - start : extent.offset - start + extent.length] for extent in extents]


class FragmentDecoder:
    """Decodes whole fragments of one build from objects in memory; any number of threads may share a decoder.

    Parameters
    ----------
    build : Manifest or Plan
        See `column_reader`.
    root : mapping
        The build's ``data.zarr/zarr.json``, which the caller has checked.
    """

    def __init__(self, build: Manifest | Plan, root: Mapping[str, Any]) -> None:
        self._build = build
        self._root = root

    def read(self, fragment: int, objects: Mapping[str, bytes]) -> Rows:
        """Return all rows of a fragment.

        Parameters
        ----------
        fragment : int
            Number of the fragment.
        objects : mapping of str to bytes
            Objects of the fragment by path below ``data.zarr``.

        Raises
        ------
        DamagedError
            The objects cannot be decoded.
        """
        with read_errors(partial(undecodable, fragment)):
            return self.reader(fragment, objects).read(fragment, 0, len(self._build.rows(fragment)))

    def are_equal(self, fragment: int, objects: Mapping[str, bytes], others: Mapping[str, bytes]) -> bool:
        """Return whether two encodings of a fragment have the same rows and the same ``check`` hashes; for arguments and errors see `read`."""
        (rows, check), (other_rows, other_check) = (self.read(fragment, each) for each in (objects, others))
        layout = self._build.layout
        pairs = zip(rows.in_order(layout), other_rows.in_order(layout), strict=True)
        return np.array_equal(check, other_check) and all(
            np.array_equal(column, other) for (_, column), (_, other) in pairs
        )

    def reader(self, fragment: int, objects: Mapping[str, bytes]) -> ColumnReader:
        """Return a reader of a fragment; for the arguments see `read`. The call and each use of the reader must be in a ``with read_errors(…)`` block."""
        if isinstance(self._build, Manifest):
            refuse_giant_fragment(self._build, fragment)
        return column_reader(self._build, self._root, _Memory(objects))


class _Memory:
    """Objects in memory, as an `ObjectSource`."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects

    def get(self, path: str) -> bytes:
        try:
            return self._objects[path]
        except KeyError:
            raise DamagedError(f"{path} is missing") from None

    def get_range(self, path: str, start: int, stop: int) -> memoryview:
        return memoryview(self.get(path))[start:stop]

    def sizes(self, fragment: int) -> Mapping[str, int]:
        return {path: len(data) for path, data in self._objects.items()}

    def zarr_store(self) -> StorePath:
        from zarr.core.buffer.cpu import Buffer
        from zarr.storage import MemoryStore, StorePath

        memory: dict[str, Any] = {path: Buffer.from_bytes(data) for path, data in self._objects.items()}
        return StorePath(MemoryStore(store_dict=memory, read_only=True))
