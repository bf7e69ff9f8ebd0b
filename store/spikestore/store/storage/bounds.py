"""How large an object can be: what claims more is damaged, or not meant well, and is not read."""

from __future__ import annotations

from spikestore.store_schemas.errors import DamagedError

LARGEST_DOCUMENT = 256 * 2**20
"""Bytes of the largest JSON document that is read: manifests of 10^8 samples, or of 60,000 source files, are below 10^7."""

LARGEST_OBJECT = 5 * 2**30
"""Bytes of the largest object: more can't be put into a bucket with one request."""


def bound_of(path: str) -> int:
    """Return how many bytes an object of this name can have: what ends in ``.json`` is a document."""
    return LARGEST_DOCUMENT if path.endswith(".json") else LARGEST_OBJECT


def refuse_larger(url: str, path: str, size: int, limit: int) -> None:
    """Raise `DamagedError` if an object has more than `limit` bytes; to be called before it is read."""
    if size > limit:
        raise DamagedError(
            f"{path} in {url} has {size:,} bytes, it can have {limit:,} at most: it was not read",
            path=path,
            objects=(path,),
        )
