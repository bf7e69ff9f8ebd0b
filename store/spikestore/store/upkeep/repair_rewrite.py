"""Rewriting of fragments whose recomputed rows this installation encodes as other bytes than before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from spikestore.store.build import Build
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upkeep.repair_documents import Repaired
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.errors import ConflictError

LOSSY_SHARE = 0.05
"""Share of events outside every time bin above which a sample counts as lossy."""


class Rows(NamedTuple):
    """The recomputed rows of a fragment."""

    columns: SampleColumns
    skipped: tuple[SkippedRow, ...]
    """Skipped rows, with reasons."""
    events: EventCounts
    """Events read, cropped and dropped."""


def events_of(columns: SampleColumns) -> EventCounts:
    """Return the event counts of some rows, from their columns (docs/format.md, "Manifest")."""
    names = ("n_events", "n_cropped", "n_dropped")
    totals = {name: int(columns.extras[name].sum(dtype=np.int64)) for name in names if name in columns.extras}
    lossy = 0
    if {"n_events", "n_dropped"} <= totals.keys():
        events = columns.extras["n_events"].astype(np.float64)
        lossy = int(np.count_nonzero(columns.extras["n_dropped"] > LOSSY_SHARE * events))
    return EventCounts(**totals, lossy_samples=lossy)


def write_anew(features: FeatureSet, plan: Plan, fragments: Mapping[int, Rows]) -> list[Repaired]:
    """Store fragments as other bytes, with a new manifest of the same digest; return the written objects.

    A crash after any step leaves the set committed and damaged as before, or an unfinished build that preprocess
    resumes: records are deleted first, so no record refers to missing objects.

    Raises
    ------
    ConflictError
        The new digest differs: the rows are not the committed ones.
    """
    storage, address, manifest = features.storage, features.address, features.manifest
    for number in fragments:
        storage.delete(address.record(manifest.plan_id, number))
        for name in manifest.layout.array_names:
            storage.delete(f"{features.data_path}/{name}/c/{number}")
    storage.delete(address.manifest)
    build = Build(storage, plan)
    how = "rewritten, as other bytes of the same values"
    done = []
    for number, rows in fragments.items():
        record = build.put_fragment(number, rows.columns, skipped=rows.skipped, events=rows.events)
        done += [Repaired(f"{features.data_path}/{entry.path}", how) for entry in record.objects]
        done.append(Repaired(address.record(manifest.plan_id, number), how))
    committed = build.commit(manifest.transform, manifest.source, manifest.provenance)
    if committed.digest != manifest.digest:
        raise ConflictError(
            f"{address.folder} was rewritten with digest {committed.digest[:12]}, but had {manifest.digest[:12]}",
            path=address.manifest,
        )
    return [*done, Repaired(address.manifest, "rewritten, with the same digest")]
