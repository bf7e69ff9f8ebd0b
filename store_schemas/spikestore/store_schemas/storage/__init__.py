"""The one place that touches storage: objects in a bucket, or files in a folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from spikestore.store_schemas.errors import UsageError
from spikestore.store_schemas.storage.folder import FolderStorage
from spikestore.store_schemas.storage.storage import Storage, StoredObject

_BUCKETS = {"s3", "s3a", "gs", "az", "abfs", "abfss"}


def open_storage(location: str | Path) -> Storage:
    """Return the storage at a path or URL.

    Parameters
    ----------
    location : str or Path
        A folder, ``file://…``, or ``s3://bucket/prefix`` (also ``gs://``, ``az://``, untested).

    Raises
    ------
    UsageError
        The scheme is not known, or the name is empty.
    """
    if not str(location).strip():
        raise UsageError("the store's name is empty: give a folder or a URL (is a variable not set?)")
    if isinstance(location, Path) or "://" not in location:
        return FolderStorage(location)
    parts = urlsplit(location)
    if parts.scheme == "file":
        return FolderStorage(unquote(parts.path))
    if parts.scheme in _BUCKETS:
        from spikestore.store_schemas.storage.objects import ObjectStorage

        return ObjectStorage.from_url(location)
    raise UsageError(f"{location}: a store is a folder, file://…, s3://…, gs://… or az://…", url=location)


__all__ = ["FolderStorage", "Storage", "StoredObject", "open_storage"]
