"""Size limits of stored objects; a larger object is damaged or malicious and is not read."""

from __future__ import annotations

from spikestore.store_schemas.errors import DamagedError

LARGEST_DOCUMENT = 256 * 2**20
"""Limit of a JSON document, in bytes; manifests of 10^8 samples or 60,000 source files have fewer than 10^7."""

LARGEST_OBJECT = 5 * 2**30
"""Limit of any object, in bytes: the largest object that a bucket accepts in one request."""


def bound_of(path: str) -> int:
    """Return the size limit of the object at `path`, in bytes. Documents (``.json``) have a smaller limit than other objects."""
    return LARGEST_DOCUMENT if path.endswith(".json") else LARGEST_OBJECT


def refuse_larger(url: str, path: str, size: int, limit: int) -> None:
    """Raise `DamagedError` if an object has more than `limit` bytes; call this before reading it."""
    if size > limit:
        raise DamagedError(
            f"{path} in {url} has {size:,} bytes, more than the limit of {limit:,}; it was not read",
            path=path,
            objects=(path,),
        )
