"""Repair of documents: the plan, the zarr.json documents and the manifest.

The root zarr.json is taken from the plan, computed from the manifest, or copied from another store. The other zarr.json documents
are computed from the root zarr.json. The plan is computed from the manifest and the root zarr.json together. A manifest can only be
copied from another store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from spikestore.store.feature_set import FeatureSet
from spikestore.store.storage import Storage
from spikestore.store.trust.documents import committed_plan, manifest_of, plan_of, root_of
from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.zarr_metadata import (
    CHUNK_VALUES,
    FORMER_CHUNK_VALUES,
    documents,
    root_document,
)
from spikestore.store_schemas.errors import (
    ConflictError,
    DamagedError,
    MissingObjectError,
    NewerFormatError,
    StoreError,
)
from spikestore.store_schemas.specs.canonical import canonical_json, sha256_hex


class Repaired(NamedTuple):
    """One repaired object."""

    path: str
    """Path of the object, below the store's root."""
    how: str
    """Origin of the bytes that replaced the damaged bytes."""


def put_right(storage: Storage, path: str, data: bytes, sha256: str) -> bool:
    """Store the bytes with this SHA-256 unless they are stored already; return whether they were written.

    Raises
    ------
    DamagedError
        `data` has another SHA-256.
    """
    if sha256_hex(data) != sha256:
        raise DamagedError(f"{path}: the new bytes do not have the recorded SHA-256", objects=(path,))
    try:
        if sha256_hex(storage.get(path)) == sha256:
            return False
    except MissingObjectError:
        return storage.put_if_absent(path, data)
    except DamagedError:
        pass  # a pipe, a link or a folder in its place: replaced if possible
    storage.replace(path, data)
    return True


def repair_documents(
    features: FeatureSet, upstream: Storage | None
) -> tuple[dict[str, Any], Plan, list[Repaired]] | None:
    """Repair the plan and the zarr.json documents of a committed build.

    Returns
    -------
    tuple of (dict, Plan, list of Repaired), or None
        ``data.zarr/zarr.json``, the plan, and the repaired objects; None if no ``data.zarr/zarr.json`` with
        the SHA-256 in the manifest can be read, computed, or copied from `upstream`.
    """
    done: list[Repaired] = []
    path = f"{features.data_path}/zarr.json"
    data = next(
        (data for data in _candidates(features, upstream) if sha256_hex(data) == features.manifest.zarr), None
    )
    if data is None:
        return None
    root = root_of(features.address, features.manifest, data)
    for name, document in documents(root).items():
        stored = canonical_json(document)
        # What can't be replaced is reported by the verification that follows.
        with contextlib.suppress(DamagedError):
            if put_right(features.storage, f"{features.data_path}/{name}", stored, sha256_hex(stored)):
                done.append(
                    Repaired(f"{features.data_path}/{name}", "from the plan, the manifest or the upstream")
                )
    plan, path = committed_plan(features.address, features.manifest, root), features.address.plan
    try:
        # A valid plan of another build may belong to an active builder, and is harmless.
        plan_of(features.address, features.storage.get(path))
        right = True
    except NewerFormatError:  # a newer version may be using it
        right = True
    except (MissingObjectError, DamagedError):
        right = False
    with contextlib.suppress(DamagedError):
        if not right and put_right(features.storage, path, plan.to_bytes(), plan.hash):
            done.append(Repaired(path, "from the manifest"))
    return root, plan, done


def repair_manifest(
    storage: Storage, address: Address, upstream: Storage, *, digest: str | None = None
) -> FeatureSet:
    """Replace a damaged or missing manifest by the manifest of another store, and return the set. An intact manifest is kept.

    Parameters
    ----------
    storage, address : Storage, Address
        The feature set.
    upstream : Storage
        The other store.
    digest : str, optional
        The digest that a name pins.

    Raises
    ------
    ConflictError
        The set in the upstream has another digest.
    MissingObjectError
        The upstream does not have the set.
    DamagedError, NewerFormatError
        The manifest of the upstream is damaged, or one of the two manifests has a newer format.
    """
    data = upstream.get(address.manifest)
    manifest = manifest_of(address, data)
    if digest is not None and manifest.digest != digest:
        raise ConflictError(
            f"{upstream.url} has {address.folder} with digest {manifest.digest[:12]}, but the name in this store requires "
            f"{digest[:12]}: repair from a store that has this set with digest {digest[:12]}",
            path=address.manifest,
        )
    try:
        stored = FeatureSet.open(storage, address)
    except MissingObjectError:
        storage.put_if_absent(address.manifest, data)
    except DamagedError:
        storage.replace(address.manifest, data)
    else:
        return stored
    return FeatureSet.open(storage, address)


def _candidates(features: FeatureSet, upstream: Storage | None) -> Iterator[bytes]:
    """Yield documents that may be the root zarr.json; the caller compares each document with the SHA-256 in the manifest."""
    manifest, path = features.manifest, f"{features.data_path}/zarr.json"
    for storage in (features.storage, upstream):
        if storage is None:
            continue
        with contextlib.suppress(MissingObjectError, DamagedError):
            yield storage.get(path)
        with contextlib.suppress(StoreError):
            plan = plan_of(features.address, storage.get(features.address.plan))
            yield canonical_json(plan.zarr)
    for chunk_values in (CHUNK_VALUES, FORMER_CHUNK_VALUES):
        yield canonical_json(
            root_document(
                manifest.layout,
                samples=manifest.samples,
                fragment_samples=manifest.fragment_samples,
                fragments=len(manifest.fragments),
                shard_values=manifest.shard_values,
                chunk_values=chunk_values,
            )
        )
