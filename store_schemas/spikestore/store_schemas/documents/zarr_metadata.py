"""The zarr.json documents of a feature set, created without Zarr, because the plan contains them before any array exists.

spikestore never calls Zarr's ``create_*`` on a store: concurrent creations race, and mode "w" deletes shards.
``tests/store_schemas/test_zarr_metadata.py`` compares these documents with the documents that Zarr writes.
"""

from __future__ import annotations

from typing import Any

from spikestore.store_schemas.layout import BLOCK, FILL, Layout
from spikestore.store_schemas.specs.canonical import FORMAT

CHUNK_VALUES = 65_536
"""Values per inner chunk of ``index`` and ``value`` in new plans."""

FORMER_CHUNK_VALUES = 262_144
"""Values per inner chunk in plans of earlier versions, whose builds are still resumed and repaired."""

SHARD_MULTIPLE = 262_144
"""The length of a shard, R, is a multiple of this number (docs/format.md), and therefore also of `CHUNK_VALUES` and `FORMER_CHUNK_VALUES`."""

PCODEC_LEVEL = 8

PCODEC_PART_VALUES = 262_144
"""Largest number of values that PCodec encodes together; longer chunks are cut into equal parts."""

CRC32C: dict[str, Any] = {"name": "crc32c"}
RAW_BYTES: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}


def root_document(
    layout: Layout,
    *,
    samples: int,
    fragment_samples: int,
    fragments: int,
    shard_values: int,
    chunk_values: int = CHUNK_VALUES,
) -> dict[str, Any]:
    """Return ``data.zarr/zarr.json``: the group with the consolidated metadata of all arrays.

    Parameters
    ----------
    layout : Layout
        Columns and their dtypes.
    samples : int
        Rows of the set.
    fragment_samples : int
        Rows of a fragment (consecutive rows that are stored together), F, a multiple of 64.
    fragments : int
        Number of fragments, K.
    shard_values : int
        Length of a shard of ``index`` and ``value``, R. Each fragment has one shard: the values of fragment k start at k·R.
    chunk_values : int
        Values per inner chunk of ``index`` and ``value``.
    """
    arrays = {}
    for name, dtype in layout.columns:
        if name in {"index", "value"}:
            order = 1 if name == "index" else 0
            codecs = [sharding_codec([pcodec_codec(order), CRC32C], chunk_values)]
            arrays[name] = _array(fragments * shard_values, shard_values, dtype, codecs, "nonzero")
        else:
            arrays[name] = _array(samples, fragment_samples, dtype, [pcodec_codec(0), CRC32C], "sample")
    arrays["start"] = _array(samples, fragment_samples, "uint64", [pcodec_codec(1), CRC32C], "sample")
    blocks = -(-samples // BLOCK)
    arrays["check"] = _array(blocks, fragment_samples // BLOCK, "uint64", [RAW_BYTES, CRC32C], "block")
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "spikestore": {"format": FORMAT, "axes": list(layout.axes), "sites": list(layout.sites)},
        },
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": arrays},
    }


def documents(root: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the zarr.json documents of the group and its arrays, by path below ``data.zarr``."""
    arrays = root["consolidated_metadata"]["metadata"]
    return {"zarr.json": root, **{f"{name}/zarr.json": document for name, document in arrays.items()}}


def _array(length: int, chunk: int, dtype: str, codecs: list[Any], dimension: str) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [length],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": FILL[dtype],
        "codecs": codecs,
        "attributes": {},
        "dimension_names": [dimension],
        "storage_transformers": [],
    }


def pcodec_codec(delta_order: int) -> dict[str, Any]:
    """Return the configuration of the PCodec codec, with deltas of order `delta_order`."""
    # The delta is explicit, because "auto" searches for one, and pcodec 1.1 does not accept numcodecs' name for "none".
    configuration = {
        "level": PCODEC_LEVEL,
        "mode_spec": "auto",
        "delta_spec": "try_consecutive",
        "paging_spec": "equal_pages_up_to",
        "delta_encoding_order": delta_order,
        "equal_pages_up_to": PCODEC_PART_VALUES,
    }
    return {"name": "numcodecs.pcodec", "configuration": configuration}


def sharding_codec(codecs: list[Any], chunk: int) -> dict[str, Any]:
    """Return the configuration of the sharding codec: inner chunks of `chunk` values, encoded by `codecs`."""
    configuration = {
        "chunk_shape": [chunk],
        "codecs": codecs,
        "index_codecs": [RAW_BYTES, CRC32C],
        "index_location": "end",
    }
    return {"name": "sharding_indexed", "configuration": configuration}
