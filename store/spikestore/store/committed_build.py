"""Access to the stored objects of a committed build, checked against its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikestore.store.storage import Storage
from spikestore.store.trust.documents import manifest_of, record_of, root_of
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.errors import DamagedError, MissingObjectError, StoreError
from spikestore.store_schemas.specs.canonical import sha256_hex

if TYPE_CHECKING:
    from zarr.storage import StorePath


@dataclass(frozen=True)
class CommittedBuild:
    """Documents and objects of a committed build; an `ObjectSource` for column readers."""

    storage: Storage
    address: Address
    manifest: Manifest

    @property
    def data_path(self) -> str:
        """Path of the set's Zarr group, relative to the storage."""
        return self.address.data(self.manifest.plan_id)

    def root(self) -> dict[str, Any]:
        """Return ``data.zarr/zarr.json``, the metadata of all arrays, checked against the manifest.

        Raises
        ------
        DamagedError
            The document is missing from a set that still exists, or differs from the manifest.
        MissingObjectError
            The set was removed, or replaced by another build.
        """
        path = f"{self.data_path}/zarr.json"
        try:
            data = self.storage.get(path)
        except MissingObjectError as error:
            gone = self.removed()
            if gone is not None:
                raise gone from error
            raise self.missing(path) from error
        return root_of(self.address, self.manifest, data)

    def record(self, fragment: int) -> Record:
        """Return the record of a fragment, checked against the manifest; raise `DamagedError` if it is missing or contradicts the manifest."""
        return record_of(self.address, self.manifest, fragment, self.record_bytes(fragment))

    def record_bytes(self, fragment: int) -> bytes:
        """Return the bytes of a fragment's record, after comparing their SHA-256 with the manifest. Raise `DamagedError` if the record is missing, or its hash differs."""
        path = self.address.record(self.manifest.plan_id, fragment)
        try:
            data = self.storage.get(path)
        except MissingObjectError as error:
            raise self.missing(path) from error
        if sha256_hex(data) != self.manifest.fragments[fragment].record:
            raise self._not_promised(path)
        return data

    def missing(self, path: str) -> DamagedError:
        """Return the error for a missing object."""
        return DamagedError(f"{path} is missing from {self.storage.url}", objects=(path,), why="missing")

    def _not_promised(self, path: str) -> DamagedError:
        why = "its SHA-256 differs from the manifest"
        return DamagedError(f"{path} is damaged: {why}", objects=(path,), why=why)

    def diagnose(self, fragment: int, error: BaseException) -> StoreError:
        """Return the error for a failed read; it names the objects that caused the failure."""
        gone = self.removed()
        if gone is not None:
            return gone
        objects: dict[str, str] = {}
        for path, sha256 in self._objects_of(fragment, objects, error):
            try:
                data = self.storage.get(path)
            except MissingObjectError:
                objects[path] = "missing"
            except DamagedError as broken:
                objects[path] = broken.message
            else:
                if sha256 is not None and sha256_hex(data) != sha256:
                    objects[path] = "damaged"
        path = f"{self.data_path} (fragment {fragment})"
        if objects:
            named = ", ".join(f"{path} ({problem})" for path, problem in objects.items())
            return DamagedError(
                f"the store {self.storage.url} is damaged: {named}. To restore it, run spikestore repair (spikestore repair --help "
                "lists where correct bytes can come from)",
                objects=tuple(objects),
            )
        if isinstance(error, DamagedError):
            return DamagedError(f"{path} is damaged: {error}", objects=(path,))
        why = str(error) or type(error).__name__  # a MemoryError has no text
        problem = f"cannot read {path} ({why}), although its stored bytes are not damaged: free some memory, or report a bug"
        return StoreError(problem, path=path)

    def _objects_of(
        self, fragment: int, objects: dict[str, str], why: BaseException
    ) -> Iterator[tuple[str, str | None]]:
        """Yield the path and the hash of each object of a fragment.

        If the record is damaged, each hash is None, and two entries are added to `objects` (texts about damaged objects, by path): one for
        the record, and one for the values of the fragment, which cannot be read because of `why`.
        """
        try:
            record = self.record(fragment)
        except DamagedError as error:
            record_path = self.address.record(self.manifest.plan_id, fragment)
            objects[record_path] = "missing" if isinstance(error.__cause__, MissingObjectError) else "damaged"
            # Reading the values failed too, otherwise this method is not called.
            objects[f"{self.data_path} (fragment {fragment})"] = f"cannot be read: {why}"
            for path in self.manifest.layout.fragment_objects(
                fragment, self.manifest.fragments[fragment].nnz
            ):
                yield f"{self.data_path}/{path}", None
            return
        for entry in record.objects:
            yield f"{self.data_path}/{entry.path}", entry.sha256

    def removed(self) -> StoreError | None:
        """Return the error for a set that was removed or replaced after it was opened, else None."""
        event, advice = "was removed from", "Build or copy the set again, and open it again"
        try:
            manifest = manifest_of(self.address, self.storage.get(self.address.manifest))
            if manifest.plan == self.manifest.plan:
                return None
            event, advice = "was replaced by another build in", "Open the set again"
        except MissingObjectError:
            pass
        except StoreError:  # a damaged manifest does not show a removal
            return None
        return MissingObjectError(
            f"{self.address.folder} {event} {self.storage.url} while it was read; earlier reads are valid. {advice}",
            path=self.address.manifest,
        )

    def get(self, path: str) -> bytes:
        """Return an object of the Zarr group."""
        return self.storage.get(f"{self.data_path}/{path}")

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` (exclusive) of an object of the Zarr group."""
        return self.storage.get_range(f"{self.data_path}/{path}", start, stop)

    def sizes(self, fragment: int) -> Mapping[str, int]:
        """Return the sizes of objects from the record; an empty mapping if the record is damaged."""
        try:
            return {entry.path: entry.size for entry in self.record(fragment).objects}
        except DamagedError:  # ``check`` still covers the values
            return {}

    def zarr_store(self) -> StorePath:
        """Return the Zarr group as a path in a read-only Zarr store."""
        return self.storage.zarr_store(self.data_path)
