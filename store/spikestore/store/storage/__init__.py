"""Storage of a store's objects, in a bucket or in a folder. Other modules read and write objects only through this package."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from spikestore.store.storage.folder import FolderStorage
from spikestore.store.storage.protocol import Storage, StoredObject
from spikestore.store_schemas.errors import UsageError

_S3 = {"s3", "s3a"}
_BUCKETS = {*_S3, "gs", "az", "abfs", "abfss"}
_ONE_SLASH = re.compile(rf"({'|'.join(sorted({'file', *_BUCKETS}))}):", re.IGNORECASE)


def open_storage(location: str | Path) -> Storage:
    """Return the storage at a path or URL.

    Parameters
    ----------
    location : str or Path
        A folder, ``file://…``, or ``s3://bucket/prefix`` (also ``s3a://``; ``gs://``, ``az://``, ``abfs://`` and ``abfss://`` are untested).

    Raises
    ------
    UsageError
        The location is empty, has an unknown scheme or too few slashes after it, names no folder or bucket, or contains
        credentials; the home folder in it is unknown; or the AWS profile has no keys that can be used (`profile_options`).
    StoreError
        The library for buckets does not accept the URL or the credentials.
    """
    if not str(location).strip():
        raise UsageError("the store's location is empty: pass a folder or a URL (is a variable not set?)")
    if isinstance(location, Path) or "://" not in location:
        if isinstance(location, str) and _ONE_SLASH.match(location):  # s3:/team would be a folder named "s3:"
            raise UsageError(
                f"{location}: a URL has two slashes after the colon, such as s3://team/features or file:///shared/features; to use a folder "
                f"with this name, pass ./{location}",
                url=location,
            )
        return FolderStorage(location)
    parts = urlsplit(location)
    if parts.scheme == "file":
        return FolderStorage(_folder_of(location, parts))
    if parts.scheme in _BUCKETS:
        from spikestore.store.storage.aws_profiles import profile_options
        from spikestore.store.storage.objects import ObjectStorage

        _refuse_credentials(parts)
        if not parts.netloc:
            raise UsageError(
                f"{location} has no bucket: pass a URL such as {parts.scheme}://team/features", url=location
            )
        return ObjectStorage.from_url(_url_of(parts), **(profile_options() if parts.scheme in _S3 else {}))
    raise UsageError(
        f"{location}: a store must be a folder, file://…, s3://…, gs://… or az://…", url=location
    )


def is_same_store(first: Storage, second: Storage) -> bool:
    """Return whether two storages are the same folder or the same prefix of a bucket; links to a folder are followed."""
    if isinstance(first, FolderStorage) and isinstance(second, FolderStorage):
        return first.root.resolve() == second.root.resolve()
    return first.url == second.url


def _url_of(parts: SplitResult) -> str:
    """Return the normal form of a URL: ``s3://team/features`` for ``S3://team/features/`` and ``s3a://team/x/../features``."""
    scheme = "s3" if parts.scheme in _S3 else parts.scheme  # urlsplit has made it lower case
    path = re.sub("%2e", ".", parts.path, flags=re.IGNORECASE)
    if {".", ".."} & set(path.split("/")):  # obstore resolves them
        path = posixpath.normpath(path)
    return f"{scheme}://{parts.netloc}{path.removesuffix('/')}"


def _folder_of(location: str, parts: SplitResult) -> str:
    """Return the path in a ``file://`` URL; raise `UsageError` unless it is absolute.

    In ``file://store``, ``store`` is a host, and the path is empty. An empty path would mean the current folder.
    """
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise UsageError(
            f"{location}: a file URL must have an absolute path, such as file:///shared/features, "
            "with '?' and '#' percent-encoded; to pass a relative path, omit file://",
            url=location,
        )
    return unquote(parts.path)


def _refuse_credentials(parts: SplitResult) -> None:
    """Raise `UsageError` for a URL with a password, a key or a signature: URLs end up in logs and histories."""
    user, at, host = parts.netloc.rpartition("@")
    container = parts.scheme.startswith("abfs") and ":" not in user  # abfss://container@account…
    if (at and not container) or parts.query or parts.fragment:
        raise UsageError(
            f"{parts.scheme}://{host}{parts.path}: a store's URL must not contain a user, a password or a query; set "
            "credentials in the environment (for s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE …)"
        )


__all__ = ["FolderStorage", "Storage", "StoredObject", "is_same_store", "open_storage"]
