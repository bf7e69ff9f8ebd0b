"""One object of one column as bytes, without Zarr's machinery: for the codecs that this version's plans name.

A plan may name any codecs, and Zarr reads and writes them all. Those of `zarr_metadata` are simple enough to do
directly, byte for byte the same (``tests/store/columns/test_shard_codec.py`` compares with Zarr):

- a column with one value a sample: PCodec, and the CRC32C of that behind it;
- ``check``: its bytes, and their CRC32C;
- ``index`` and ``value``, sharded: inner chunks, each as above, then offset and length of each (uint64; 2^64 - 1
  twice for a chunk that was not written), and the CRC32C of those
  (https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html).

Chunks are always full on disk: what lies behind the last value is filled up with the fill value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import google_crc32c
import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.zarr_metadata import (
    CRC32C,
    RAW_BYTES,
    documents,
    pcodec_codec,
    sharding_codec,
)
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, FILL

CRC_BYTES = 4
ENTRY_BYTES = 16
"""Of the index of a shard, for each inner chunk: offset and length."""

_ABSENT = 2**64 - 1


class Extent(NamedTuple):
    """Where an inner chunk lies in its shard; `length` 0 if it was not written."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PackedObject:
    """How the objects of one column are encoded.

    Attributes
    ----------
    dtype : numpy.dtype
        Of the values, little-endian.
    fill : int or float
        What fills up the last chunk.
    values : int
        Values of one object.
    chunk : int
        Values of an inner chunk; equal to `values` where there are none.
    delta_order : int, optional
        Of PCodec; None for plain bytes.
    sharded : bool
        Whether there are inner chunks, and an index behind them.
    """

    dtype: np.dtype[Any]
    fill: Any
    values: int
    chunk: int
    delta_order: int | None
    sharded: bool

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self | None:
        """Return how an array with this ``zarr.json`` is encoded, or None if only Zarr knows."""
        try:
            return cls._of(document)
        except (KeyError, TypeError, ValueError, IndexError):
            return None  # a form of Zarr's that plans of this version do not have

    @classmethod
    def _of(cls, document: dict[str, Any]) -> Self | None:
        (values,) = document["chunk_grid"]["configuration"]["chunk_shape"]
        kind = document["data_type"]
        codecs, chunk, sharded = document["codecs"], values, False
        if codecs[0]["name"] == "sharding_indexed":
            inner = codecs[0]["configuration"]
            (chunk,), sharded = inner["chunk_shape"], True
            if values % chunk or codecs != [sharding_codec(inner["codecs"], chunk)]:
                return None
            codecs = inner["codecs"]
        orders: dict[int | None, list[Any]] = {order: [pcodec_codec(order), CRC32C] for order in (0, 1)}
        orders[None] = [RAW_BYTES, CRC32C]
        if document["fill_value"] != FILL[kind]:
            return None
        fill = np.nan if FILL[kind] == "NaN" else FILL[kind]
        found = next((order for order, known in orders.items() if codecs == known), ...)
        if found is ...:
            return None
        return cls(np.dtype(kind).newbyteorder("<"), fill, values, chunk, found, sharded)

    def encode(self, values: npt.NDArray[Any]) -> bytes:
        """Return the object that holds `values`, shape (at most ``self.values``,) and at least one."""
        chunks = [
            self._encode_chunk(values[start : start + self.chunk])
            for start in range(0, len(values), self.chunk)
        ]
        if not self.sharded:
            return chunks[0]
        table = np.full((self.values // self.chunk, 2), _ABSENT, "<u8")
        lengths = np.array([len(chunk) for chunk in chunks], np.uint64)
        table[: len(chunks), 1] = lengths
        table[: len(chunks), 0] = np.cumsum(lengths) - lengths
        return b"".join([*chunks, _with_crc(table.tobytes())])

    def _encode_chunk(self, values: npt.NDArray[Any]) -> bytes:
        if len(values) < self.chunk:
            full = np.full(self.chunk, self.fill, self.dtype)
            full[: len(values)] = values
            values = full
        if self.delta_order is None:
            return _with_crc(values.tobytes())
        return _with_crc(_pcodec(self.delta_order).encode(values))

    @property
    def table_bytes(self) -> int:
        """Bytes of the index at the end of a shard."""
        return self.values // self.chunk * ENTRY_BYTES + CRC_BYTES

    def extents(self, table: bytes | memoryview, size: int) -> list[Extent]:
        """Parse the index of a shard.

        Parameters
        ----------
        table : bytes
            The last `table_bytes` of the object.
        size : int
            Bytes of the whole object.

        Raises
        ------
        DamagedError
            Its checksum is wrong, or it points outside of the object.
        """
        entries = np.frombuffer(_without_crc(table), "<u8").reshape(-1, 2)
        offset, length = entries[:, 0], entries[:, 1]
        written = offset != _ABSENT
        end = np.uint64(max(size - self.table_bytes, 0))
        inside = (offset <= end) & (length <= end) & (offset + length <= end)
        if len(entries) != self.values // self.chunk or not inside[written].all():
            raise DamagedError("the index of a shard points outside of it")
        return [
            Extent(int(o), int(n)) if there else Extent(0, 0)
            for o, n, there in zip(offset, length, written, strict=True)
        ]

    def decode_chunk(self, data: bytes | memoryview, out: npt.NDArray[Any]) -> None:
        """Decode the first values of a chunk into `out`, shape (at most ``self.chunk``,), dtype ``self.dtype``.

        Never takes more memory than one chunk, whatever the bytes claim.

        Raises
        ------
        DamagedError
            The checksum is wrong, or the chunk can't be decoded, or holds fewer values.
        """
        from pcodec import standalone

        body = _without_crc(data)
        if self.delta_order is None:
            if len(body) != self.chunk * self.dtype.itemsize:
                raise DamagedError("a chunk has another length than it should")
            out[:] = np.frombuffer(body, self.dtype, len(out))
            return
        try:
            progress = standalone.simple_decompress_into(bytes(body), out)
        except (RuntimeError, TypeError) as error:
            raise DamagedError(f"a chunk can't be decoded: {error}") from error
        if progress.n_processed != len(out):
            raise DamagedError(f"a chunk holds {progress.n_processed} values where {len(out)} were stored")


def packed_objects(build: Manifest | Plan, root: Mapping[str, Any]) -> dict[str, PackedObject] | None:
    """Return how each array of a build is encoded, or None if only Zarr knows.

    Parameters
    ----------
    build : Manifest or Plan
        What its columns are, and how they are cut.
    root : mapping
        Its ``data.zarr/zarr.json``.
    """
    arrays, packed = documents(dict(root)), {}
    for name in build.layout.array_names:
        encoding = PackedObject.of(arrays[f"{name}/zarr.json"])
        sharded = name in {"index", "value"}
        # An array that does not fit the set would be read at wrong places.
        values = build.shard_values if sharded else build.fragment_samples
        values = values // BLOCK if name == "check" else values
        if encoding is None or encoding.values != values or encoding.sharded is not sharded:
            return None
        packed[name] = encoding
    return packed


def _pcodec(delta_order: int) -> Any:
    from numcodecs.pcodec import PCodec

    return PCodec(**pcodec_codec(delta_order)["configuration"])


def _with_crc(data: bytes) -> bytes:
    return data + _crc(data)


def _without_crc(data: bytes | memoryview) -> memoryview:
    view = memoryview(data)
    body, crc = view[:-CRC_BYTES], view[-CRC_BYTES:]
    if len(view) < CRC_BYTES or _crc(body) != crc:
        raise DamagedError("the checksum of a chunk is wrong")
    return body


def _crc(data: bytes | memoryview) -> bytes:
    # The library takes bytes and arrays: an array is a view, bytes would be a copy.
    return int(google_crc32c.value(np.frombuffer(data, np.uint8))).to_bytes(CRC_BYTES, "little")
