"""A Zarr group from metadata that were read and checked already: it asks the store for nothing."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zarr.storage import StorePath


def group_of(place: StorePath, document: bytes) -> Any:
    """Return the group at `place`, whose ``zarr.json`` is `document`. Typed Any: Zarr's items are array or group.

    ``zarr.open_group`` would read the document again: one request more, and perhaps not the bytes that were checked.
    """
    import zarr

    # numcodecs' codecs warn that they are not in the Zarr v3 specification. docs/format.md says which codec it is
    # and where it is described; a user can do nothing about it.
    warnings.filterwarnings("ignore", message="Numcodecs codecs are not in the Zarr version 3 specification")
    from spikestore.store.columns.bounded_pcodec import bounded

    return zarr.Group(zarr.AsyncGroup.from_dict(place, bounded(json.loads(document))))
