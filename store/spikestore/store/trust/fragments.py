"""Whole fragments on their way in: decoded from bytes at hand, every number that a document says of them computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikestore.store.columns.digest import block_digests
from spikestore.store.columns.reader import FragmentDecoder
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.trust.rows import refuse_untrue_rows
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.record import Record


class FragmentChecker:
    """Decodes fragments of one set; any number of threads may share one.

    Parameters
    ----------
    address : Address
        Keys of the set.
    manifest : Manifest
        What it says of itself.
    root : mapping
        Its ``data.zarr/zarr.json``, checked.
    """

    def __init__(self, address: Address, manifest: Manifest, root: Mapping[str, Any]) -> None:
        self._address = address
        self._manifest = manifest
        self._decoder = FragmentDecoder(manifest, root)

    def read(self, fragment: int, objects: Mapping[str, bytes]) -> SampleColumns:
        """Return the rows of a fragment.

        Parameters
        ----------
        fragment : int
            Its number.
        objects : mapping of str to bytes
            Its objects by path below ``data.zarr``.

        Raises
        ------
        DamagedError
            They can't be decoded, or are no rows that may be used.
        """
        columns, check = self._decoder.read(fragment, objects)
        refuse_untrue_rows(self._address, self._manifest, fragment, columns, check)
        return columns

    def contradiction(self, record: Record, columns: SampleColumns) -> str | None:
        """Return in words what a record says otherwise than the rows of its fragment, or None."""
        found: dict[str, object] = {
            "samples": len(columns),
            "nnz": len(columns.index),
            "n_bins": int(columns.n_bins.max(initial=0)),
            "max_index": int(columns.index.max(initial=0)),
            "max_value": float(np.max(columns.value, initial=0)),
        }
        for name, number in found.items():
            if getattr(record, name) != number:
                return f"its {name} is {getattr(record, name)}, the stored values give {number}"
        if tuple(block_digests(columns, self._manifest.layout)) != record.blocks:
            return "its block digests are not those of the stored values"
        return None
