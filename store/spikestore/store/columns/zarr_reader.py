"""Columns in and out of Zarr: encode a fragment's objects in memory, read runs of rows from any Zarr store.

Reading goes through Zarr's own arrays; so does writing with other codecs than `packed_objects` knows. Opening a store
never creates anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.shard_codec import PackedObject
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.zarr_metadata import documents
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.layout import BLOCK, Layout
from spikestore.store_schemas.specs.canonical import canonical_json

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store as ZarrStore
    from zarr.storage import StorePath


def encode_fragment(
    plan: Plan, fragment: int, columns: SampleColumns, check: npt.NDArray[np.uint64]
) -> dict[str, bytes]:
    """Encode a fragment into the objects that hold it.

    Parameters
    ----------
    plan : Plan
        The build.
    fragment : int
        Number of the fragment.
    columns : SampleColumns
        Its rows, with stored dtypes (`SampleColumns.as_stored`).
    check : uint64 array, shape (blocks of the fragment,)
        From `digest.block_checks`.

    Returns
    -------
    dict of str to bytes
        Stored bytes by path below ``data.zarr``. Without non-zeros there is no ``index`` and no ``value`` object.
    """
    stored = dict(columns.in_order(plan.layout))
    stored["start"] = (fragment * plan.shard_values + columns.offsets()[:-1]).astype("<u8")
    stored["check"] = check
    arrays = documents(plan.zarr)
    objects = {}
    for name, values in stored.items():
        packed = PackedObject.of(arrays[f"{name}/zarr.json"])
        if packed is None:
            return _encode_by_zarr(plan, fragment, stored)
        if len(values):
            objects[f"{name}/c/{fragment}"] = packed.encode(values)
    return dict(sorted(objects.items()))


def _encode_by_zarr(plan: Plan, fragment: int, columns: dict[str, npt.NDArray[Any]]) -> dict[str, bytes]:
    """Encode with the codecs of a plan that another version wrote."""
    from zarr.core.buffer.cpu import Buffer
    from zarr.storage import MemoryStore

    metadata = {path: canonical_json(document) for path, document in documents(plan.zarr).items()}
    memory: dict[str, Any] = {path: Buffer.from_bytes(data) for path, data in metadata.items()}
    group = open_group(MemoryStore(store_dict=memory), mode="r+")
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


def open_group(store: ZarrStore | StorePath, *, mode: str = "r") -> Any:
    """Open a group that exists, without any create call. Typed Any: Zarr's items are array or group."""
    import zarr

    # numcodecs' codecs warn that they are not in the Zarr v3 specification. docs/format.md says which codec it is
    # and where it is described; a user can do nothing about it.
    warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3 specification")
    return zarr.open_group(store, mode=mode, zarr_format=3)  # type: ignore[arg-type]


class ColumnReader:
    """Reads runs of rows of one build, unchecked: `FeatureSet` compares what comes out with ``check``.

    Parameters
    ----------
    group : zarr.Group
        ``data.zarr``, from `open_group`.
    layout : Layout
        Columns.
    fragment_samples, shard_values : int
        F and R of the plan.
    counts : sequence of int
        Non-zeros of each fragment, if they are known: then no more are ever asked for.
    """

    def __init__(
        self,
        group: zarr.Group,
        layout: Layout,
        *,
        fragment_samples: int,
        shard_values: int,
        counts: Sequence[int] = (),
    ) -> None:
        self._arrays: dict[str, Any] = {name: group[name] for name, _ in layout.columns}
        self._arrays |= {name: group[name] for name in ("start", "check")}
        self._layout = layout
        self._fragment_samples = fragment_samples
        self._shard_values = shard_values
        self._counts = counts
        self._samples = int(self._arrays["nnz"].shape[0])
        self._last: tuple[int, dict[str, npt.NDArray[Any]]] | None = None

    def read(self, fragment: int, start: int, stop: int) -> tuple[SampleColumns, npt.NDArray[np.uint64]]:
        """Read rows `start` to `stop` of `fragment`, counted from its first row; `start` begins a block.

        Returns
        -------
        columns : SampleColumns
        check : uint64 array, shape (blocks,)
            Stored hashes of the blocks that were read.

        Raises
        ------
        DamagedError
            ``start`` contradicts ``nnz``.
        """
        table = self._table(fragment)
        first, last = int(table["offsets"][start]), int(table["offsets"][stop])
        base = fragment * self._shard_values
        # An empty run asks for nothing, so that an object which does not exist is not looked for.
        values = {
            name: self._arrays[name][base + first : base + last]
            if last > first
            else np.zeros(0, self._layout.dtype(name))
            for name in ("index", "value")
        }
        columns = SampleColumns(
            **values,
            **{name: table[name][start:stop] for name in ("nnz", "n_bins", "label")},
            extras={name: table[name][start:stop] for name in self._layout.extras},
        )
        return columns, table["check"][start // BLOCK : -(-stop // BLOCK)]

    def _table(self, fragment: int) -> dict[str, npt.NDArray[Any]]:
        """Read the per-sample columns of a fragment; the last ones are kept, for runs of small reads."""
        last = self._last  # one attribute, read and set whole: threads need no lock
        if last is not None and last[0] == fragment:
            return last[1]
        start = fragment * self._fragment_samples
        stop = min(start + self._fragment_samples, self._samples)
        names = ("nnz", "n_bins", "label", *self._layout.extras, "start")
        table = {name: np.asarray(self._arrays[name][start:stop]) for name in names}
        table["check"] = np.asarray(self._arrays["check"][start // BLOCK : -(-stop // BLOCK)])
        offsets = np.zeros(stop - start + 1, np.int64)
        np.cumsum(table["nnz"], out=offsets[1:])
        expected = (fragment * self._shard_values + offsets[:-1]).astype(np.uint64)
        if offsets[-1] > self._shard_values or not np.array_equal(table.pop("start"), expected):
            raise DamagedError(f"the columns start and nnz of fragment {fragment} contradict each other")
        if self._counts and offsets[-1] != self._counts[fragment]:
            raise DamagedError(
                f"fragment {fragment} has {offsets[-1]} non-zeros, the manifest says {self._counts[fragment]}"
            )
        table["offsets"] = offsets
        self._last = (fragment, table)
        return table
