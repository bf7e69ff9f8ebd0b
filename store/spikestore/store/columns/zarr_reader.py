"""Encodes fragments with `shard_codec`. If `shard_codec` does not support the codecs of a set, Zarr encodes and reads the fragments of this set."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.limits import checked_offsets
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.shard_codec import PackedObject
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.specs.canonical import canonical_json

if TYPE_CHECKING:
    from zarr.storage import StorePath


def encode_fragment(
    plan: Plan,
    fragment: int,
    columns: SampleColumns,
    check: npt.NDArray[np.uint64],
    encoded: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """Return the objects of a fragment.

    Parameters
    ----------
    plan : Plan
        Plan of the build.
    fragment : int
        Number of the fragment.
    columns : SampleColumns
        Rows of the fragment, with stored dtypes (`SampleColumns.as_stored`).
    check : uint64 array, shape (blocks of the fragment,)
        Result of `digest.block_checks`.
    encoded : mapping of str to bytes, optional
        Objects of ``index`` and ``value``, by name, if they are encoded already.

    Returns
    -------
    dict of str to bytes
        Stored bytes by path below ``data.zarr``. A fragment without non-zeros has no ``index`` and ``value`` objects.
    """
    stored = dict(columns.in_order(plan.layout))
    stored["start"] = (fragment * plan.shard_values + columns.offsets()[:-1]).astype("<u8")
    stored["check"] = check
    arrays = documents(plan.zarr)
    objects = {}
    for name, values in stored.items():
        if encoded is not None and name in encoded:
            objects[f"{name}/c/{fragment}"] = encoded[name]
            continue
        packed = PackedObject.of(arrays[f"{name}/zarr.json"])
        if packed is None:
            return _encode_by_zarr(plan, fragment, stored)
        if len(values):
            objects[f"{name}/c/{fragment}"] = packed.encode(values)
    return dict(sorted(objects.items()))


def _encode_by_zarr(plan: Plan, fragment: int, columns: dict[str, npt.NDArray[Any]]) -> dict[str, bytes]:
    """Encode a fragment with Zarr: the plan of another version of spikestore may have codecs that only Zarr supports."""
    from zarr.core.buffer.cpu import Buffer
    from zarr.storage import MemoryStore, StorePath

    metadata = {path: canonical_json(document) for path, document in documents(plan.zarr).items()}
    memory: dict[str, Any] = {path: Buffer.from_bytes(data) for path, data in metadata.items()}
    group = group_of(StorePath(MemoryStore(store_dict=memory)), metadata["zarr.json"])
    first_row = plan.rows(fragment).start
    starts = {
        "index": fragment * plan.shard_values,
        "value": fragment * plan.shard_values,
        "check": first_row // BLOCK,
    }
    for name, values in columns.items():
        start = starts.get(name, first_row)
        if len(values):
            group[name][start : start + len(values)] = values
    return {path: memory[path].to_bytes() for path in sorted(memory.keys() - metadata.keys())}


def group_of(path: StorePath, document: bytes) -> Any:
    """Return the Zarr group at `path`, whose ``zarr.json`` is `document`.

    ``zarr.open_group`` would read the document again: this would take one more request, and could return other bytes than
    the checked bytes in `document`.
    """
    import zarr

    # numcodecs' codecs warn that they are not in the Zarr v3 specification. A user can do nothing about it;
    # docs/format.md describes the codec.
    warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3 specification")
    from spikestore.store.columns.bounded_pcodec import bounded

    return zarr.Group(zarr.AsyncGroup.from_dict(path, bounded(json.loads(document))))


class ZarrReader:
    """Reads rows of one build through Zarr's arrays, with any codecs; see `reader.ColumnReader`.

    Parameters
    ----------
    build : Manifest or Plan
        Columns and sizes of the build.
    root : bytes
        The build's ``data.zarr/zarr.json``.
    path : StorePath
        ``data.zarr`` of the build.
    """

    def __init__(self, build: Manifest | Plan, root: bytes, path: StorePath) -> None:
        group = group_of(path, root)
        self._build = build
        self._arrays: dict[str, Any] = {name: group[name] for name in build.layout.array_names}

    def read(
        self,
        fragment: int,
        start: int,
        stop: int,
        decode: object = map,
    ) -> tuple[SampleColumns, npt.NDArray[np.uint64]]:
        """Return rows `start` to `stop` - 1 of `fragment`; see `reader.ColumnReader`. `decode` has no effect."""
        rows = self._build.rows(fragment)
        columns = {
            name: np.asarray(array[rows.start : rows.stop])
            for name, array in self._arrays.items()
            if name not in {"index", "value", "check"}
        }
        offsets = checked_offsets(self._build, fragment, columns["nnz"], columns.pop("start"))
        first, last = int(offsets[start]), int(offsets[stop])
        base = fragment * self._build.shard_values
        for name in ("index", "value"):
            # Without values nothing is read, because the object does not exist.
            values = self._arrays[name][base + first : base + last] if last > first else ()
            columns[name] = np.asarray(values, self._build.layout.dtype(name))
        for name in columns.keys() - {"index", "value"}:
            columns[name] = columns[name][start:stop]
        block = (rows.start + start) // BLOCK
        check = np.asarray(self._arrays["check"][block : block - (start - stop) // BLOCK])
        extras = {name: columns.pop(name) for name in self._build.layout.extras}
        return SampleColumns(**columns, extras=extras), check
