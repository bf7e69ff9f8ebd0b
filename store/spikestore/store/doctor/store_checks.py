"""Checks of a store: whether it can be reached, read and written, and its free space."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

from spikestore.store.doctor.findings import Finding
from spikestore.store.storage import FolderStorage
from spikestore.store.store import Store
from spikestore.store_schemas.errors import SpikestoreError
from spikestore.store_schemas.wording import plural, size_text

LEAST_FREE = 1 << 30
"""Free space in bytes below which a finding is a problem."""


def store_checks(location: str) -> Iterator[Finding]:
    """Yield findings on the store at `location`: a folder, or a URL.

    A store that does not exist is not created. In a store that exists, an object with a random name is written, read and
    removed.
    """
    try:
        store = Store(location)
    except SpikestoreError as error:
        yield Finding("location", "problem", str(error), "change --store or SPIKESTORE_STORE")
        return
    storage = store.storage
    if isinstance(storage, FolderStorage) and not storage.root.exists():
        yield _future_folder(storage)
        yield from _free_space(store)
        return
    try:
        count = len(store.names())
    except SpikestoreError as error:
        yield Finding("read", "problem", str(error), "check the address, the network and your permissions")
        return
    yield Finding("read", "ok", f"{storage.url}: {plural(count, 'name')} of feature sets")
    yield _write(store)
    yield from _free_space(store)


def _future_folder(storage: FolderStorage) -> Finding:
    """Return a finding on whether the folder of a store can be created."""
    parent = next(path for path in storage.root.parents if path.exists())
    if os.access(parent, os.W_OK | os.X_OK):
        return Finding("location", "absent", f"no store at {storage.url} yet: the first build creates it")
    return Finding(
        "location",
        "problem",
        f"no store at {storage.url}, and {parent} is not writable",
        "choose another folder with --store or SPIKESTORE_STORE",
    )


def _write(store: Store) -> Finding:
    """Write, read and remove an object, and return a finding."""
    path, data = f".doctor-{uuid.uuid4().hex}", b"spikestore doctor\n"
    try:
        store.storage.put_if_absent(path, data)
        try:
            same = store.storage.get(path) == data
        finally:
            store.storage.delete(path)
    except SpikestoreError as error:
        return Finding(
            "write", "problem", str(error), "a store that you only read from needs no write access"
        )
    if not same:
        return Finding(
            "write", "problem", "the store returned other bytes than were written", "do not use this store"
        )
    return Finding("write", "ok", "an object was written, read and removed")


def _free_space(store: Store) -> Iterator[Finding]:
    free = store.storage.free_bytes()
    if free is None:
        return
    if free < LEAST_FREE:
        yield Finding(
            "free space",
            "problem",
            size_text(free),
            "remove names of sets with `spikestore rm`, then remove the sets with `spikestore gc --unreferenced`",
        )
    else:
        yield Finding("free space", "ok", size_text(free))
