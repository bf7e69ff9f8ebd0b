"""Storage in a bucket, with obstore: ``s3://`` (tested), ``gs://`` and ``az://`` (same code, untested)."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from spikestore.store.concurrency import interruptible
from spikestore.store.storage.bounds import bound_of, refuse_larger
from spikestore.store.storage.protocol import PIECE, StoredObject, path_parts
from spikestore.store_schemas.errors import (
    MissingObjectError,
    ReadOnlyStoreError,
    SpikestoreError,
    StoreError,
)

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ObjectStore, RetryConfig
    from zarr.storage import StorePath

PROBE = ".probe"
"""Path of the object that tests whether the server honours a conditional put."""

PROBE_CONTENT = b"spikestore tries to write this object twice: a server that lets it is not built into\n"

RETRIES: RetryConfig = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
"""Retries while a server is busy or unreachable; obstore's default of three minutes looks like a hang."""


class ObjectStorage:
    """Storage in a bucket, or below a prefix in it.

    Credentials come from the environment and the standard profiles; they never appear in an error or a document.

    Parameters
    ----------
    store : obstore store
        The bucket, opened at the prefix of the spikestore store.
    url : str
        URL for messages, without credentials.
    """

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store = store
        self.url = url
        # Whether the server is known to reject a second put of one name; pickled to workers with the storage.
        self._conditional = False

    @classmethod
    def from_url(cls, url: str, **options: Any) -> ObjectStorage:
        """Return the storage at a URL such as ``s3://bucket/prefix``; `options` are the options of ``obstore.store.from_url``.

        Raise `StoreError` if the URL or the credentials are not valid.
        """
        import obstore.store

        try:
            return cls(obstore.store.from_url(url, **{"retry_config": RETRIES, **options}), url)
        except (obstore.exceptions.BaseError, ValueError) as error:
            if any(name in str(error) for name in ("Missing SecretAccessKey", "Missing AccessKeyId")):
                raise StoreError(
                    f"cannot open the store {url}: an access key has two parts, and one is missing: set both "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set both aws_access_key_id and aws_secret_access_key "
                    "in the AWS profile",
                    path=url,
                ) from None
            raise StoreError(f"cannot open the store {url}: {_first_line(error)}", path=url) from error

    def get(self, path: str, *, limit: int | None = None) -> bytes:
        """Return an object's bytes; see `Storage.get`."""
        return bytes(self.buffer(path, limit=limit))

    def buffer(self, path: str, *, limit: int | None = None) -> memoryview:
        """Return obstore's buffer with an object's bytes."""
        with self._clear_errors(path, "read"):
            return interruptible(lambda: memoryview(self._answer(path, limit).bytes()))

    def pieces(self, path: str, *, limit: int | None = None) -> Iterator[memoryview]:
        """Yield an object's bytes as they arrive."""
        with self._clear_errors(path, "read"):
            for piece in self._answer(path, limit).stream(min_chunk_size=PIECE):
                yield memoryview(piece)

    def _answer(self, path: str, limit: int | None) -> GetResult:
        """Request an object. The response states the object's size; `DamagedError` is raised if the size is above the limit."""
        answer = self._store.get(path)
        refuse_larger(self.url, path, answer.meta["size"], bound_of(path) if limit is None else limit)
        return answer

    def get_range(self, path: str, start: int, stop: int) -> bytes:
        """Return bytes `start` to `stop` (exclusive) of an object; fewer bytes if the object ends before `stop`."""
        import obstore

        if stop <= start:
            return b""
        with self._clear_errors(path, "read"):
            try:
                return interruptible(lambda: bytes(self._store.get_range(path, start=start, end=stop)))
            except (obstore.exceptions.BaseError, OSError):
                # Servers differ about ranges beyond the end of an object: clip the range to its size.
                size = int(self._store.head(path)["size"])
                if stop <= size:
                    raise
                return bytes(self._store.get_range(path, start=start, end=size)) if start < size else b""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists; return whether it was written."""
        import obstore

        with self._clear_errors(path, "write"):
            self._refuse_unconditional()
            try:
                # One put, never multipart: not every server has conditional multipart uploads.
                self._store.put(path, data, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Overwrite a damaged object."""
        with self._clear_errors(path, "write"):
            self._store.put(path, data, use_multipart=False)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below the folder `prefix`, sorted by path."""
        with self._clear_errors(prefix, "list"):
            objects = interruptible(
                lambda: [
                    StoredObject(entry["path"], entry["size"], entry["last_modified"])
                    for batch in self._store.list(prefix)
                    for entry in batch
                ]
            )
        yield from sorted(objects)

    def folders(self, prefix: str) -> builtins.list[str]:  # the method `list` hides the type
        """Return the names of the folders directly below a folder, sorted."""
        with self._clear_errors(prefix, "list"):
            result = interruptible(lambda: self._store.list_with_delimiter(prefix))
            return sorted(path.rstrip("/").rpartition("/")[2] for path in result["common_prefixes"])

    def delete(self, path: str) -> None:
        """Remove an object if it exists."""
        with self._clear_errors(path, "delete"), contextlib.suppress(FileNotFoundError):
            self._store.delete(path)

    def zarr_store(self, prefix: str) -> StorePath:
        """Return the folder `prefix` as a read-only path for Zarr."""
        from zarr.storage import ObjectStore as ZarrObjectStore
        from zarr.storage import StorePath

        path_parts(prefix)
        return StorePath(ZarrObjectStore(self._store, read_only=True), prefix)

    def free_bytes(self) -> int | None:
        """Return None: a bucket has no limit."""
        return None

    def _refuse_unconditional(self) -> None:
        """Raise `StoreError` if the server ignores ``If-None-Match``; called before the first `put_if_absent` of a process.

        The test writes the object `PROBE` with ``If-None-Match``, at most twice. If `PROBE` exists, the server must refuse the write;
        so the first write is refused if `PROBE` exists already, otherwise the second. The result is not stored, because the store may be copied to another server.
        """
        import obstore

        if self._conditional:
            return
        for _ in range(2):
            try:
                self._store.put(PROBE, PROBE_CONTENT, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                self._conditional = True
                return
        raise StoreError(
            f"the server of {self.url} ignores If-None-Match: it let spikestore create {PROBE} twice. Two builders would overwrite each "
            "other's objects unnoticed, so spikestore treats the store as read-only on this server: use another server or a "
            "folder",
            path=PROBE,
        )

    @contextlib.contextmanager
    def _clear_errors(self, path: str, verb: str) -> Iterator[None]:
        import obstore

        path_parts(path)
        try:
            yield
        except SpikestoreError:
            raise  # StoreError is an OSError too
        except FileNotFoundError as error:
            raise MissingObjectError(f"{path} is not in the store {self.url}", path=path) from error
        except (obstore.exceptions.BaseError, OSError) as error:
            if "NoSuchBucket" in str(error):
                bucket = self.url.partition("://")[2].partition("/")[0]
                raise StoreError(
                    f"no bucket {bucket}: create it, or check the URL {self.url} and AWS_ENDPOINT_URL",
                    path=path,
                ) from None
            for marks, cause in _CAUSES.items():
                if any(mark in str(error) for mark in marks):
                    raise StoreError(f"cannot {verb} {path} in {self.url}: {cause}", path=path) from None
            if _is_denied(error):
                if verb in {"write", "delete"}:
                    message = f"cannot write to the store {self.url}: permission denied, or {_CREDENTIALS}"
                    raise ReadOnlyStoreError(message, path=path) from None
                raise StoreError(
                    f"cannot read the store {self.url}: permission denied, or {_CREDENTIALS}",
                    path=path,
                ) from None
            if "builder error" in str(error) and "http://" in str(error):
                raise StoreError(
                    f"the server of {self.url} has an http:// address, which is not encrypted: use https://, or set "
                    "AWS_ALLOW_HTTP=true",
                    path=path,
                ) from None
            if _is_unreachable(error):
                raise StoreError(
                    f"cannot reach the store {self.url} to {verb} {path}: {_first_line(error)}; check the address and "
                    "the network, and run the command again",
                    path=path,
                ) from None
            raise StoreError(
                f"cannot {verb} {path} in {self.url}: {_first_line(error)}", path=path
            ) from error


_CAUSES = {
    # Without keys, obstore asks the metadata service of the machine, which exists only in a cloud.
    ("/latest/api/token", "/latest/meta-data/"): (
        "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a bucket that "
        "everybody may read, set AWS_SKIP_SIGNATURE=true"
    ),
    ("ExpiredToken",): "the credentials for this bucket have expired: get new ones and run the command again",
    ("incorrectly configured region", "is wrong; expecting"): (
        "the bucket is in another region: set AWS_REGION to its region"
    ),
    ("RequestTimeTooSkewed",): "the clock of this machine is wrong: set it and run the command again",
    ("503 Service Unavailable",): "the server is busy or restarting: wait, then run the command again",
    (
        "507 Insufficient Storage",
    ): "the server has no space left: free some space there and run the command again",
}
"""For texts in obstore's errors, the causes that these texts indicate and a user can remove."""

_CREDENTIALS = "no valid credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"


def _is_denied(error: Exception) -> bool:
    import obstore

    # Only some operations have an error class for this; lists and deletions do not.
    classes = (obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)
    return isinstance(error, classes) or any(mark in str(error) for mark in ("AccessDenied", "403 Forbidden"))


def _is_unreachable(error: Exception) -> bool:
    return any(
        mark in str(error) for mark in ("error sending request", "HttpError { kind: Connect", "dns error")
    )


def _first_line(error: Exception) -> str:
    # obstore's errors have many lines, with headers that do not belong in a log.
    return str(error).strip().partition("\n")[0][:300]
