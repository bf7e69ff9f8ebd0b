"""Reuse of stored bytes. A fragment of a committed (former) set is copied if it has exactly the rows of a fragment of the new set.

The rows are decoded from these bytes, checked, and hashed for the column ``check`` of the new set. These hashes depend on the keys of
the set (`check_seed`), so the hashes of the former set cannot be reused. The rows are not encoded again: encoding would take most of
the time. Only a few decoded chunks are in memory at a time.
"""

from __future__ import annotations

import numpy as np

from spikestore.pipeline.growing.former_rows import FormerRows
from spikestore.pipeline.growing.moved_rows import WithLabels
from spikestore.pipeline.growing.streamed_fragment import FormerPart, stream_fragment
from spikestore.store.columns.fragment_encoder import VALUES, EncodedFragment
from spikestore.store.columns.fragment_facts import without_values
from spikestore.store.columns.shard_codec import packed_objects
from spikestore.store.feature_set import FeatureSet
from spikestore.store.trust.scanned_rows import ScannedRows
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.errors import DamagedError, StoreError
from spikestore.store_schemas.specs.canonical import sha256_hex


def whole_fragment(
    former: FormerRows, plan: Plan, fragment: int, with_labels: WithLabels
) -> EncodedFragment | None:
    """Return a fragment of a new set, copied from a fragment of a former set that has exactly the same rows in the same order.

    Returns None if no former set has such a fragment, if the two sets encode ``index`` or ``value`` in different ways, if only Zarr
    supports their codecs, or if the fragment cannot be read or is damaged. In these cases, call `FormerRows.read`: it returns
    the rows that can still be taken from former sets.

    Parameters
    ----------
    former : FormerRows
        Positions of the rows in former sets.
    plan : Plan
        Plan of the new set.
    fragment : int
        Number of the fragment in the new set.
    with_labels : callable
        See `WithLabels`.
    """
    rows = plan.rows(fragment)
    part = former.part(rows)
    begin = int(part.row_of[0])
    if part.set_of[0] < 0 or (part.set_of != part.set_of[0]).any():
        return None
    features = former.sets[part.set_of[0]].features
    number, inside = divmod(begin, features.manifest.fragment_samples)
    if (
        inside
        or (np.diff(part.row_of) != 1).any()
        or features.manifest.fragments[number].samples != len(rows)
    ):
        return None
    try:
        if not _is_encoded_alike(features, plan):
            return None
        return _read(features, number, plan, fragment, with_labels)
    except StoreError:
        return None


def _is_encoded_alike(features: FeatureSet, plan: Plan) -> bool:
    """Return whether the plan and a set encode index and value in the same way, with the same number of values in an object."""
    theirs, ours = packed_objects(features.manifest, features.root), packed_objects(plan, plan.zarr)
    if theirs is None or ours is None:
        return False
    return all(theirs[name] == ours[name] for name in VALUES)


def _read(
    features: FeatureSet, number: int, plan: Plan, fragment: int, with_labels: WithLabels
) -> EncodedFragment | None:
    """Return fragment `number` of a former set, for use as fragment `fragment` of the new set."""
    record = features.record(number)
    objects = {
        entry.path: features.storage.get(f"{features.data_path}/{entry.path}") for entry in record.objects
    }
    for entry in record.objects:
        if sha256_hex(objects[entry.path]) != entry.sha256:
            raise DamagedError(f"{entry.path} is damaged")
    scanned = ScannedRows.of_objects(features.address, features.manifest, features.root, number, objects)
    if scanned is None:
        return None
    samples = with_labels(plan.rows(fragment).start, without_values(scanned.samples, features.layout))
    whole = stream_fragment([FormerPart(scanned, samples)], plan, fragment, encode=False)
    paths = {name: f"{name}/c/{number}" for name in VALUES}
    return whole and whole._replace(
        encoded={name: objects[path] for name, path in paths.items() if path in objects}
    )
