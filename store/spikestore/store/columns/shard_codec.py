"""Encoding of one column's objects without Zarr, for the codecs in this version's plans.

A plan may name any codecs. This module has the codecs of `zarr_metadata`; for all other codecs, Zarr reads and writes. Except
for the last inner chunk, the bytes are equal to the bytes that Zarr writes (``tests/store/columns/test_shard_codec.py``
compares both):

- a column with one value per sample: the values encoded by PCodec, followed by the CRC32C of these bytes;
- ``check``: the hashes as bytes, followed by the CRC32C of these bytes;
- the columns ``index`` and ``value``, sharded: inner chunks, each encoded by PCodec and followed by the CRC32C of its bytes. Then comes
  a table ("shard index" in Zarr), followed by its CRC32C. The table has the offset and the length of each chunk (uint64; both are
  2^64 - 1 for a chunk that was not written; https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html).

Chunks are always full on disk: fill values follow the last value. In the last inner chunk of a shard, PCodec encodes the values and
the fill values as two separate parts, each with its own statistics. Zarr would encode both as one part, and a small fragment would
take up to three times the bytes (docs/decisions/0060).

Earlier versions made plans whose inner chunks have 262,144 values, and wrote one part. For such a plan, this module writes one part
too: the record of a fragment contains the hash of each object, so `spikestore repair` must write the same bytes as these versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

import google_crc32c
import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.zarr_metadata import (
    CRC32C,
    FORMER_CHUNK_VALUES,
    PCODEC_LEVEL,
    PCODEC_PART_VALUES,
    RAW_BYTES,
    documents,
    pcodec_codec,
    sharding_codec,
)
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, FILL
from spikestore.store_schemas.wording import plural

CRC_BYTES = 4
ENTRY_BYTES = 16
"""Bytes per inner chunk in the index of a shard: offset and length."""

_ABSENT = 2**64 - 1

_SMALL, _ENOUGH = 200, 10_000
"""If a chunk of unsigned integers has at least `_ENOUGH` values, none above `_SMALL`, PCodec's ``auto`` would choose ``classic``; see `_is_classic`."""


class Extent(NamedTuple):
    """Byte range of an inner chunk in its shard; `length` is 0 if the chunk was not written."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PackedObject:
    """Encoding of the objects of one column.

    Attributes
    ----------
    dtype : numpy.dtype
        Dtype of the values, little-endian.
    fill : int or float
        Value that fills up a chunk with too few values.
    values : int
        Values per object.
    chunk : int
        Values per inner chunk; equal to `values` if the object is not sharded.
    delta_order : int, optional
        Order of PCodec's deltas; None if the values are stored as plain bytes.
    sharded : bool
        Whether the object has inner chunks and an index after them.
    """

    dtype: np.dtype[Any]
    fill: Any
    values: int
    chunk: int
    delta_order: int | None
    sharded: bool

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self | None:
        """Return the encoding of an array with this ``zarr.json``, or None if only Zarr supports it."""
        try:
            return cls._of(document)
        except (KeyError, TypeError, ValueError, IndexError):
            return None  # metadata that this version does not write

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
        delta_order = next((order for order, known in orders.items() if codecs == known), ...)
        if delta_order is ...:
            return None
        return cls(np.dtype(kind).newbyteorder("<"), fill, values, chunk, delta_order, sharded)

    def encode(self, values: npt.NDArray[Any]) -> bytes:
        """Return the encoded bytes of an object with 1 to ``self.values`` values."""
        if not self.sharded:
            return self.encode_chunk(values)
        encoder = ShardEncoder(self)
        encoder.add(values)
        return encoder.finish()

    def encode_chunk(self, values: npt.NDArray[Any], largest: float = math.inf) -> bytes:
        """Return the encoded bytes of an inner chunk. `values` must have 1 to ``self.chunk`` values, all at most `largest`."""
        written = len(values)
        if written < self.chunk:
            full = np.full(self.chunk, self.fill, self.dtype)
            full[:written] = values
            values, largest = full, math.inf
        if self.delta_order is None:
            return _with_crc(values.tobytes())
        in_parts = self.sharded and written < self.chunk < FORMER_CHUNK_VALUES
        return _with_crc(_pcodec(values, self.delta_order, largest, written if in_parts else None))

    @property
    def table_bytes(self) -> int:
        """Size of the index at the end of a shard, in bytes."""
        return self.values // self.chunk * ENTRY_BYTES + CRC_BYTES

    def extents(self, table: bytes | memoryview, size: int) -> list[Extent]:
        """Return the byte range of each inner chunk of a shard.

        Parameters
        ----------
        table : bytes
            The index of the shard, which lists the ranges: the last ``self.table_bytes`` bytes of the object.
        size : int
            Size of the whole object, in bytes.

        Raises
        ------
        DamagedError
            The checksum is wrong, or a range lies outside the object.
        """
        entries = np.frombuffer(_without_crc(table), "<u8").reshape(-1, 2)
        offset, length = entries[:, 0], entries[:, 1]
        written = offset != _ABSENT
        end = np.uint64(max(size - self.table_bytes, 0))
        inside = (offset <= end) & (length <= end) & (offset + length <= end)
        if len(entries) != self.values // self.chunk or not inside[written].all():
            raise DamagedError("the index of a shard points outside the shard")
        return [
            Extent(int(o), int(n)) if is_written else Extent(0, 0)
            for o, n, is_written in zip(offset, length, written, strict=True)
        ]

    def decode_chunk(self, data: bytes | memoryview, out: npt.NDArray[Any]) -> None:
        """Fill `out` with the first values of a chunk. `out` has the dtype ``self.dtype`` and at most ``self.chunk`` elements.

        Damaged bytes may claim to have more values; this method never uses more memory than one chunk needs.

        Raises
        ------
        DamagedError
            The checksum is wrong, or the chunk cannot be decoded or has too few values.
        """
        body = _without_crc(data)
        if self.delta_order is None:
            if len(body) != self.chunk * self.dtype.itemsize:
                raise DamagedError(
                    f"a chunk has {len(body)} bytes, expected {self.chunk * self.dtype.itemsize}"
                )
            out[:] = np.frombuffer(body, self.dtype, len(out))
            return
        try:
            progress = _pcodec_library().simple_decompress_into(bytes(body), out)
        except (RuntimeError, TypeError) as error:
            raise DamagedError(f"cannot decode a chunk: {error}") from error
        if progress.n_processed != len(out):
            raise DamagedError(f"a chunk has {plural(progress.n_processed, 'value')}, expected {len(out):,}")


class ShardEncoder:
    """Encodes, chunk by chunk, a sharded object whose values arrive in pieces; the bytes are those of `PackedObject.encode`.

    Parameters
    ----------
    packed : PackedObject
        Encoding of the column; it must be sharded.
    """

    def __init__(self, packed: PackedObject) -> None:
        self._packed = packed
        self._chunks: list[bytes] = []
        self._begun = np.empty(packed.chunk, packed.dtype)
        self._count = 0  # values in `_begun`

    def add(self, values: npt.NDArray[Any], largest: float = math.inf) -> None:
        """Add values, shape (n,), with the stored dtype; they are encoded or copied during the call.

        Neither these values nor those of earlier calls may be above `largest`. With a small `largest`, encoding is faster.
        """
        size, begin = self._packed.chunk, 0
        while begin < len(values):
            if not self._count and begin + size <= len(values):
                self._chunks.append(self._packed.encode_chunk(values[begin : begin + size], largest))
                begin += size
                continue
            part = values[begin : begin + size - self._count]
            self._begun[self._count : self._count + len(part)] = part
            self._count += len(part)
            begin += len(part)
            if self._count == size:
                self._encode_begun(largest)

    def finish(self) -> bytes:
        """Return the bytes of the object; at least one value must have been added."""
        if self._count:
            self._encode_begun()
        table = np.full((self._packed.values // self._packed.chunk, 2), _ABSENT, "<u8")
        lengths = np.array([len(chunk) for chunk in self._chunks], np.uint64)
        table[: len(lengths), 1] = lengths
        table[: len(lengths), 0] = np.cumsum(lengths) - lengths
        chunks, self._chunks = [*self._chunks, _with_crc(table.tobytes())], []  # to keep the bytes only once
        return b"".join(chunks)

    def _encode_begun(self, largest: float = math.inf) -> None:
        self._chunks.append(self._packed.encode_chunk(self._begun[: self._count], largest))
        self._count = 0


def packed_objects(build: Manifest | Plan, root: Mapping[str, Any]) -> dict[str, PackedObject] | None:
    """Return the encoding of each array of a build; None if at least one array has an encoding that only Zarr supports.

    Parameters
    ----------
    build : Manifest or Plan
        Columns and sizes of the build.
    root : mapping
        The build's ``data.zarr/zarr.json``.
    """
    arrays, packed = documents(dict(root)), {}
    for name in build.layout.array_names:
        encoding = PackedObject.of(arrays[f"{name}/zarr.json"])
        sharded = name in {"index", "value"}
        # An array of other sizes would be read at wrong offsets.
        values = build.shard_values if sharded else build.fragment_samples
        values = values // BLOCK if name == "check" else values
        if encoding is None or encoding.values != values or encoding.sharded is not sharded:
            return None
        packed[name] = encoding
    return packed


@cache
def _pcodec_library() -> Any:
    """Return the module that decodes; imported at the first use, because a run with nothing to do needs no codec."""
    from pcodec import standalone  # an import statement per chunk would hold the GIL

    return standalone


def _pcodec(
    values: npt.NDArray[Any], delta_order: int, largest: float, first_part: int | None = None
) -> bytes:
    """Return the values, none of which is above `largest`, as one pco file.

    If `first_part` is given, the file has two parts, and the first part has this number of values. Otherwise all parts
    have about the same size, as in files that Zarr writes.
    """
    from pcodec import ChunkConfig, DeltaSpec, ModeSpec, PagingSpec, standalone

    parts = PagingSpec.equal_pages_up_to(PCODEC_PART_VALUES)
    if first_part is not None:
        parts = PagingSpec.exact_page_sizes([first_part, len(values) - first_part])
    config = ChunkConfig(
        compression_level=PCODEC_LEVEL,
        mode_spec=ModeSpec.classic() if _is_classic(values, largest) else ModeSpec.auto(),
        delta_spec=DeltaSpec.try_consecutive(delta_order),
        paging_spec=parts,
    )
    return bytes(standalone.simple_compress(np.ascontiguousarray(values), config))


def _is_classic(values: npt.NDArray[Any], largest: float) -> bool:
    """Return True only if PCodec's mode ``auto`` would certainly choose ``classic``. Encoding with ``classic`` takes a tenth less time than with ``auto``.

    For integers, ``auto`` draws a sample: n of the values, about one in 40. For a base, ``auto`` estimates how many bits a value
    saves if the value is written as quotient · base + rest. ``auto`` ignores quotients that occur more than n/256 times in the
    sample. There are at most max/base + 1 quotients. Each value saves at most log2(base) bits; log2(base) is at most
    0.53 · base, and below 8 for values up to 200. So for values up to 200 and n of 256 or more, the estimate is below
    (0.53 · 200 + 8) / 256 = 0.45 bits for every base, and ``auto`` requires 0.5 (``int_mult.rs`` of pco 1.0).
    """
    return largest <= _SMALL and len(values) >= _ENOUGH and values.dtype.kind == "u"


def _with_crc(data: bytes) -> bytes:
    return data + _crc(data)


def _without_crc(data: bytes | memoryview) -> memoryview:
    view = memoryview(data)
    body, crc = view[:-CRC_BYTES], view[-CRC_BYTES:]
    if len(view) < CRC_BYTES or _crc(body) != crc:
        raise DamagedError("the checksum of a chunk, or of the index of a shard, is wrong")
    return body


def _crc(data: bytes | memoryview) -> bytes:
    # The library accepts bytes and arrays; an array is a view, bytes would be a copy.
    return int(google_crc32c.value(np.frombuffer(data, np.uint8))).to_bytes(CRC_BYTES, "little")
