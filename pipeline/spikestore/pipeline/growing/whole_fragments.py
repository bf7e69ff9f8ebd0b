"""Whole fragments of a former set that have exactly the rows of a fragment of the new set: their stored bytes are reused.

The rows are still decoded from these bytes and checked, because the hashes in ``check`` depend on the keys of a set. But they need
not be encoded again, which would take most of the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spikestore.pipeline.growing.former_rows import FormerRows
from spikestore.store.build import KnownRows
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.columns.shard_codec import packed_objects
from spikestore.store.feature_set import FeatureSet
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.errors import DamagedError, StoreError
from spikestore.store_schemas.specs.canonical import sha256_hex


class FormerFragment(NamedTuple):
    """A whole fragment of a former set."""

    columns: SampleColumns
    """The rows, checked."""
    known: KnownRows
    """Their stored bytes."""


def whole_fragment(former: FormerRows, rows: range, plan: Plan) -> FormerFragment | None:
    """Return the fragment of a former set that has exactly the rows `rows` of a new set, in order.

    Returns None if there is none, if the plan of the new set encodes fragments in another way, or if the fragment is damaged.
    `FormerRows.read` then returns the rows that can be read.
    """
    part = former.part(rows)
    begin = int(part.row_of[0])
    if part.set_of[0] < 0 or (part.set_of != part.set_of[0]).any():
        return None
    features = former.sets[part.set_of[0]].features
    fragment, inside = divmod(begin, features.manifest.fragment_samples)
    if (
        inside
        or (np.diff(part.row_of) != 1).any()
        or features.manifest.fragments[fragment].samples != len(rows)
    ):
        return None
    try:
        return _read(features, fragment) if _is_encoded_alike(features, plan) else None
    except StoreError:
        return None


def _is_encoded_alike(features: FeatureSet, plan: Plan) -> bool:
    """Return whether the plan encodes index and value as a set does, in objects of the same length."""
    theirs, ours = packed_objects(features.manifest, features.root), packed_objects(plan, plan.zarr)
    if theirs is None or ours is None:
        return False
    return all(theirs[name] == ours[name] for name in ("index", "value"))


def _read(features: FeatureSet, fragment: int) -> FormerFragment:
    record = features.record(fragment)
    objects = {
        entry.path: features.storage.get(f"{features.data_path}/{entry.path}") for entry in record.objects
    }
    for entry in record.objects:
        if sha256_hex(objects[entry.path]) != entry.sha256:
            raise DamagedError(f"{entry.path} is damaged")
    columns = FragmentChecker(features.address, features.manifest, features.root).read(fragment, objects)
    paths = {name: f"{name}/c/{fragment}" for name in ("index", "value")}
    values = {name: objects[path] for name, path in paths.items() if path in objects}
    return FormerFragment(columns, KnownRows(values))
