"""Our zarr.json documents equal those that Zarr writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec
from zarr.codecs.numcodecs import PCodec
from zarr.core.buffer.cpu import Buffer
from zarr.storage import LocalStore, MemoryStore

from spikestore.store_schemas.documents.zarr_metadata import (
    CHUNK_VALUES,
    FORMER_CHUNK_VALUES,
    SHARD_MULTIPLE,
    documents,
    root_document,
)
from spikestore.store_schemas.layout import EXTRAS, FILL, Layout, layout_of
from spikestore.store_schemas.specs.canonical import canonical_json
from spikestore.store_schemas.specs.operations import ToFrame
from spikestore.store_schemas.specs.transform import Transform

SAMPLES, FRAGMENT, SHARD = 300, 128, 2 * SHARD_MULTIPLE


def layout(max_bins: int = 100, value: str = "uint32") -> Layout:
    frame = ToFrame(sensor_size=(4, 3, 2), time_window=1.0)
    made = layout_of(
        Transform(operations=(frame,), max_bins=max_bins), has_y=True, classes=["a"], extras=list(EXTRAS)
    ).to_mapping()
    made["columns"] = [[name, value if name == "value" else dtype] for name, dtype in made["columns"]]
    return Layout.from_mapping(made, origin="test")


def root(chunk: int = CHUNK_VALUES, **wishes: Any) -> dict[str, Any]:
    return root_document(
        layout(**wishes),
        samples=SAMPLES,
        fragment_samples=FRAGMENT,
        fragments=3,
        shard_values=SHARD,
        chunk_values=chunk,
    )


def memory(document: dict[str, Any]) -> dict[str, Any]:
    return {path: Buffer.from_bytes(canonical_json(one)) for path, one in documents(document).items()}


def written_by_zarr(wanted: Layout, chunk: int) -> dict[str, dict[str, Any]]:
    """Let Zarr create the same arrays; return its documents."""
    store: dict[str, Any] = {}
    attributes = {"spikestore": {"format": 1, "axes": list(wanted.axes), "sites": list(wanted.sites)}}
    group = zarr.create_group(MemoryStore(store_dict=store), zarr_format=3, attributes=attributes)
    common: dict[str, Any] = {"compressors": [Crc32cCodec()], "filters": None}
    columns = {**dict(wanted.columns), "start": "uint64", "check": "uint64"}
    for name, dtype in columns.items():
        pcodec = PCodec(
            level=8,
            mode_spec="auto",
            delta_spec="try_consecutive",
            delta_encoding_order=int(name in {"index", "start"}),
            paging_spec="equal_pages_up_to",
            equal_pages_up_to=262_144,
        )
        if name in {"index", "value"}:
            where: dict[str, Any] = {
                "shape": 3 * SHARD,
                "shards": (SHARD,),
                "chunks": (chunk,),
                "dimension_names": ["nonzero"],
            }
        elif name == "check":
            where = {"shape": 5, "chunks": (FRAGMENT // 64,), "dimension_names": ["block"]}
        else:
            where = {"shape": SAMPLES, "chunks": (FRAGMENT,), "dimension_names": ["sample"]}
        fill = np.nan if dtype == "float32" else FILL[dtype]
        serializer = BytesCodec(endian="little") if name == "check" else pcodec
        group.create_array(name, dtype=dtype, fill_value=fill, serializer=serializer, **where, **common)
    zarr.consolidate_metadata(group.store, zarr_format=3)
    return {path: json.loads(value.to_bytes()) for path, value in store.items()}


@pytest.mark.parametrize("chunk", [CHUNK_VALUES, FORMER_CHUNK_VALUES])
@pytest.mark.parametrize("max_bins", [100, 2**40])
@pytest.mark.parametrize("value", ["uint32", "float32"])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning")
def test_documents_equal_those_of_zarr(max_bins: int, value: str, chunk: int) -> None:
    """All members of every array and of the consolidated group are compared."""
    theirs = written_by_zarr(layout(max_bins, value), chunk)
    ours = documents(root(chunk, max_bins=max_bins, value=value))
    assert ours.keys() == theirs.keys()
    for path, document in theirs.items():
        assert ours[path] == document, path


def test_documents_are_canonical_json() -> None:
    """Every builder writes the same bytes."""
    assert canonical_json(root()) == canonical_json(json.loads(json.dumps(root())))


def test_zarr_opens_them(tmp_path: Path) -> None:
    """Shapes, dtypes and names are those of the format, from one document for all arrays."""
    place = tmp_path / "data.zarr"
    place.mkdir()
    (place / "zarr.json").write_bytes(
        canonical_json(root())
    )  # consolidated metadata suffice to open all arrays
    group = zarr.open_group(LocalStore(place), mode="r", zarr_format=3)
    arrays = dict(group.arrays())
    assert arrays.keys() == {name for name, _ in layout().columns} | {"start", "check"}
    assert group.attrs["spikestore"] == {
        "format": 1,
        "axes": ["time", "polarity", "y", "x"],
        "sites": [2, 3, 4],
    }
    for name, dtype in layout().columns:
        assert arrays[name].dtype == np.dtype(dtype), name
    assert {name: (one.shape, one.shards, one.chunks) for name, one in arrays.items()} == {
        **dict.fromkeys(arrays, ((SAMPLES,), None, (FRAGMENT,))),
        **dict.fromkeys(("index", "value"), ((3 * SHARD,), (SHARD,), (CHUNK_VALUES,))),
        "check": ((5,), None, (FRAGMENT // 64,)),
    }
    dimensions = {name: one.metadata.dimension_names for name, one in arrays.items()}  # type: ignore[union-attr]
    assert dimensions == {
        **dict.fromkeys(arrays, ("sample",)),
        **dict.fromkeys(("index", "value"), ("nonzero",)),
        "check": ("block",),
    }


@pytest.mark.parametrize("value", ["uint32", "float32"])
def test_a_missing_object_reads_as_the_fill_value_and_never_as_zeros(value: str) -> None:
    """The fill value makes the check find the missing object."""
    group: Any = zarr.open_group(MemoryStore(store_dict=memory(root(value=value))), mode="r", zarr_format=3)
    for name, array in group.arrays():
        found = array[:5]
        assert not (found == 0).any(), name
        expected = np.nan if array.dtype == np.float32 else FILL[array.dtype.name]
        np.testing.assert_array_equal(found, np.full(5, expected, array.dtype))


@pytest.mark.parametrize("value", ["uint32", "float32"])
def test_chunks_of_zeros_are_stored(value: str) -> None:
    """Zarr leaves out chunks of the fill value only; zeros are no fill value in any column, also after the array is opened again."""
    store = memory(root(value=value))
    before = set(store)
    group: Any = zarr.open_group(MemoryStore(store_dict=store), mode="r+", zarr_format=3)
    for name, array in group.arrays():
        array[: array.chunks[0]] = np.zeros(array.chunks[0], array.dtype)
        assert set(store) - before == {f"{name}/c/0"}
        before = set(store)
    again: Any = zarr.open_group(MemoryStore(store_dict=store), mode="r", zarr_format=3)
    for name, array in again.arrays():
        assert (array[: array.chunks[0]] == 0).all(), name


def test_a_fragment_touches_objects_of_its_own_alone() -> None:
    """Fragment k is shard or chunk k of every column: two writers never share an object."""
    store = memory(root())
    metadata = set(store)
    group: Any = zarr.open_group(MemoryStore(store_dict=store), mode="r+", zarr_format=3)
    group["index"][SHARD : SHARD + 7] = np.arange(7)
    group["nnz"][FRAGMENT : 2 * FRAGMENT] = np.zeros(FRAGMENT, np.uint32)
    group["check"][FRAGMENT // 64 : 2 * FRAGMENT // 64] = np.zeros(FRAGMENT // 64, np.uint64)
    assert set(store) - metadata == {"index/c/1", "nnz/c/1", "check/c/1"}


def test_codecs_are_listed_completely() -> None:
    """No default of a library is used; crc32c protects every chunk and every index of a shard."""
    arrays = root()["consolidated_metadata"]["metadata"]
    for name, document in arrays.items():
        codecs = document["codecs"]
        if name in {"index", "value"}:
            (sharding,) = codecs
            assert sharding["configuration"]["index_codecs"][-1] == {"name": "crc32c"}
            codecs = sharding["configuration"]["codecs"]
        assert codecs[-1] == {"name": "crc32c"}
        if name != "check":
            assert codecs[0]["configuration"] == {
                "level": 8,
                "mode_spec": "auto",
                "delta_spec": "try_consecutive",
                "delta_encoding_order": int(name in {"index", "start"}),
                "paging_spec": "equal_pages_up_to",
                "equal_pages_up_to": 262_144,
            }
