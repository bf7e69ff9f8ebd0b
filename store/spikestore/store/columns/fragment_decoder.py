"""Decode a fragment from the bytes of its objects, as they came from a store or are about to go into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spikestore.store.columns.limits import refuse_giant_fragment
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.zarr_group import group_of
from spikestore.store.columns.zarr_reader import ColumnReader
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError
from spikestore.store_schemas.specs.canonical import canonical_json


class FragmentDecoder:
    """Decodes fragments of one build; several threads may use one.

    Parameters
    ----------
    root : mapping
        The build's ``data.zarr/zarr.json``.
    manifest : Manifest
        The feature set.
    """

    def __init__(self, root: Mapping[str, Any], manifest: Manifest) -> None:
        from zarr.core.buffer.cpu import Buffer
        from zarr.storage import MemoryStore, StorePath

        self._buffer = Buffer.from_bytes
        self._manifest = manifest
        self._samples = [row.samples for row in manifest.fragments]
        self._memory: dict[str, Any] = {}
        self._reader = ColumnReader(
            group_of(
                StorePath(MemoryStore(store_dict=self._memory, read_only=True)), canonical_json(dict(root))
            ),
            manifest.layout,
            fragment_samples=manifest.fragment_samples,
            shard_values=manifest.shard_values,
            counts=[row.nnz for row in manifest.fragments],
        )

    def read(
        self, fragment: int, objects: Mapping[str, bytes]
    ) -> tuple[SampleColumns, npt.NDArray[np.uint64]]:
        """Decode one fragment.

        Parameters
        ----------
        fragment : int
            Its number.
        objects : mapping of str to bytes
            Its objects by path below ``data.zarr``, such as ``index/c/3``.

        Returns
        -------
        columns : SampleColumns
            All its rows.
        check : uint64 array, shape (blocks,)
            The hashes that are stored with them.

        Raises
        ------
        DamagedError
            They can't be decoded.
        """
        self._reader._last = None  # of other bytes, perhaps, in the place of these
        try:
            refuse_giant_fragment(self._manifest, fragment)
            self._memory.update({path: self._buffer(data) for path, data in objects.items()})
            return self._reader.read(fragment, 0, self._samples[fragment])
        except Exception as error:
            raise DamagedError(f"fragment {fragment} can't be decoded: {error}") from error
        except BaseException as error:
            # A panic in a Rust codec derives from BaseException only.
            if type(error).__name__ != "PanicException":
                raise
            raise DamagedError(f"fragment {fragment} can't be decoded: {error}") from error
        finally:
            for path in objects:
                self._memory.pop(path, None)
