"""Rewriting of fragments, for repairs in which the codecs encode the same rows into bytes that differ from the committed bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from spikestore.store.build import Build
from spikestore.store.columns.samples import SampleColumns
from spikestore.store.feature_set import FeatureSet
from spikestore.store.upkeep.repair_documents import Repaired
from spikestore.store_schemas.documents.plan import Plan
from spikestore.store_schemas.documents.record import EventCounts, SkippedRow
from spikestore.store_schemas.errors import ConflictError


class FragmentRows(NamedTuple):
    """The recomputed rows of a fragment."""

    columns: SampleColumns
    skipped: tuple[SkippedRow, ...]
    """Skipped rows, with reasons."""
    events: EventCounts
    """Numbers of events read, cropped and dropped, and of lossy samples."""


def write_anew(features: FeatureSet, plan: Plan, fragments: Mapping[int, FragmentRows]) -> list[Repaired]:
    """Encode fragments anew and store them, then store a new manifest with the same digest; return the written objects.

    After a crash, either the set is still committed, and lacks objects of these fragments; or it is an unfinished build that
    ``preprocess`` resumes. A fragment's record is deleted before its objects, so no record refers to objects that were deleted.

    Raises
    ------
    ConflictError
        The new digest differs: the rows are not the committed rows.
    """
    storage, address, manifest = features.storage, features.address, features.manifest
    for number in fragments:
        storage.delete(address.record(manifest.plan_id, number))
        for name in manifest.layout.array_names:
            storage.delete(f"{features.data_path}/{name}/c/{number}")
    storage.delete(address.manifest)
    build = Build(storage, plan)
    how = "rewritten: the values are the same, the encoded bytes differ"
    done = []
    for number, rows in fragments.items():
        record = build.put_fragment(number, rows.columns, skipped=rows.skipped, events=rows.events)
        done += [Repaired(f"{features.data_path}/{entry.path}", how) for entry in record.objects]
        done.append(Repaired(address.record(manifest.plan_id, number), how))
    committed = build.commit(manifest.transform, manifest.source, manifest.provenance)
    if committed.digest != manifest.digest:
        raise ConflictError(
            f"{address.folder} had the digest {manifest.digest[:12]}, but has the digest {committed.digest[:12]} after it was rewritten: "
            "another process may have built other rows at the same time. If no other process was building this set, report a bug",
            path=address.manifest,
        )
    return [*done, Repaired(address.manifest, "rewritten, with the same digest")]
