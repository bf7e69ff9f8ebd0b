"""The build that a copy writes. Objects that the destination has already are kept, and compared with the objects of the source."""

from __future__ import annotations

from collections.abc import Mapping

from spikestore.store.storage import FolderStorage, Storage
from spikestore.store.storage.staging import Staging
from spikestore.store_schemas.errors import ConflictError, StorageFullError, StoreError
from spikestore.store_schemas.specs.canonical import sha256_hex
from spikestore.store_schemas.wording import plural


class CopyDestination:
    """Objects of one build in the destination. If the destination has other bytes at the path of an object, a `ConflictError` is raised.

    Parameters
    ----------
    storage : Storage
        Storage of the destination.
    build : str
        Path of the build's folder.
    source_url : str
        Location of the source, for messages.
    """

    def __init__(self, storage: Storage, build: str, source_url: str) -> None:
        self._storage = storage
        self._build = build
        self._source_url = source_url
        self._present = self._sizes()
        self.folder = storage if isinstance(storage, FolderStorage) else None
        """The storage if it is a folder, else None. Objects of a folder can be read again without a transfer."""

    def __contains__(self, path: str) -> bool:
        """Return whether the destination had an object before the copy."""
        return path in self._present

    def bytes_present(self, expected: Mapping[str, int]) -> int:
        """Return how many of the expected bytes the destination had before the copy.

        Parameters
        ----------
        expected : mapping of str to int
            Sizes in bytes by path.
        """
        return sum(size for path, size in expected.items() if self._present.get(path) == size)

    def refuse_full(self, label: str, needed: int) -> None:
        """Raise `StorageFullError` if the destination has less than `needed` free bytes."""
        free = self._storage.free_bytes()
        if free is not None and needed > free:
            url = self._storage.url
            raise StorageFullError(
                f"{label} needs {needed:,} more bytes, but {url} has only {free:,} left: free some space and run the "
                "command again",
                path=url,
                needed=needed,
                free=free,
            )

    def read(self, path: str, sha256: str, size: int | None = None) -> bytes:
        """Return an object that the destination had before the copy; raise `ConflictError` if the object has another hash than `sha256`, or another size than `size` (None: any size)."""
        data = self._storage.get(path) if size in {None, self._present[path]} else b""
        if sha256_hex(data) != sha256:
            raise self._conflict(path)
        return data

    def refuse_other_size(self, path: str, size: int) -> None:
        """Raise `ConflictError` if the destination had an object of another size at this path before the copy."""
        if self._present[path] != size:
            raise self._conflict(path)

    def put(self, path: str, data: bytes) -> bool:
        """Put an object unless the destination had this object before the copy. Return whether the object was put."""
        if path in self._present:
            self.refuse_other_size(path, len(data))
            return False
        if not self._storage.put_if_absent(path, data):
            self._refuse_other(path, sha256_hex(data))
        return True

    def publish(self, staging: Staging, sha256: Mapping[str, str]) -> None:
        """Move staged objects to their paths; `sha256` has the hash of each object, by path. If a path has another object, raise `ConflictError`."""
        for path in staging.publish():
            self._refuse_other(path, sha256[path])

    def refuse_missing(self, expected: Mapping[str, int]) -> None:
        """Raise `StoreError` unless all expected objects exist now, with their sizes in bytes."""
        sizes = self._sizes()
        wrong = [path for path, size in expected.items() if sizes.get(path) != size]
        if wrong:
            raise StoreError(
                f"{wrong[0]} disappeared from {self._storage.url} after it was written ({plural(len(wrong), 'such object')}). Is "
                "another process deleting objects there? Run the command again",
                path=wrong[0],
            )

    def _sizes(self) -> dict[str, int]:
        return {entry.path: entry.size for entry in self._storage.list(self._build)}

    def _refuse_other(self, path: str, sha256: str) -> None:
        if sha256_hex(self._storage.get(path)) != sha256:
            raise self._conflict(path)  # equal bytes from another copy or build are accepted

    def _conflict(self, path: str) -> ConflictError:
        return ConflictError(
            f"{path} in {self._storage.url} differs from {self._source_url}: another process is building this set, or the "
            f"object is damaged. Wait for the build, or delete {self._build} in the destination (no manifest uses it)",
            path=path,
        )
