"""Zarr reads objects that are encoded without it, nearly all of which equal its own; damaged ones never decode unnoticed."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from spikestore.store.columns.shard_codec import PackedObject, ShardEncoder
from spikestore.store_schemas.documents.zarr_metadata import (
    CHUNK_VALUES,
    CRC32C,
    FORMER_CHUNK_VALUES,
    RAW_BYTES,
    pcodec_codec,
    sharding_codec,
)
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.specs.canonical import canonical_json

FILL = 2**32 - 1


def array(
    values: int, codecs: list[Any], *, dtype: str = "uint32", fill: Any = FILL, objects: int = 2
) -> dict[str, Any]:
    """Return the ``zarr.json`` of an array with this number of values in an object."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [objects * values],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [values]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {},
        "dimension_names": ["nonzero"],
        "storage_transformers": [],
    }


SHARDED = array(8 * 64, [sharding_codec([pcodec_codec(1), CRC32C], 64)])
PLAIN = array(128, [pcodec_codec(0), CRC32C])
RAW = array(128, [RAW_BYTES, CRC32C], dtype="uint64", fill=2**53 - 1)
FLOATS = array(4 * 64, [sharding_codec([pcodec_codec(0), CRC32C], 64)], dtype="float32", fill="NaN")
FORMS = pytest.mark.parametrize(
    "document", [SHARDED, PLAIN, RAW, FLOATS], ids=["shard", "plain", "raw", "float"]
)


def packed(document: dict[str, Any]) -> PackedObject:
    found = PackedObject.of(document)
    assert found is not None
    return found


def by_zarr(document: dict[str, Any], values: np.ndarray[Any, Any]) -> bytes:
    """Return the bytes that Zarr stores as the second object."""
    memory: dict[str, Any] = {"zarr.json": Buffer.from_bytes(canonical_json(document))}
    opened: Any = zarr.open_array(MemoryStore(store_dict=memory), mode="r+", zarr_format=3)
    (start,) = document["chunk_grid"]["configuration"]["chunk_shape"]
    opened[start : start + len(values)] = values
    return bytes(memory["c/1"].to_bytes())


def read_by_zarr(document: dict[str, Any], encoded: bytes) -> np.ndarray[Any, Any]:
    """Return the values that Zarr reads from the second object."""
    memory: dict[str, Any] = {"zarr.json": Buffer.from_bytes(canonical_json(document))}
    memory["c/1"] = Buffer.from_bytes(encoded)
    opened: Any = zarr.open_array(MemoryStore(store_dict=memory), mode="r", zarr_format=3)
    (start,) = document["chunk_grid"]["configuration"]["chunk_shape"]
    return np.asarray(opened[start : 2 * start])


def drawn(one: PackedObject, length: int, data: st.DataObject) -> np.ndarray[Any, Any]:
    """Return random values for an object."""
    top = data.draw(st.sampled_from([1, 300, 2**32 - 2]))
    return np.random.default_rng(length).integers(0, top, length, endpoint=True).astype(one.dtype)


@given(cuts=st.lists(st.integers(0, 512), max_size=12), length=st.integers(1, 512))
def test_values_in_pieces_give_the_same_bytes(cuts: list[int], length: int) -> None:
    """Pieces may be empty, end within a chunk, or contain several chunks; their memory may change after each call."""
    values = np.random.default_rng(length).integers(0, 1000, length).astype("<u4")
    encoder, shard = ShardEncoder(packed(SHARDED)), packed(SHARDED)
    for piece in np.split(values, sorted(min(cut, length) for cut in cuts)):
        passing = piece.copy()
        encoder.add(passing)
        passing[:] = 0
    assert encoder.finish() == shard.encode(values)


@FORMS
@given(data=st.data())
def test_bytes_are_those_of_zarr(document: dict[str, Any], data: st.DataObject) -> None:
    """An object has any number of values from one to a full object; a shard has any number of full chunks."""
    one = packed(document)
    length = data.draw(st.integers(1, one.values))
    if one.sharded:
        length = -(-length // one.chunk) * one.chunk
    values = drawn(one, length, data)
    encoded = one.encode(values)
    assert encoded == by_zarr(document, values)
    assert np.array_equal(decoded(one, encoded, length), values)


@pytest.mark.parametrize("document", [SHARDED, FLOATS], ids=["shard", "float"])
@given(data=st.data())
def test_zarr_reads_a_last_chunk_in_two_parts(document: dict[str, Any], data: st.DataObject) -> None:
    """The chunk has any number of values, followed by the fill value."""
    one = packed(document)
    length = data.draw(st.integers(1, one.values))
    values = drawn(one, length, data)
    encoded = one.encode(values)
    found = read_by_zarr(document, encoded)
    assert np.array_equal(found[:length], values)
    assert np.array_equal(found[length:], np.full(one.values - length, one.fill, one.dtype), equal_nan=True)
    assert np.array_equal(decoded(one, encoded, length), values)


@pytest.mark.parametrize("dtype", ["uint32", "float32"])
def test_the_fill_value_takes_few_bytes(dtype: str) -> None:
    """Values of a chunk that is nearly empty, half full or nearly full take as many bytes as without the fill value."""
    fill = FILL if dtype == "uint32" else "NaN"
    codecs = [pcodec_codec(0), CRC32C]
    one = packed(array(CHUNK_VALUES, [sharding_codec(codecs, CHUNK_VALUES)], dtype=dtype, fill=fill))
    for length in (3000, CHUNK_VALUES // 2, CHUNK_VALUES - 1000):
        values = np.random.default_rng(0).geometric(0.4, length).astype(one.dtype)
        alone = packed(array(length, codecs, dtype=dtype, fill=fill)).encode(values)
        assert len(one.encode(values)) <= len(alone) + one.table_bytes + 50


def test_a_plan_of_an_earlier_version_encodes_the_same_bytes() -> None:
    """Chunks of 262,144 values are padded as Zarr pads them: repair writes the bytes that records of earlier versions list."""
    document = array(
        2 * FORMER_CHUNK_VALUES, [sharding_codec([pcodec_codec(1), CRC32C], FORMER_CHUNK_VALUES)]
    )
    values = np.arange(FORMER_CHUNK_VALUES + 1000, dtype="<u4") * 3
    assert packed(document).encode(values) == by_zarr(document, values)


@pytest.mark.parametrize("length", [300, 10_000, CHUNK_VALUES, FORMER_CHUNK_VALUES])
@pytest.mark.parametrize("base", [1, 2, 3, 7, 50, 99])
@pytest.mark.parametrize("rest", [0, 1])
def test_small_values_get_the_bytes_of_the_mode_auto(length: int, base: int, rest: int) -> None:
    """The encoder chooses PCodec's mode itself if it knows that all values are small; these are multiples, for which ``auto`` has a mode of its own."""
    random = np.random.default_rng(base)
    values = (base * random.integers(1, 200 // base, length) + random.integers(0, rest + 1, length)).astype(
        "<u4"
    )
    one = packed(array(length, [pcodec_codec(0), CRC32C]))
    assert one.encode_chunk(values, 200) == one.encode_chunk(values)
    assert one.encode_chunk(values, 200) == by_zarr(array(length, [pcodec_codec(0), CRC32C]), values)


def test_large_multiples_are_encoded_as_multiples() -> None:
    """Only small values get the mode ``classic``: it would take twice the bytes here."""
    values = np.random.default_rng(0).integers(1, 1000, CHUNK_VALUES).astype("<u4") * 1000
    document = array(CHUNK_VALUES, [sharding_codec([pcodec_codec(0), CRC32C], CHUNK_VALUES)])
    encoder = ShardEncoder(packed(document))
    encoder.add(values, 1_000_000)
    assert encoder.finish() == by_zarr(document, values)


def decoded(one: PackedObject, encoded: bytes, length: int) -> np.ndarray[Any, Any]:
    """Decode a whole object chunk by chunk."""
    out = np.empty(length, one.dtype)
    extents = [(0, len(encoded))]
    if one.sharded:
        extents = list(one.extents(encoded[-one.table_bytes :], len(encoded)))
    for number, start in enumerate(range(0, length, one.chunk)):
        offset, size = extents[number]
        one.decode_chunk(encoded[offset : offset + size], out[start : start + one.chunk])
    return out


def test_a_shard_index_marks_unwritten_chunks() -> None:
    """Chunks after the last value have no bytes."""
    one = packed(SHARDED)
    encoded = one.encode(np.arange(70, dtype="<u4"))
    extents = one.extents(encoded[-one.table_bytes :], len(encoded))
    assert [bool(extent.length) for extent in extents] == [True, True] + [False] * 6
    assert extents[1].offset == extents[0].length


@FORMS
def test_every_flipped_bit_is_noticed(document: dict[str, Any]) -> None:
    """Bits are flipped in chunks, and in the index of a shard."""
    one = packed(document)
    encoded = one.encode(np.arange(100).astype(one.dtype))
    for place in range(len(encoded)):
        broken = bytearray(encoded)
        broken[place] ^= 1 << place % 8
        with pytest.raises(DamagedError):
            decoded(one, bytes(broken), 100)


def test_a_chunk_never_decodes_to_more_than_it_may() -> None:
    """For a chunk of a million values where 64 are expected, the first 64 are decoded, in memory for 64."""
    small, large = packed(SHARDED), packed(array(2**20, [pcodec_codec(1), CRC32C]))
    many = large.encode(np.arange(2**20, dtype="<u4"))
    out = np.empty(64, "<u4")
    small.decode_chunk(many, out)
    assert np.array_equal(out, np.arange(64))
    with pytest.raises(DamagedError, match="has 64 values, expected 100"):
        large.decode_chunk(
            small.encode(np.arange(64, dtype="<u4"))[: -small.table_bytes], np.empty(100, "<u4")
        )


def test_an_index_that_points_outside_is_refused() -> None:
    """It is rejected even if its checksum is right."""
    import google_crc32c

    one = packed(SHARDED)
    encoded = one.encode(np.arange(70, dtype="<u4"))
    for place, wrong in [(0, len(encoded)), (1, len(encoded)), (0, 2**64 - 2), (1, 2**64 - 1)]:
        table = np.frombuffer(encoded[-one.table_bytes : -4], "<u8").copy()
        table[place] = wrong
        crc = google_crc32c.value(table.tobytes()).to_bytes(4, "little")
        with pytest.raises(DamagedError, match="outside"):
            one.extents(table.tobytes() + crc, len(encoded))


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "bytes", "configuration": {"endian": "big"}}, CRC32C],
        [pcodec_codec(0)],
        [pcodec_codec(0) | {"configuration": {"level": 4}}, CRC32C],
        [sharding_codec([pcodec_codec(0), CRC32C], 48)],
        [sharding_codec([pcodec_codec(0), CRC32C], 64) | {"configuration": {"chunk_shape": [64]}}],
        [sharding_codec([pcodec_codec(0), CRC32C], 64), CRC32C],
        [],
    ],
)
def test_other_codecs_are_left_to_zarr(codecs: list[Any]) -> None:
    """Only the codecs of this version's plans are recognised."""
    assert PackedObject.of(array(128, codecs)) is None


def test_the_plans_own_arrays_are_all_known(small_documents: dict[str, dict[str, Any]]) -> None:
    """Otherwise a build would use Zarr unnoticed."""
    assert all(PackedObject.of(one) for path, one in small_documents.items() if path != "zarr.json")
    assert packed(small_documents["index/zarr.json"]).chunk == CHUNK_VALUES


@pytest.fixture
def small_documents() -> dict[str, dict[str, Any]]:
    """Return all zarr.json of a small set."""
    from tests.store.small_sets import small_set

    from spikestore.store_schemas.documents.zarr_metadata import documents

    return documents(small_set().plan().zarr)
