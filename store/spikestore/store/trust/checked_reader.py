"""Reader of a committed set's rows, which checks all rows before it returns them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from spikestore.store.columns.limits import refuse_giant_fragment
from spikestore.store.columns.reader import Apply, ColumnReader, DirectReader, read_errors
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.trust.block_rows import RowRange
from spikestore.store.trust.narrow_rows import Empty, NarrowReader, NarrowRows
from spikestore.store.trust.rows import refuse_untrue_rows
from spikestore.store.trust.scanned_rows import ScannedRows
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.errors import DamagedError, StoreError


class CheckedReader:
    """Reads rows of one set and checks them; any number of threads may share a reader.

    Parameters
    ----------
    open_reader : callable
        Returns the reader of the stored objects; called at the first read, after the manifest's sizes were checked.
    address : Address
        Transform key and source key of the set.
    manifest : Manifest
        Manifest of the set.
    url : str
        Location of the store, for messages.
    diagnose : callable
        Called with the number of a fragment and the error of reading it; returns the error to raise, which names the damaged objects.
    """

    def __init__(
        self,
        open_reader: Callable[[], ColumnReader],
        address: Address,
        manifest: Manifest,
        url: str,
        diagnose: Callable[[int, BaseException], StoreError],
    ) -> None:
        self._open_reader = open_reader
        self._address = address
        self._manifest = manifest
        self._url = url
        self._diagnose = diagnose
        self._small: set[int] = set()  # fragments that `_refuse_giant` has accepted

    @cached_property
    def reader(self) -> ColumnReader:
        """Reader of the stored objects. It does not check rows."""
        return self._open_reader()

    @cached_property
    def _narrow(self) -> NarrowReader | None:
        if not isinstance(self.reader, DirectReader) or find_spec("numba") is None:
            return None
        return NarrowReader(self.reader, self._address, self._manifest)

    def read(self, rows: RowRange, decode: Apply = map) -> SampleColumns:
        """Return rows with the dtypes on disk; `decode` as in `ColumnReader.read`.

        Raises
        ------
        DamagedError
            A stored object differs from what was committed; the message names the object.
        """
        self._refuse_giant(rows.fragment)
        reader = self.reader  # outside the context: its errors name their object already
        with read_errors(partial(self._diagnose, rows.fragment)):
            columns, check = reader.read(rows.fragment, rows.start, rows.stop, decode)
            refuse_untrue_rows(self._address, self._manifest, rows.fragment, columns, check, rows.start)
        return columns

    def read_narrow(
        self, rows: RowRange, dtypes: tuple[np.dtype[Any], np.dtype[Any]], empty: Empty = np.empty
    ) -> NarrowRows:
        """Return rows with ``index`` and ``value`` in `dtypes`. These dtypes must be large enough for the manifest's ``max_index`` and ``max_value``.

        For the result, see `NarrowReader.read`. For the errors, see `read`.
        """
        self._refuse_giant(rows.fragment)
        reader = self._narrow
        if reader is not None:
            with read_errors(partial(self._diagnose, rows.fragment)):
                narrow = reader.read(rows, dtypes, empty)
            if narrow is not None:
                return narrow
        return NarrowRows.of(self.read(rows), dtypes)  # which names what is wrong

    def scanned(self, rows: RowRange) -> ScannedRows | None:
        """Return an object that reads and checks these rows chunk by chunk; None if only Zarr can decode them. This method and the object raise the errors of `read`."""
        self._refuse_giant(rows.fragment)
        reader = self.reader
        if not isinstance(reader, DirectReader):
            return None
        return ScannedRows(
            self._address, self._manifest, rows, reader, partial(self._diagnose, rows.fragment)
        )

    def _refuse_giant(self, fragment: int) -> None:
        if fragment in self._small:
            return
        try:
            refuse_giant_fragment(self._manifest, fragment)
        except DamagedError as error:
            path = self._address.manifest
            raise DamagedError(f"{path} in {self._url}: {error}", objects=(path,)) from None
        self._small.add(fragment)
