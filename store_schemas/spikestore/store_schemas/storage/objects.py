"""Storage in a bucket, through obstore: ``s3://`` (tested), ``gs://`` and ``az://`` (the same code, untested)."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spikestore.store_schemas.errors import MissingObjectError, ReadOnlyStoreError, StoreError
from spikestore.store_schemas.storage.storage import StoredObject, path_parts

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from zarr.storage import StorePath


class ObjectStorage:
    """A bucket, or a prefix in one, as storage.

    Credentials come from the environment and the standard profiles, as obstore reads them; they never appear in
    an error or a document.

    Parameters
    ----------
    store : obstore store
        The bucket, with the prefix of the root already applied.
    url : str
        How to call it, without credentials.
    """

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store = store
        self.url = url

    @classmethod
    def from_url(cls, url: str, **options: Any) -> ObjectStorage:
        """Open ``s3://bucket/prefix`` and the like; `options` go to ``obstore.store.from_url``."""
        import obstore.store

        try:
            return cls(obstore.store.from_url(url, **options), url)
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise StoreError(f"can't open the store {url}: {_first_line(error)}", path=url) from error

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        with self._clear_errors(path, "read"):
            return bytes(self._store.get(path).bytes())

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return some of an object's bytes."""
        import obstore

        if stop <= start:
            return b""
        with self._clear_errors(path, "read"):
            try:
                return bytes(self._store.get_range(path, start=start, end=stop))
            except (obstore.exceptions.BaseError, OSError):
                # Servers and versions disagree about ranges that go beyond the end: ask for what there is.
                size = int(self._store.head(path)["size"])
                if stop <= size:
                    raise
                return bytes(self._store.get_range(path, start=start, end=size)) if start < size else b""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object unless there is one; tell whether it was written."""
        import obstore

        with self._clear_errors(path, "write"):
            try:
                # One put, never multipart: a multipart upload can't be conditional everywhere.
                self._store.put(path, data, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below a folder, sorted by path."""
        with self._clear_errors(prefix, "list"):
            found = [
                StoredObject(entry["path"], entry["size"], entry["last_modified"])
                for batch in self._store.list(prefix)
                for entry in batch
            ]
        yield from sorted(found)

    def folders(self, prefix: str) -> builtins.list[str]:  # `list` is a verb here
        """Return the names of the folders directly below a folder, sorted."""
        with self._clear_errors(prefix, "list"):
            result = self._store.list_with_delimiter(prefix)
            return sorted(path.rstrip("/").rpartition("/")[2] for path in result["common_prefixes"])

    def delete(self, path: str) -> None:
        """Remove an object if it is there."""
        with self._clear_errors(path, "delete"), contextlib.suppress(FileNotFoundError):
            self._store.delete(path)

    def zarr_store(self, prefix: str) -> StorePath:
        """Return a prefix as a place in a read-only Zarr store."""
        from zarr.storage import ObjectStore as ZarrObjectStore
        from zarr.storage import StorePath

        path_parts(prefix)
        return StorePath(ZarrObjectStore(self._store, read_only=True), prefix)

    def free_bytes(self) -> int | None:
        """Return None: a bucket has no end."""
        return None

    @contextlib.contextmanager
    def _clear_errors(self, path: str, verb: str) -> Iterator[None]:
        import obstore

        path_parts(path)
        try:
            yield
        except FileNotFoundError as error:
            raise MissingObjectError(f"{path} is not in the store {self.url}", path=path) from error
        except (obstore.exceptions.BaseError, OSError) as error:
            if _is_denied(error):
                if verb in {"write", "delete"}:
                    message = (
                        f"the store {self.url} can't be written to: permission denied, or no credentials"
                    )
                    raise ReadOnlyStoreError(message, path=path) from None
                raise StoreError(
                    f"the store {self.url} can't be read: permission denied, or no credentials in the environment",
                    path=path,
                ) from None
            raise StoreError(f"can't {verb} {path} in {self.url}: {_first_line(error)}", path=path) from error


def _is_denied(error: Exception) -> bool:
    import obstore

    # Only some operations turn a refusal into an error class of its own; lists and deletions do not.
    classes = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
    return isinstance(error, classes) or any(mark in str(error) for mark in ("AccessDenied", "403 Forbidden"))


def _first_line(error: Exception) -> str:
    # obstore's errors go on for pages, with headers that need not be in anybody's log.
    return str(error).strip().partition("\n")[0][:300]
