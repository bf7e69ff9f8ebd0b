"""A committed feature set: opened by its manifest, read in runs of rows, every block checked on every read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from spikestore.store_schemas.canonical import sha256_hex
from spikestore.store_schemas.columns import BLOCK, Layout, SampleColumns, concatenate
from spikestore.store_schemas.digest import block_checks, check_seed
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, StoreError, UsageError
from spikestore.store_schemas.manifest import Manifest
from spikestore.store_schemas.record import Record
from spikestore.store_schemas.ref import Pin
from spikestore.store_schemas.storage import Storage
from spikestore.store_schemas.zarr_columns import ColumnReader, open_group


class Address(NamedTuple):
    """Where a feature set lies in a store."""

    transform_key: str
    source_key: str

    @property
    def folder(self) -> str:
        """The set's folder."""
        return f"features/{self.transform_key}/{self.source_key}"

    @property
    def manifest(self) -> str:
        """Path of the manifest."""
        return f"{self.folder}/manifest.json"

    @property
    def plan(self) -> str:
        """Path of the plan."""
        return f"{self.folder}/plan.json"

    def build(self, plan_id: str) -> str:
        """Return the folder of one build."""
        return f"{self.folder}/builds/{plan_id}"

    def record(self, plan_id: str, fragment: int) -> str:
        """Return the path of a fragment's record."""
        return f"{self.build(plan_id)}/records/{fragment:05d}.json"

    def data(self, plan_id: str) -> str:
        """Return the Zarr group of one build."""
        return f"{self.build(plan_id)}/data.zarr"


class RunReader(Protocol):
    """Reads runs of rows of one fragment, unchecked, with the stored hashes of their blocks."""

    def read(self, fragment: int, start: int, stop: int) -> tuple[SampleColumns, npt.NDArray[np.uint64]]:
        """Read rows `start` to `stop` of `fragment`, counted from its first row; `start` begins a block."""


class FeatureSet:
    """All samples of one source under one transform; immutable.

    Get one from a `Store`. Rows are recordings in the source's order; a skipped recording keeps its row
    (``manifest.skipped``), with no non-zeros, no bins and label -1.

    Examples
    --------
    >>> features = Store("store")["demo:train"]        # doctest: +SKIP
    >>> columns = features.read(0, 128)                # doctest: +SKIP
    >>> frames = features.frames(5)                    # (time, polarity, x) # doctest: +SKIP
    """

    def __init__(self, storage: Storage, address: Address, manifest: Manifest) -> None:
        self._storage = storage
        self.address = address
        self.manifest = manifest

    @classmethod
    def open(cls, storage: Storage, address: Address) -> FeatureSet:
        """Open a committed feature set.

        Raises
        ------
        MissingObjectError
            There is no manifest: nothing is committed there.
        DamagedError
            The manifest is damaged or belongs to another set.
        NewerFormatError
            A newer format wrote it.
        """
        data = storage.get(address.manifest)
        return cls(storage, address, Manifest.from_store(data, path=address.manifest, **address._asdict()))

    def __len__(self) -> int:
        return self.manifest.samples

    def __repr__(self) -> str:
        source = self.manifest.source
        return (
            f"<FeatureSet {source.dataset} {source.split}: {len(self)} samples, {self.manifest.nnz} non-zeros, "
            f"{self.address.transform_key[:12]}/{self.address.source_key[:12]} in {self._storage.url}>"
        )

    @property
    def layout(self) -> Layout:
        """Axes, sites, classes and columns."""
        return self.manifest.layout

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; label i is the i-th."""
        return self.layout.classes

    @property
    def digest(self) -> str:
        """Digest of the content (hex): equal for equal samples, whoever built them and however."""
        return self.manifest.digest

    @property
    def pin(self) -> Pin:
        """Keys and digest: what refs, locks and checkpoints hold of the set."""
        return Pin(**self.address._asdict(), digest=self.digest)

    @property
    def storage(self) -> Storage:
        """Where the set lies."""
        return self._storage

    @property
    def data_path(self) -> str:
        """Path of the Zarr group in the storage."""
        return self.address.data(self.manifest.plan_id)

    @cached_property
    def _columns(self) -> ColumnReader:
        path = f"{self.data_path}/zarr.json"
        try:
            found = sha256_hex(self._storage.get(path))
        except MissingObjectError as error:
            raise DamagedError(f"{path} is missing from {self._storage.url}", objects=(path,)) from error
        if found != self.manifest.zarr:
            raise DamagedError(
                f"{path} is damaged: its SHA-256 is not what the manifest says", objects=(path,)
            )
        return ColumnReader(
            open_group(self._storage.zarr_store(self.data_path)),
            self.layout,
            fragment_samples=self.manifest.fragment_samples,
            shard_values=self.manifest.shard_values,
        )

    def read(self, start: int = 0, stop: int | None = None) -> SampleColumns:
        """Read rows `start` to `stop` (exclusive).

        Whole blocks of 64 rows are read and checked, so long runs are much cheaper than single rows.

        Returns
        -------
        SampleColumns
            With the dtypes on disk; shapes (non-zeros,) and (rows,).

        Raises
        ------
        UsageError
            The rows are not in the set.
        DamagedError
            What is stored is not what was committed; the message names the object.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start < stop <= len(self):
            raise UsageError(f"rows {start} to {stop} are not in a set of {len(self)} samples")
        return concatenate(self._runs(start, stop))

    def fragments(self) -> Iterator[SampleColumns]:
        """Yield all rows, a fragment at a time, each checked."""
        for fragment, row in enumerate(self.manifest.fragments):
            yield self._read_checked(fragment, 0, row.samples)

    def read_with(self, reader: RunReader, start: int, stop: int) -> SampleColumns:
        """Read rows `start` to `stop` of one fragment through another reader than Zarr's, checked all the same.

        `start` begins a block of 64, and `stop` ends one or the fragment.

        Raises
        ------
        UsageError
            The rows are no whole blocks of one fragment.
        DamagedError
            What is stored is not what was committed; the message names the object.
        """
        fragment, first = divmod(start, self.manifest.fragment_samples)
        last = stop - start + first
        size = self.manifest.fragments[fragment].samples if 0 <= start < len(self) else 0
        if first % BLOCK or not first < last <= size or (last % BLOCK and last != size):
            raise UsageError(f"rows {start} to {stop} are no whole blocks of one fragment")
        return self._read_checked(fragment, first, last, reader)

    def frames(self, row: int) -> npt.NDArray[Any]:
        """Return the dense frames of one row: integer counts, shape (n_bins, polarity, [y,] x)."""
        columns = self.read(row, row + 1)
        shape = (int(columns.n_bins[0]), *self.layout.sites)
        dense = np.zeros(int(np.prod(shape, dtype=object)), columns.value.dtype)
        dense[columns.index] = columns.value
        return dense.reshape(shape)

    def record(self, fragment: int) -> Record:
        """Read the record of a fragment, checked against the manifest."""
        path = self.address.record(self.manifest.plan_id, fragment)
        try:
            data = self._storage.get(path)
        except MissingObjectError as error:
            raise DamagedError(f"{path} is missing from {self._storage.url}", objects=(path,)) from error
        if sha256_hex(data) != self.manifest.fragments[fragment].record:
            raise DamagedError(
                f"{path} is damaged: its SHA-256 is not what the manifest says", objects=(path,)
            )
        return Record.from_bytes(data, path=path)

    def _runs(self, start: int, stop: int) -> Iterator[SampleColumns]:
        size = self.manifest.fragment_samples
        for fragment in range(start // size, (stop - 1) // size + 1):
            base = fragment * size
            first, last = max(start - base, 0), min(stop - base, size)
            block_start = first // BLOCK * BLOCK
            block_stop = min(-(-last // BLOCK) * BLOCK, self.manifest.fragments[fragment].samples)
            run = self._read_checked(fragment, block_start, block_stop)
            yield run.rows(first - block_start, last - block_start)

    def _read_checked(
        self, fragment: int, start: int, stop: int, reader: RunReader | None = None
    ) -> SampleColumns:
        columns = reader or self._columns  # outside: its own errors already name their object
        try:
            run, stored = columns.read(fragment, start, stop)
        except Exception as error:
            raise self._diagnose(fragment, error) from error
        except BaseException as error:
            # A panic in a Rust codec derives from BaseException only.
            if type(error).__name__ != "PanicException":
                raise
            raise self._diagnose(fragment, error) from error
        first_block = (fragment * self.manifest.fragment_samples + start) // BLOCK
        found = block_checks(run, self.layout, check_seed(*self.address), first_block)
        wrong = np.flatnonzero(found != stored) if found.shape == stored.shape else np.arange(len(found))
        if len(wrong):
            rows = (first_block + int(wrong[0])) * BLOCK
            message = f"rows {rows} to {min(rows + BLOCK, len(self)) - 1} do not match their check"
            raise self._diagnose(fragment, DamagedError(message))
        return run

    def _diagnose(self, fragment: int, error: BaseException) -> StoreError:
        """Find the object that is to blame for a failed read."""
        objects: dict[str, str] = {}
        for entry in self.record(fragment).objects:
            path = f"{self.data_path}/{entry.path}"
            try:
                if sha256_hex(self._storage.get(path)) != entry.sha256:
                    objects[path] = "damaged"
            except MissingObjectError:
                objects[path] = "missing"
        if objects:
            named = ", ".join(f"{path} ({what})" for path, what in objects.items())
            return DamagedError(f"the store {self._storage.url} is damaged: {named}", objects=tuple(objects))
        path = f"{self.data_path} (fragment {fragment})"
        if isinstance(error, DamagedError):
            return DamagedError(f"{path} is damaged: {error}", objects=(path,))
        return StoreError(f"{path} can't be read, though its objects are intact: {error}", path=path)
