"""The forms ``zarr`` (a plain Zarr v3 group) and ``hdf5`` (one file): columns of all samples, as in a CSR matrix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikestore.pipeline.exporting.columns import CHUNK, Array, write_columns
from spikestore.store import FeatureSet
from spikestore.store.progress import UnlabelledProgress
from spikestore.store_schemas.errors import MissingExtraError

_AXIS = {"index": "nonzero", "value": "nonzero", "offsets": "edge"}


def write_zarr(
    features: FeatureSet,
    folder: Path,
    split: str,
    facts: Mapping[str, Any],
    arrays: Mapping[str, str],
    progress: UnlabelledProgress,
) -> None:
    """Write ``SPLIT.zarr``: arrays in chunks of 2^20 values, compressed with Zstandard; the attributes of the group describe the set."""
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(folder / f"{split}.zarr", mode="w-", zarr_format=3, attributes=dict(facts))

    def create(name: str, length: int, dtype: np.dtype[Any]) -> Array:
        return group.create_array(
            name,
            shape=(length,),
            chunks=(max(1, min(length, CHUNK)),),
            dtype=dtype,
            compressors=[ZstdCodec(level=3)],
            attributes={"meaning": arrays[name]},
            dimension_names=[_AXIS.get(name, "sample")],
            config={"write_empty_chunks": True},  # a missing chunk is then a lost one
        )

    write_columns(features, create, progress)


def write_hdf5(
    features: FeatureSet,
    folder: Path,
    split: str,
    facts: Mapping[str, Any],
    arrays: Mapping[str, str],
    progress: UnlabelledProgress,
) -> None:
    """Write ``SPLIT.h5``: data sets in chunks of 2^20 values, compressed with gzip; the attributes of the file describe the set.

    Raises
    ------
    MissingExtraError
        h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the form hdf5 needs h5py: pip install 'spikestore[pipeline]'", extra="pipeline", module="h5py"
        ) from error
    with h5py.File(folder / f"{split}.h5", "x") as file:
        # Attributes hold at most 64 kB, and there may be any number of classes.
        file["classes"] = np.array(facts["classes"], object).astype(h5py.string_dtype())
        file["classes"].attrs["meaning"] = "class names: label i is the i-th"
        for name, fact in facts.items():
            if name not in ("classes", "skipped_rows"):
                file.attrs[name] = fact if isinstance(fact, (str, int, float)) else json.dumps(fact)

        def create(name: str, length: int, dtype: np.dtype[Any]) -> Array:
            packed = (
                {"chunks": (min(length, CHUNK),), "compression": "gzip", "shuffle": True} if length else {}
            )
            array = file.create_dataset(name, (length,), dtype, **packed)
            array.attrs["meaning"] = arrays[name]
            return array  # type: ignore[no-any-return]

        write_columns(features, create, progress)
