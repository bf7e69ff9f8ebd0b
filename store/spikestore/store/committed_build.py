"""The stored objects of a committed build, compared with what its manifest promises."""

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
    """Documents and objects of a committed build; an `ObjectSource` for whoever decodes its columns."""

    storage: Storage
    address: Address
    manifest: Manifest

    @property
    def data_path(self) -> str:
        """Path of the Zarr group in the storage."""
        return self.address.data(self.manifest.plan_id)

    def root(self) -> dict[str, Any]:
        """Return ``data.zarr/zarr.json``, which says how every array is encoded; checked against the manifest.

        Raises
        ------
        DamagedError
            It is missing, or not what the manifest says.
        MissingObjectError
            The set was removed.
        """
        path = f"{self.data_path}/zarr.json"
        try:
            data = self.storage.get(path)
        except MissingObjectError as error:
            gone = self._removed()
            if gone is not None:
                raise gone from error
            raise self.missing(path) from error
        return root_of(self.address, self.manifest, data)

    def record(self, fragment: int) -> Record:
        """Read the record of a fragment, checked against the manifest."""
        return record_of(self.address, self.manifest, fragment, self.record_bytes(fragment))

    def record_bytes(self, fragment: int) -> bytes:
        """Return the bytes of a fragment's record, which have the SHA-256 that the manifest says."""
        path = self.address.record(self.manifest.plan_id, fragment)
        try:
            data = self.storage.get(path)
        except MissingObjectError as error:
            raise self.missing(path) from error
        if sha256_hex(data) != self.manifest.fragments[fragment].record:
            raise self._not_promised(path)
        return data

    def missing(self, path: str) -> DamagedError:
        """Return the error that an object is missing."""
        return DamagedError(f"{path} is missing from {self.storage.url}", objects=(path,), why="missing")

    def _not_promised(self, path: str) -> DamagedError:
        why = "its SHA-256 is not what the manifest says"
        return DamagedError(f"{path} is damaged: {why}", objects=(path,), why=why)

    def diagnose(self, fragment: int, error: BaseException) -> StoreError:
        """Find the object that is to blame for a failed read."""
        gone = self._removed()
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
            named = ", ".join(f"{path} ({what})" for path, what in objects.items())
            return DamagedError(f"the store {self.storage.url} is damaged: {named}", objects=tuple(objects))
        if isinstance(error, DamagedError):
            return DamagedError(f"{path} is damaged: {error}", objects=(path,))
        return StoreError(f"{path} can't be read, though its objects are intact: {error}", path=path)

    def _objects_of(
        self, fragment: int, objects: dict[str, str], why: BaseException
    ) -> Iterator[tuple[str, str | None]]:
        """Yield the objects of a fragment with their hashes; without them where the record itself is damaged."""
        try:
            record = self.record(fragment)
        except DamagedError as error:
            record_path = self.address.record(self.manifest.plan_id, fragment)
            objects[record_path] = "missing" if isinstance(error.__cause__, MissingObjectError) else "damaged"
            # Its values can't be read either, or nobody would ask: damaged, but for those that are missing.
            objects[f"{self.data_path} (fragment {fragment})"] = f"can't be read: {why}"
            for path in self.manifest.layout.fragment_objects(
                fragment, self.manifest.fragments[fragment].nnz
            ):
                yield f"{self.data_path}/{path}", None
            return
        for entry in record.objects:
            yield f"{self.data_path}/{entry.path}", entry.sha256

    def _removed(self) -> StoreError | None:
        """Return the error of a set that was removed, or removed and built again, after it was opened."""
        what = "was removed from"
        try:
            manifest = manifest_of(self.address, self.storage.get(self.address.manifest))
            if manifest.plan == self.manifest.plan:
                return None
            what = "was built again, as another build, in"
        except MissingObjectError:
            pass
        except StoreError:  # damaged: that explains nothing
            return None
        return MissingObjectError(
            f"{self.address.folder} {what} {self.storage.url} while it was read: what was read before is right; build or "
            "copy it again, and open it again",
            path=self.address.manifest,
        )

    def get(self, path: str) -> bytes:
        """Return an object of the Zarr group."""
        return self.storage.get(f"{self.data_path}/{path}")

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of its bytes."""
        return self.storage.get_range(f"{self.data_path}/{path}", start, stop)

    def sizes(self, fragment: int) -> Mapping[str, int]:
        """Return the sizes that a record promises; none if it is damaged."""
        try:
            return {entry.path: entry.size for entry in self.record(fragment).objects}
        except DamagedError:  # the values have their check all the same
            return {}

    def zarr_store(self) -> StorePath:
        """Return the Zarr group as a place in a read-only Zarr store."""
        return self.storage.zarr_store(self.data_path)
