"""Checks of a feature set from another store, before the set is stored."""

from __future__ import annotations

from collections.abc import Mapping

from spikestore.store.feature_set import FeatureSet
from spikestore.store.progress import Progress, labelled
from spikestore.store.trust.documents import RecordTotals
from spikestore.store.trust.fragments import FragmentChecker
from spikestore.store.upkeep.verify import verify
from spikestore.store_schemas.documents.record import Record
from spikestore.store_schemas.documents.zarr_metadata import CHUNK_VALUES
from spikestore.store_schemas.errors import ConflictError, DamagedError
from spikestore.store_schemas.layout import BLOCK
from spikestore.store_schemas.wording import plural


def refuse_giants(features: FeatureSet, record: Record) -> None:
    """Raise `DamagedError` if a record lists more bytes for an object than any encoding of the values in this object has."""
    row = features.manifest.fragments[record.fragment]
    counts = {"index": row.nnz, "value": row.nnz, "check": -(-row.samples // BLOCK)}
    chunks = features.manifest.shard_values // CHUNK_VALUES
    for entry in record.objects:
        decoded = 8 * counts.get(entry.path.partition("/")[0], row.samples)
        # No codec makes values larger by a quarter; the index after the chunks of a shard has 16 bytes per chunk.
        largest = decoded + decoded // 4 + 2**16 + 16 * chunks
        if entry.size > largest:
            path = features.address.record(features.manifest.plan_id, record.fragment)
            raise DamagedError(
                f"{path} in {features.storage.url} lists {entry.size:,} bytes for {entry.path}, but "
                f"the values of this object can take at most {largest:,}",
                objects=(path,),
            )


def refuse_other_totals(features: FeatureSet, totals: RecordTotals) -> None:
    """Raise `DamagedError` unless a set's records agree with its manifest in digest, largest index, largest value and event counts."""
    contradiction = totals.contradiction(features.manifest)
    if contradiction is not None:
        path = features.address.manifest
        raise DamagedError(f"{path} in {features.storage.url} {contradiction}", objects=(path,))


def refuse_other_content(
    features: FeatureSet, checker: FragmentChecker, record: Record, objects: Mapping[str, bytes]
) -> None:
    """Raise `DamagedError` unless the decoded objects of a fragment agree with its record and the manifest.

    Parameters
    ----------
    features : FeatureSet
        The set.
    checker : FragmentChecker
        Checker of the set.
    record : Record
        Record of the fragment.
    objects : mapping of str to bytes
        Stored bytes by path below ``data.zarr``.
    """
    path = features.address.record(features.manifest.plan_id, record.fragment)
    contradiction: str | None
    try:
        contradiction = checker.contradiction(record, checker.read(record.fragment, objects))
    except DamagedError as error:
        contradiction = str(error)
    if contradiction is not None:
        raise DamagedError(
            f"fragment {record.fragment} of {features.data_path} in {features.storage.url} contradicts its record, though "
            f"its bytes are intact ({contradiction}): do not trust this store",
            objects=(path,),
        )


def refuse_damaged_copy(
    existing: FeatureSet, source: FeatureSet, label: str, progress: Progress | None
) -> None:
    """Decode the set that the destination has already; raise `DamagedError` if it is damaged.

    Parameters
    ----------
    existing, source : FeatureSet
        The set in the destination, and the same set in the source; their digests are equal.
    label : str
        Name of the set in messages and progress.
    progress : callable, optional
        Called as ``progress(bytes_done, bytes_total, label)``.
    """
    shown = None if progress is None else labelled(progress, label)
    damages = [
        damage for damage in verify(existing, depth="deep", progress=shown) if damage.kind != "foreign"
    ]
    if damages:
        url, first = existing.storage.url, damages[0]
        raise DamagedError(
            f"{label} is in {url} already, and is damaged there: {first.path}: {first.detail} ({plural(len(damages), 'damaged object')}). "
            f"Run spikestore repair {existing.address.short} --store {url} --from {source.storage.url}; if this command finds "
            f"nothing to repair, delete {existing.address.folder} in {url} and copy the set again",
            objects=tuple(damage.path for damage in damages),
        )


def other_digest(existing: FeatureSet, features: FeatureSet) -> ConflictError:
    """Return the error that two stores have sets with the same address, but with different digests."""
    return ConflictError(
        f"{existing.address.manifest} has digest {existing.digest[:12]} in {existing.storage.url} and "
        f"{features.digest[:12]} in {features.storage.url}, so the samples of one of these sets are wrong: run spikestore verify --deep on both sets",
        path=existing.address.manifest,
    )
