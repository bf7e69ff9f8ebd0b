"""Checks of whole fragments: they are decoded, and the numbers in their documents are recomputed, except the counts of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spikestore.store.columns.digest import block_digests
from spikestore.store.columns.reader import FragmentDecoder
from spikestore.store.columns.samples import SampleColumns, largest_value
from spikestore.store.trust.rows import refuse_untrue_rows
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.record import Record


class FragmentChecker:
    """Decodes and checks fragments of one set; any number of threads may share a checker.

    Parameters
    ----------
    address : Address
        Transform key and source key of the set.
    manifest : Manifest
        Manifest of the set.
    root : mapping
        ``data.zarr/zarr.json`` of the set, checked.
    """

    def __init__(self, address: Address, manifest: Manifest, root: Mapping[str, Any]) -> None:
        self._address = address
        self._manifest = manifest
        self._decoder = FragmentDecoder(manifest, root)

    def read(self, fragment: int, objects: Mapping[str, bytes]) -> SampleColumns:
        """Return the checked rows of a fragment; for the arguments see `FragmentDecoder.read`.

        Raises
        ------
        DamagedError
            The objects cannot be decoded, or the rows violate the format or contradict the manifest.
        """
        columns, check = self._decoder.read(fragment, objects)
        refuse_untrue_rows(self._address, self._manifest, fragment, columns, check)
        return columns

    def contradiction(self, record: Record, columns: SampleColumns) -> str | None:
        """Return a text that describes how a record differs from the rows of its fragment, or None if they agree. The record's ``events`` is not compared."""
        actual: dict[str, object] = {
            "samples": len(columns),
            "nnz": len(columns.index),
            "n_bins": int(columns.n_bins.max(initial=0)),
            "max_index": int(columns.index.max(initial=0)),
            "max_value": largest_value(columns.value),
        }
        for name, number in actual.items():
            if getattr(record, name) != number:
                return f"the record has {name} = {getattr(record, name)}, but the stored values give {number}"
        if tuple(block_digests(columns, self._manifest.layout)) != record.blocks:
            return "the block digests of the record differ from those of the stored values"
        return None
