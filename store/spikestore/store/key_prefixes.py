"""Feature sets by the beginnings of their keys, as ``ls`` shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from spikestore.store.storage import Storage
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.errors import UnknownNameError

_KEY_PREFIX = re.compile(r"^([0-9a-f]{4,64})(?:/([0-9a-f]{4,64}))?$")


def all_addresses(storage: Storage) -> Iterator[Address]:
    """Yield the addresses of all folders below ``features/``, committed or not, sorted."""
    for transform_key in storage.folders("features"):
        for source_key in storage.folders(f"features/{transform_key}"):
            yield Address(transform_key, source_key)


def addresses_by_prefix(storage: Storage, text: str) -> list[Address] | None:
    """Return the addresses that ``TRANSFORM/SOURCE``, or the beginning of one of the two keys, can mean.

    Returns
    -------
    list of Address or None
        Committed or not; None if `text` is no beginning of a key (4 to 64 hexadecimal digits).
    """
    match = _KEY_PREFIX.match(text)
    if match is None:
        return None
    first, second = match[1], match[2]
    if second is None:
        return [one for one in all_addresses(storage) if any(key.startswith(first) for key in one)]
    if len(first) == len(second) == 64:
        return [Address(first, second)]
    return [
        Address(transform_key, source_key)
        for transform_key in storage.folders("features")
        if transform_key.startswith(first)
        for source_key in storage.folders(f"features/{transform_key}")
        if source_key.startswith(second)
    ]


def only_address(storage: Storage, text: str, found: list[Address]) -> Address:
    """Return the one address that was found for the beginning of a key.

    Raises
    ------
    UnknownNameError
        None was found, or several.
    """
    if len(found) == 1:
        return found[0]
    several = ", ".join(f"{transform_key[:12]}/{source_key[:12]}" for transform_key, source_key in found)
    message = f"{text} could be any of {several}" if found else f"no key in {storage.url} begins with {text}"
    raise UnknownNameError(message, name=text)
