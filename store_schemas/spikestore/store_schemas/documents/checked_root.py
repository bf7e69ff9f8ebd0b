"""Check of a feature set's ``zarr.json`` against its manifest."""

from __future__ import annotations

import json
from typing import Any

from spikestore.store_schemas.documents.address import Address
from spikestore.store_schemas.documents.manifest import Manifest
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.errors import DamagedError, SpecError
from spikestore.store_schemas.specs.canonical import canonical_json


def checked_root(address: Address, manifest: Manifest, data: bytes) -> dict[str, Any]:
    """Return the parsed ``data.zarr/zarr.json`` after a check against the manifest.

    Raises
    ------
    DamagedError
        The document is not canonical JSON, or its arrays differ from the arrays that the manifest describes.
    """
    path = f"{address.data(manifest.plan_id)}/zarr.json"
    try:
        root = json.loads(data)
        if not isinstance(root, dict) or canonical_json(root) != data:
            raise DamagedError(
                f"{path} is not a canonical JSON object: it is damaged or was edited", objects=(path,)
            )
        # A plan holds the same document and checks it against the same numbers.
        Plan(
            **address._asdict(),
            samples=manifest.samples,
            fragment_samples=manifest.fragment_samples,
            shard_values=manifest.shard_values,
            layout=manifest.layout,
            zarr=root,
        )
    except (SpecError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} does not fit the manifest: {error}", objects=(path,)) from error
    return root
